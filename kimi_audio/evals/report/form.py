"""The form on which listeners rate replies: one HTML page with the sound in it, which saves a CSV file."""

import base64
import random
from collections.abc import Iterable
from pathlib import Path

from kimi_audio.evals.contract.rows import save_text
from kimi_audio.evals.report.page import render_page
from kimi_audio.evals.run.store import TaskFolder
from kimi_audio.evals.tasks.conversation import item_of


def write_form(folders: Iterable[Path], page: Path, seed: int = 0) -> int:
    """Write a form for the replies of one run or several, in random order and without their names.

    Args:
        folders: of the task speech-conversation in each run.
        page: where the form goes.
        seed: of the order.

    Returns:
        The number of replies to rate.

    Raises:
        ValueError: there is no spoken reply.
        ModuleNotFoundError: the eval extra is not installed.
    """
    items = {}
    for folder in map(TaskFolder, folders):
        answers = folder.read_answers()
        for asked in folder.read_asked():
            answer = answers.get(asked.key)
            if answer and isinstance(answer.speech, Path):
                items[item_of(answer.speech)] = (asked.meta, answer.speech)
    if not items:
        raise ValueError("there are no spoken replies to rate")
    order = sorted(items)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    shown = [
        {"name": name, "sound": base64.b64encode(speech.read_bytes()).decode(), **meta}
        for name, (meta, speech) in ((name, items[name]) for name in order)
    ]
    save_text(page, render_page("form.html", items=shown))
    return len(order)
