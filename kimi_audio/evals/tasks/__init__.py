"""Tasks: modules with ``TASKS`` and maybe ``SUITES``, which ``registry.py`` lists.

``benchmarks`` (a table, read by ``recognition`` and ``understanding``), ``open_audio_bench``, ``voice_bench``,
``conversation``, ``tts``, ``own``. Shared by them: ``asking`` (recipes), ``scorers``, ``datasets`` (files).
"""
