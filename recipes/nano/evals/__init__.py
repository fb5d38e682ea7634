"""nano's own suite: all that it was trained to do, on reserved texts, sounds and combinations.

Voices are those of its training (seen) and others (unseen). The recordings are generated from a fixed seed when they
are needed first, which takes the speech engines (``make speech-tools``). Decoding is what the settings of the model
say: the likeliest text. ``aims.json`` beside this file holds what it is to reach.
"""

import json
from pathlib import Path

from kimi_audio.evals.contract.types import Suite
from recipes.nano.evals import conversation, people, reading, recognition, reply_styles, understanding

TASKS = (
    *recognition.TASKS,
    *understanding.TASKS,
    *conversation.TASKS,
    *reading.TASKS,
    *reply_styles.TASKS,
    *people.TASKS,
)
_PEOPLE = tuple(task.name for task in people.TASKS)
SUITES = (
    Suite("nano", tuple(task.name for task in TASKS), description="nano's own suite:"),
    Suite("nano-people", _PEOPLE, description="what of it people and natural voices say:"),
)
AIMS = {
    (row["task"], row["subset"], row["metric"]): float(row["value"])
    for row in json.loads((Path(__file__).parent / "aims.json").read_text("utf-8"))["rows"]
}
