"""Tasks that are run together: recognition, and understanding of sound."""

from kimi_audio.evals.contract.types import Suite, Task

TASKS: tuple[Task, ...] = ()
SUITES = (
    Suite(
        "asr",
        ("librispeech", "fleurs", "aishell-1", "aishell-2", "wenetspeech", "common-voice", "kespeech"),
        description="recognition of speech:",
    ),
    Suite(
        "understanding",
        ("mmau", "clothoaqa", "vocalsound", "nonspeech7k", "meld", "tut2017", "cochlscene"),
        description="understanding of music, sound and speech:",
    ),
)
