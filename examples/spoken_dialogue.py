"""A dialogue of several turns: ``python examples/spoken_dialogue.py question.wav follow-up.wav``.

Each recording is a turn of yours; the spoken replies are written to ``reply-1.wav`` and so on.
"""

import argparse
from pathlib import Path

from kimi_audio import KimiAudio, Message, save_audio

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("turns", type=Path, nargs="+")
parser.add_argument("--model", default="nano")
parser.add_argument("--out", type=Path, default=Path())
options = parser.parse_args()

model = KimiAudio.from_pretrained(options.model)
history: list[Message] = []
for number, turn in enumerate(options.turns, 1):
    heard = model.encode_audio(turn)  # once, although every later turn hears it again
    history.append(Message("user", "audio", heard))
    answer = model.answer(history, "both", seed=0)
    history.append(answer.message())
    print(f"{turn.name}: {answer.text}")
    if answer.audio is not None:
        save_audio(options.out / f"reply-{number}.wav", answer.audio, 24_000)
