"""Teach a LoRA adapter from conversations, and use it: ``python examples/finetune_adapter.py talk.jsonl``.

Needs ``pip install 'kimi-audio[train]'``. docs/FINETUNING.md says how the file is written. The adapter is a few
megabytes in the format of peft; the model itself stays as it is.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from kimi_audio import KimiAudio, Message
from kimi_audio.recipes.finetune import lora
from kimi_audio.train.export import export_adapter
from kimi_audio.train.sft import finetune

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("conversations", type=Path)
parser.add_argument("--model", default="nano")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--out", type=Path, default=Path("my-adapter"))
options = parser.parse_args()

config = lora()
config = replace(config, base=options.model, held_out=0.0, loop=replace(config.loop, steps=options.steps))
run = options.out.with_name(options.out.name + "-run")
finetune(config, [options.conversations], run, resume=True)
export_adapter(run, options.out)

model = KimiAudio.from_pretrained(options.model, adapter=options.out, load_detokenizer=False)
print(model.answer([Message("user", "text", "Good morning.")]).text)
