"""Conversations in which what is said is also written, as a model that transcribes first reads them.

``python -m recipes.nano.transcribed natural-talks.jsonl OUT.jsonl --model FOLDER`` writes down every turn that is one
recording. The model should not have learned from these recordings: what it knows by heart, it never mishears, and then
nano would learn to trust the text alone. Without a model, the text is what was really said.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from kimi_audio.answers import Answer
from kimi_audio.assistant import KimiAudio
from kimi_audio.chat import Message, parse_messages
from kimi_audio.written_turns import spoken_turns
from recipes.nano.corpora import Conversation, message, write_conversations

AT_ONCE = 8


def with_transcripts(conversation: Conversation, heard_as: Mapping[str, str]) -> Conversation:
    """Return a conversation in which every turn that is one recording is followed by what was heard in it.

    Args:
        conversation: of messages.
        heard_as: what was heard, by recording; of the others, it is what was said.
    """
    said = conversation["conversation"]
    turns = {*spoken_turns(parse_messages(said))}
    messages: list[dict[str, Any]] = []
    for number, one in enumerate(said):
        messages.append(one)
        heard = heard_as.get(one["content"], one.get("transcript")) if number in turns else None
        messages += [message("user", heard)] if heard else []
    return {**conversation, "conversation": messages}


def recordings_of(conversations: Iterable[Conversation]) -> list[str]:
    """Return the recordings of users, each once."""
    messages = (said for one in conversations for said in one["conversation"])
    return [*dict.fromkeys(said["content"] for said in messages if "transcript" in said)]


def heard_by(model: KimiAudio, recordings: Iterable[Path]) -> Iterator[str]:
    """Yield what a model hears in recordings."""
    options = model.transcript_options(beams=1)
    request = Message("user", "text", model.settings.transcribe_prompt)
    rest = iter(recordings)
    while some := [*islice(rest, AT_ONCE)]:
        asked = [(request, Message("user", "audio", model.encode_audio(path))) for path in some]
        replies = [model.stream(messages, options) for messages in asked]
        yield from (Answer.of(reply).text for reply in replies)


def main() -> None:
    """Write the conversations with transcripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="transcribes the recordings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    read = [json.loads(line) for line in arguments.conversations.open(encoding="utf-8")]
    heard_as: dict[str, str] = {}
    if arguments.model is not None:
        recordings = recordings_of(read)
        model = KimiAudio.from_pretrained(arguments.model, load_detokenizer=False)
        heard = heard_by(model, (arguments.conversations.parent / recording for recording in recordings))
        heard_as = dict(zip(recordings, track(heard, "Transcribing", total=len(recordings)), strict=True))
    write_conversations(arguments.out, (with_transcripts(one, heard_as) for one in read))


if __name__ == "__main__":
    main()
