"""Score a model on recordings of your own: ``python examples/evaluate_model.py mine.jsonl``.

Each line of the file is ``{"audio": "1.wav", "text": "what is said"}``. The command line does the same with reports,
other models and tests of significance: ``kimi-audio eval``, see docs/EVALUATION.md.
"""

import argparse
import json
from pathlib import Path

from kimi_audio import KimiAudio
from kimi_audio.core.words import normalise, word_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("recordings", type=Path)
parser.add_argument("--model", default="nano")
options = parser.parse_args()

model = KimiAudio.from_pretrained(options.model, load_detokenizer=False)
errors = words = 0
for line in options.recordings.read_text("utf-8").splitlines():
    row = json.loads(line)
    said = normalise(row["text"]).split()
    if row["text"].strip() and not said:
        raise SystemExit(f"{row['audio']}: this example counts English words only; for others use kimi-audio eval")
    heard = model.transcribe(options.recordings.parent / row["audio"])
    errors += word_errors(said, normalise(heard).split())
    words += len(said)
    print(f"{row['audio']}: {heard}")
if not words:
    raise SystemExit(f"{options.recordings} holds no words to compare with")
print(f"word error rate {100 * errors / words:.1f} % of {words} words")
