"""Questions answered in text: written ones about sounds, places and ways of speaking, spoken ones in Mandarin."""

from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalTask, Recipe, Scorer
from recipes.nano.evals.data import by_voices, own_dataset
from recipes.nano.evals.judged import Captions, RightReplies


def _task(name: str, splits: dict[str, str], scorer: Scorer, description: str) -> EvalTask:
    return EvalTask(f"nano-{name}", "1", own_dataset(splits), scorer, {DEFAULT: Recipe()}, description)


TASKS = (
    _task("events", {"events": ""}, RightReplies(), "which sound it is"),
    _task("counts", {"counts": ""}, RightReplies(), "how many times a sound is heard"),
    _task("orders", {"orders": ""}, RightReplies(), "in which order sounds are heard"),
    _task("scenes", {"scenes": ""}, RightReplies(), "which place it is"),
    _task("styles", by_voices("styles"), RightReplies(), "in which style somebody speaks"),
    _task("mandarin-questions", by_voices("mandarin-qa"), RightReplies(), "spoken questions in Mandarin"),
    _task("captions", {"captions": ""}, Captions(), "descriptions of sequences of sounds"),
)
