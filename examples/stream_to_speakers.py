"""Hear a reply while it is made: ``python examples/stream_to_speakers.py question.wav``.

Needs ``pip install sounddevice``. ``--silent`` plays nothing and only tells when the first sound was there.
"""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

from kimi_audio import KimiAudio, Message

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("question", type=Path)
parser.add_argument("--model", default="nano")
parser.add_argument("--silent", action="store_true")
options = parser.parse_args()

model = KimiAudio.from_pretrained(options.model)
if options.silent:
    speakers = nullcontext()
else:
    import sounddevice

    speakers = sounddevice.OutputStream(samplerate=24_000, channels=1, dtype="float32")

start_s = time.perf_counter()
is_silent_yet = True
with speakers as stream:
    for chunk in model.stream([Message("user", "audio", options.question)], "both", seed=0):
        print(chunk.text, end="", flush=True)
        if len(chunk.audio) and is_silent_yet:
            is_silent_yet = False
            print(f" [first sound after {time.perf_counter() - start_s:.2f} s] ", end="")
        if stream is not None and len(chunk.audio):
            stream.write(chunk.audio[:, None].numpy())
print()
