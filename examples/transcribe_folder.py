"""Write down every recording in a folder: ``python examples/transcribe_folder.py recordings``.

Beside ``talk.wav`` stands ``talk.txt`` afterwards. Recordings that have one already are left out, so a run that was
stopped goes on; one that cannot be read does not stop the others.
"""

import argparse
from pathlib import Path

from kimi_audio import KimiAudio

SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--model", default="nano")
options = parser.parse_args()

model = KimiAudio.from_pretrained(options.model, load_detokenizer=False)  # text only needs less memory
for recording in sorted(path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES):
    target = recording.with_suffix(".txt")
    if target.exists():
        continue
    try:
        text = model.transcribe(recording)
    except (ValueError, OSError) as error:
        print(f"{recording.name}: {error}")
        continue
    target.write_text(text + "\n", "utf-8")
    print(f"{recording.name}: {text}")
