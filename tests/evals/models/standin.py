"""A vendor's process that behaves as the text of each request says."""

import os
import subprocess
import sys
import time
import wave
from pathlib import Path

sys.path.insert(0, sys.argv[1])  # the folder of vendor_worker.py
from vendor_worker import serve


def answer(request):
    behaviour, _, detail = request["text"].partition(" ")
    if behaviour == "hang":
        child = subprocess.Popen(["sleep", "600"])
        Path(detail).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if behaviour == "die":
        sys.stderr.write("out of memory\n")
        sys.stderr.flush()
        os._exit(7)
    if behaviour == "raise":
        raise RuntimeError("the audio is too long")
    if behaviour == "print":
        sys.stdout.write("loading 100 %\n")
        os.write(1, b'\xff\x00 {"type": "reply"} rubbish\n[1, 2]\n')
    if behaviour == "speak":
        with wave.open(detail, "wb") as file:
            file.setparams((1, 2, 24000, 0, "NONE", ""))
            file.writeframes(b"\x01\x00" * 240)
        return {"text": "spoken", "speech": detail, "first_text_s": 0.1, "first_sound_s": 0.2}
    if behaviour == "malformed":
        return {"text": 5}
    return {"text": repr([request[name] for name in ("text", "output", "system", "decoding", "seed")])}


serve(answer, name="stand-in", revision=str(os.getpid()))
