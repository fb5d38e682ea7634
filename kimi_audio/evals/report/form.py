"""The form on which listeners rate replies: one HTML page with the sound in it, which saves a CSV file."""

import base64
import html
import random
from collections.abc import Iterable
from pathlib import Path

from kimi_audio.evals.run.store import TaskFolder, save_text
from kimi_audio.evals.tasks.conversation import item_of

PAGE = """<!doctype html><meta charset="utf-8"><title>Rating of spoken replies</title>
<style>body{{font:16px sans-serif;max-width:45em;margin:2em auto}}
fieldset{{margin:1em 0}}label{{margin-right:1em}}</style>
<h1>Rating of spoken replies</h1>
<p>Listen to each reply. How well does it do what is wanted, by its voice as well as by its words? 1: not at all,
5: fully and naturally. Leave out what you cannot hear.</p><p><label>
Your name or initials <input id="rater"></label></p>
{items}<button onclick="save()">Save ratings.csv</button>
<script>
function save() {{
  const quote = text => '"' + text.replaceAll('"', '""') + '"', rater = document.getElementById("rater").value;
  const rows = [...document.querySelectorAll("input[type=radio]:checked")].map(
    choice => [choice.name, rater, choice.value].map(quote).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["item,rater,rating\\n" + rows.join("\\n") + "\\n"], {{type: "text/csv"}}));
  link.download = "ratings.csv"; link.click();
}}
</script>
"""
ITEM = """<fieldset><legend>Reply {number}</legend><p>Said to it: {question}</p><p>Wanted: {wanted}</p>
<audio controls src="data:audio/wav;base64,{sound}"></audio><p>{choices}</p></fieldset>
"""


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
    """
    items = {}
    for folder in map(TaskFolder, folders):
        answers = folder.read_answers()
        for asked in folder.read_asked():
            answer = answers.get(asked.key)
            if answer and isinstance(answer.prediction.speech, Path):
                items[item_of(answer.prediction.speech)] = (asked.sample.meta, answer.prediction.speech)
    if not items:
        raise ValueError("there are no spoken replies to rate")
    order = sorted(items)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    save_text(page, PAGE.format(items="".join(_item(n, name, *items[name]) for n, name in enumerate(order, 1))))
    return len(order)


def _item(number: int, name: str, meta: dict, speech: Path) -> str:
    choices = "".join(f'<label><input type="radio" name="{name}" value="{n}">{n}</label>' for n in range(1, 6))
    return ITEM.format(
        number=number,
        question=html.escape(str(meta["question"])),
        wanted=html.escape(str(meta["wanted"])),
        sound=base64.b64encode(speech.read_bytes()).decode(),
        choices=choices,
    )
