"""The other side of ``subprocess_model``: serves a model from its vendor's own environment.

This file needs Python 3.8 and nothing else, so it may be copied beside a vendor's code:

    from vendor_worker import serve

    model = ...  # the vendor's way to load it

    def answer(request):
        text, wav_path = model(request["audio"][0], request["text"], **request["decoding"])
        return {"text": text, "speech": wav_path}

    serve(answer, name="glm-4-voice", revision="eb00ce9")

The protocol is described in ``subprocess_model.py``.
"""

import json
import os
import sys

PROTOCOL = 1


def serve(answer, name, revision, family=""):
    """Answer requests until the input ends.

    Args:
        answer: called with a request, returns the fields of a reply; what it raises is the error of that sample.
        name: of the model, for reports.
        revision: of its weights and code.
        family: whose recipes it takes; by default that of the preset.
    """
    requests = sys.stdin
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the vendor's code prints, also from C, does not get between the replies
    json.loads(requests.readline())
    _send(replies, {"type": "hello", "protocol": PROTOCOL, "name": name, "revision": revision, "family": family})
    for line in requests:
        request = json.loads(line)
        try:
            reply = dict(answer(request), type="reply", id=request["id"])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            reply = {"type": "error", "id": request["id"], "message": f"{type(error).__name__}: {error}"}
        _send(replies, reply)


def _send(replies, message):
    replies.write(json.dumps(message) + "\n")
    replies.flush()
