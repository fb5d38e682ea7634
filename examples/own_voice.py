"""A model that answers in the voice of your recordings: ``python examples/own_voice.py recordings my-voice``.

The folder holds sentences of 0.5 to 30 s, each beside a text file of the same name; ten minutes of one speaker give a
usable voice. docs/own-voice.md has the whole story, and a command that judges the result.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from kimi_audio import KimiAudio, save_audio
from kimi_audio.train.speech.voice_adaptation import OwnVoiceConfig, train_own_voice

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("recordings", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--model", default="nano")
parser.add_argument("--flow-steps", type=int, default=200)
parser.add_argument("--vocoder-steps", type=int, default=200)
options = parser.parse_args()

config = OwnVoiceConfig()
config = replace(
    config,
    flow=replace(config.flow, steps=options.flow_steps),
    vocoder=replace(config.vocoder, steps=options.vocoder_steps),
)
train_own_voice(options.recordings, options.out, options.model, config)
model = KimiAudio.from_pretrained(options.out)
save_audio(options.out / "hello.wav", model.speak("Good morning.", seed=0), 24_000)
print(f"listen to {options.out / 'hello.wav'}")
