"""Metrics: pure functions on lists of strings and numbers, results as frozen dataclasses.

Transcripts: ``error_rate``, ``normalizers``, ``languages``, ``evalkit``, ``cn_tn``, ``sclite``.
Answers: ``choice``, ``qa``, ``ifeval``, ``refusal``. Texts: ``translation``, ``captions``.
Numbers: ``statistics``, ``timing``.

Where the official Evalkit or VoiceBench measure something else, both numbers are reported, or the difference is told.
"""
