"""Tasks, one readable file per dataset. Each module named below holds ``TASKS`` and may hold ``SUITES``.

Shared by them: ``asking`` (prompts and decoding), ``scorers``, and ``kimi_audio.evals.datasets`` (files).
"""

MODULES: tuple[str, ...] = (
    "librispeech",
    "fleurs",
    "aishell",
    "wenetspeech",
    "common_voice",
    "kespeech",
    "manifest",
    "own_references",
    "mmau",
    "clothoaqa",
    "vocalsound",
    "nonspeech7k",
    "meld",
    "tut2017",
    "cochlscene",
    "open_audio_bench",
    "voice_bench",
    "conversation",
    "tts",
    "suites",
)
