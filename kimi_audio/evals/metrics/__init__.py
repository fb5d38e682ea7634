"""Metrics: pure functions on lists of strings and numbers, results as frozen dataclasses.

Transcripts: ``transcription`` (start there), ``error_rate``, ``sclite``, ``normalizers``, ``evalkit``, ``cn_tn``.
Answers: ``choice``, ``qa``, ``ifeval``, ``refusal``, ``accuracy``. Texts: ``translation``, ``captions``.
Numbers: ``statistics``, ``timing``.

Where the official Evalkit or VoiceBench measure something else than ours, both numbers are reported.
"""
