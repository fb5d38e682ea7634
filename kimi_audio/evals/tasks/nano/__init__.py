"""nano's own suite: all that it was trained to do, on reserved texts, sounds and combinations.

Voices are those of its training (seen) and others (unseen). The recordings are generated from a fixed seed when they
are needed first, which takes the speech engines (``make speech-tools``). Decoding is what the settings of the model
say: the likeliest text. ``aims.json`` of ``kimi_audio.evals`` holds what it is to reach.
"""

from kimi_audio.evals.tasks.nano import conversation, conversion, reading, recognition, reply_styles, understanding
from kimi_audio.evals.types import Suite

TASKS = (
    *recognition.TASKS,
    *understanding.TASKS,
    *conversation.TASKS,
    *reading.TASKS,
    *conversion.TASKS,
    *reply_styles.TASKS,
)
SUITES = (Suite("nano", tuple(task.name for task in TASKS), description="nano's own suite:"),)
