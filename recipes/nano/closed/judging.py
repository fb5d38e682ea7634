"""Whether a reply to an example of a task is right; one rule per task."""

from typing import Protocol

from recipes.nano.closed import qa
from recipes.nano.closed.dialogues import is_dialogue_right
from recipes.nano.closed.hearing import SOUND_WORDS, is_count_right, is_event_right, is_order_right, is_scene_right
from recipes.nano.closed.mandarin import find_mandarin, is_cross_right, is_right_mandarin
from recipes.nano.closed.scoring import CaptionScore, caption_score, characters
from recipes.nano.closed.styles import is_style_right


class Judged(Protocol):
    """What judging needs of an example."""

    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def essential(self) -> tuple[str, ...]: ...  # noqa: D102


def is_right(example: Judged, reply: str) -> bool:
    """Tell whether a written reply, or the transcript of a spoken one, is right.

    A caption is right here if it names all sounds in order and no other; see ``judge_caption`` for shares. A Mandarin
    transcript is right if no character is wrong; see ``scoring.character_errors`` for the rate.

    Raises:
        ValueError: the task is judged by its sound (``tts``), or there is no such task.
    """
    task, essential = example.task, example.essential
    if task == "mandarin-asr":
        return characters(reply) == characters(essential[0])
    if task == "mandarin-qa":
        return is_right_mandarin(find_mandarin(example.key), reply)
    if task == "cross-language":
        return is_cross_right(example.key, reply)
    if task == "dialogue":
        return is_dialogue_right(example.kind, essential[0], reply)
    if task == "reply-style":
        return qa.is_right(qa.find_item(example.key), reply)
    if task == "caption":
        score = judge_caption(example, reply)
        return score.in_order
    if task == "order" and example.kind == "all":
        return is_order_right(essential, reply)
    by_name = {"style": is_style_right, "scene": is_scene_right, "count": is_count_right}
    by_name |= {"event": is_event_right, "order": is_event_right}
    if task not in by_name:
        raise ValueError(f"replies of the task {task!r} cannot be judged by their text; judge their sound")
    return by_name[task](essential[0], reply)


def judge_caption(example: Judged, reply: str) -> CaptionScore:
    """Return how many of the sounds a caption names, and how many it invents."""
    return caption_score(reply, example.essential, SOUND_WORDS)
