"""A process that does not keep to the protocol: argv names how."""

import json
import sys
import time


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


kind = sys.argv[1]
sys.stdin.readline()
if kind == "silent":
    time.sleep(600)
if kind == "old":
    say(json.dumps({"type": "hello", "protocol": 0, "name": "old"}))
    sys.stdin.readline()
if kind == "rubbish":
    sys.stdout.buffer.write(b"\xfe\xff" * 2_000_000 + b"\nnull\n{}\n")
    say(json.dumps({"type": "hello", "protocol": 1, "name": "rubbish", "revision": "r", "family": "f"}))
    for line in sys.stdin:
        say("Traceback ...")
        say(json.dumps({"type": "reply", "id": "an older one", "text": "not this"}))
        say(json.dumps({"type": "reply", "id": json.loads(line)["id"], "text": "this"}))
