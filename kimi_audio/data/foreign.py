"""Files of other trainers, recognised by what their samples look like, and made into conversations.

Read are the formats of ms-swift (``messages`` with ``audios``, or ``query`` and ``response``), ShareGPT and
LLaMA-Factory (``conversations`` with ``from`` and ``value``, ``messages``, or ``instruction`` and ``output``), and
messages as OpenAI's, whose content is a list of parts; as JSON lines or as one JSON list. ``<audio>`` in a text stands
for the next recording, and so does a part of the kind audio that names none. Sound that is in the file itself is
written to files, in conversations, too.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kimi_audio.core.files import json_text, write_whole
from kimi_audio.core.lines import BadSampleError, JsonLines, Problem, parse_object
from kimi_audio.data.places import find_recording

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
_AUDIO = "<audio>"
_SOUNDS = ("audio", "audio_url")  # kinds of parts
_OTHER_MEDIA = ("images", "image", "videos", "video", "tools", "objects")
_SUFFIXES = {"mpeg": "mp3", "mp3": "mp3", "wav": "wav", "x-wav": "wav", "wave": "wav", "flac": "flac", "ogg": "ogg"}


def name_format(values: Mapping[str, Any]) -> str | None:
    """Return whose format a sample is in, or None if it is none that is known here."""
    if isinstance(values.get("conversations"), list):
        return "ShareGPT and LLaMA-Factory"
    if isinstance(values.get("messages"), list):
        return "ms-swift, LLaMA-Factory and OpenAI"
    if "query" in values and "response" in values:
        return "ms-swift"
    if "instruction" in values and "output" in values:
        return "Alpaca and LLaMA-Factory"
    return None


def refuse_foreign(file: JsonLines) -> None:
    """Refuse a file whose samples are in the format of another trainer, or that is one list instead of lines.

    Raises:
        ValueError: it is; with the way over.
    """
    way_over = f"make conversations of it with: kimi-audio prepare convert {file.path}"
    if _is_list(file):
        raise ValueError(f"{file.path} holds one JSON list instead of lines, as files of LLaMA-Factory do; {way_over}")
    for index in range(len(file)):
        try:
            values = parse_object(file.line(index))
        except BadSampleError:
            continue
        format_name = None if "conversation" in values or "segments" in values else name_format(values)
        if format_name is not None:
            raise ValueError(f"{file.path} is in a format of {format_name}; {way_over}")
        return


def _is_list(file: JsonLines) -> bool:
    texts = (line for _, line in file.all_lines())
    first = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    return first.lstrip().startswith("[")


# ---------------------------------------------------------------------------------------------------------------------
# Conversion


@dataclass(frozen=True)
class Converted:
    """What became of a file."""

    num_samples: int
    num_converted: int
    problems: tuple[Problem, ...]


def convert_file(path: Path, out: Path) -> Converted:
    """Write the samples of another trainer's file as conversations.

    Args:
        path: JSON lines, or one JSON list.
        out: the new file; sound that was inside the old one is written beside it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no sample that is known, or is the file to be written.
    """
    if out.exists() and out.samefile(path):
        raise ValueError(f"{out} is the file that is to be converted; give another name")
    problems: list[Problem] = []
    lines: list[str] = []
    number = 0
    for number, values in _samples(path):
        try:
            if isinstance(values, BadSampleError):
                raise values
            lines.append(json_text(_conversation(values, _Sounds(path.parent, out, number))))
        except BadSampleError as error:
            problems += [Problem(number, reason) for reason in error.reasons]
        except (ValueError, OSError) as error:
            problems.append(Problem(number, str(error)))
    if not lines:
        reason = f"; sample {problems[0].line}: {problems[0].reason}" if problems else ""
        raise ValueError(f"{path} holds no sample that can be converted{reason}")
    with write_whole(out) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Converted(number, len(lines), tuple(problems))


def _samples(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the samples with their numbers, from 1; in the place of one that cannot be read, its error."""
    file = JsonLines(path)
    if _is_list(file):
        try:
            values = json.loads("".join(file.line(index) for index in range(len(file))))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        yield from enumerate(values, 1)
        return
    for index in range(len(file)):
        try:
            yield index + 1, parse_object(file.line(index))
        except BadSampleError as error:
            yield index + 1, error


@dataclass
class _Sounds:
    """Gives the recordings of one sample in their order, as the new file is to name them."""

    folder: Path  # of the old file
    out: Path  # the new file
    sample: int
    waiting: list[Any] = field(default_factory=list)
    written: int = 0

    def next(self) -> str:
        """Return the path of the next recording that waits for a message that mentions it."""
        if not self.waiting:
            raise ValueError(f"there are more {_AUDIO} than recordings")
        return self.place(self.waiting.pop(0))

    def place(self, source: Any) -> str:
        """Return the path of a recording from the folder of the new file."""
        if isinstance(source, Mapping):  # a file of Hugging Face, {"path": ..., "bytes": ...}
            source = source.get("path") or source.get("url")
        if not isinstance(source, str) or not source:
            raise ValueError(f"a recording must be a path, not {type(source).__name__}")
        if source.startswith("data:"):
            head, _, content = source.partition(",")
            return self.write(content, _SUFFIXES.get(re.split(r"[/;]", head + "/")[1], "wav"))
        path = find_recording(source.removeprefix("file://"), self.folder)
        return str(path) if Path(source).is_absolute() else os.path.relpath(path, self.out.parent)

    def write(self, content: Any, suffix: str) -> str:
        """Write sound in base 64 to a file."""
        try:
            sound = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ValueError("the sound in the file is not in base 64") from None
        if not sound:
            raise ValueError("the sound in the file is empty")
        self.written += 1
        name = f"{self.out.stem}-{self.sample:06d}-{self.written}.{suffix}"
        with write_whole(self.out.parent / name) as partial:
            partial.write_bytes(sound)
        return name


def _conversation(values: Any, sounds: _Sounds) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"a sample must be a dictionary, not {type(values).__name__}")
    if isinstance(values.get("conversation"), list):  # ours, with sound in the lines or paths that are to move
        return {**values, "conversation": [_moved(message, sounds) for message in values["conversation"]]}
    other = [name for name in _OTHER_MEDIA if values.get(name)]
    if other:
        raise ValueError(f"it has {', '.join(other)}, which this model knows nothing of")
    audios = _given(values, "audios", "audio")
    sounds.waiting = list(audios) if isinstance(audios, list) else [] if audios is None else [audios]
    turns = list(_turns(values))
    if not turns:
        raise ValueError("it holds no messages that are known; see docs/FINETUNING.md for what a line looks like")
    if sounds.waiting:
        _mention(turns, sounds)
    messages = [message for role, content in turns for message in _messages(role, content, sounds)]
    if sounds.waiting:
        raise ValueError(f"there are fewer {_AUDIO} than recordings")
    speaks = any(message["role"] == "assistant" and message["message_type"] != "text" for message in messages)
    return {"task_type": "speech2speech" if speaks else "understanding", "conversation": messages}


def _mention(turns: list[tuple[str, Any]], sounds: _Sounds) -> None:
    """Let the first message of the user mention the recordings, where no message does: what is heard comes first."""
    if any(_mentions(content) for _, content in turns):
        return
    named = [source for _, content in turns for source in _sources(content)]
    if named == sounds.waiting:  # the same once more
        sounds.waiting = []
    if named:
        return
    first = next((number for number, (role, _) in enumerate(turns) if role == "user"), None)
    if first is None:
        raise ValueError("it has recordings that no message mentions")
    content = turns[first][1]
    heard = [{"type": "audio"}] * len(sounds.waiting)
    parts = [] if content is None else content if isinstance(content, list) else [{"type": "text", "text": content}]
    turns[first] = ("user", [*heard, *parts])


def _mentions(content: Any) -> bool:
    """Tell whether a content speaks of the next recording, without its name."""
    if isinstance(content, str):
        return _AUDIO in content
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    return any(_mentions(part.get("text")) or (part.get("type") in _SOUNDS and _source(part) is None) for part in parts)


def _sources(content: Any) -> list[Any]:
    """Return the recordings that the parts of a content name or hold."""
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    found = [_source(part) if part.get("type") in _SOUNDS else part.get("input_audio") for part in parts]
    return [source for source in found if source is not None]


def _source(part: Mapping[str, Any]) -> Any:
    return _given(part, "audio", "audio_url", "path", "url")


def _given(values: Mapping[str, Any], *names: str) -> Any:
    """Return the first of several fields that is there; null is absent."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _text(values: Mapping[str, Any], name: str) -> str:
    text = values.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} must be a text, not {type(text).__name__}")
    return text or ""


def _moved(message: Any, sounds: _Sounds) -> Any:
    """Return a message of a conversation with its recording where the new file finds it."""
    if not isinstance(message, Mapping):
        return message
    kind, content = message.get("message_type"), message.get("content")
    if kind == "audio" and isinstance(content, str):
        return {**message, "content": sounds.place(content)}
    if kind == "audio-text" and isinstance(content, list) and len(content) == 2 and isinstance(content[0], str):
        return {**message, "content": [sounds.place(content[0]), content[1]]}
    return message


def _turns(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield role and content of every turn."""
    if values.get("system"):
        yield "system", values["system"]
    listed = _given(values, "messages", "conversations")
    if isinstance(listed, list):
        for number, turn in enumerate(listed):
            if not isinstance(turn, Mapping):
                raise ValueError(f"message {number} must be a dictionary, not {type(turn).__name__}")
            role = _given(turn, "role", "from")
            if not isinstance(role, str) or role not in _ROLES:
                raise ValueError(f"message {number} has the role {role!r}, which this model has not")
            yield _ROLES[role], _given(turn, "content", "value")
        return
    asked, answered = ("query", "response") if "query" in values else ("instruction", "output")
    if asked not in values or answered not in values:
        return
    history = values.get("history") or []
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise ValueError("history must be a list of questions, each with its answer")
    for question, answer in history:
        yield from (("user", question), ("assistant", answer))
    question = "\n".join(part for part in (_text(values, asked), _text(values, "input")) if part)
    yield from (("user", question), ("assistant", values[answered]))


def _messages(role: str, content: Any, sounds: _Sounds) -> Iterator[dict[str, Any]]:
    parts = list(_parts(content, sounds))
    texts = [text for kind, text in parts if kind == "text"]
    heard = [place for kind, place in parts if kind == "audio"]
    if role == "assistant" and heard:
        if len(heard) > 1 or not texts:
            raise ValueError("speech of the assistant needs one recording and its transcript")
        yield {"role": role, "message_type": "audio-text", "content": [heard[0], " ".join(texts)]}
        return
    for kind, part in parts:
        yield {"role": role, "message_type": kind, "content": part}


def _parts(content: Any, sounds: _Sounds) -> Iterator[tuple[str, str]]:
    """Yield texts and recordings of a message in their order."""
    if isinstance(content, str):
        pieces: Iterable[str] = re.split(f"({_AUDIO})", content)
        for piece in pieces:
            if piece == _AUDIO:
                yield "audio", sounds.next()
            elif piece.strip():
                yield "text", piece.strip()
        return
    if not isinstance(content, list):
        raise ValueError(f"the content of a message must be a text or a list of parts, not {type(content).__name__}")
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            yield from _parts(part["text"], sounds)
        elif kind == "input_audio" and isinstance(part.get(kind), Mapping):
            inside = part[kind]
            yield "audio", sounds.write(inside.get("data"), _SUFFIXES.get(str(inside.get("format")), "wav"))
        elif kind in _SOUNDS:
            source = _source(part)
            yield "audio", sounds.next() if source is None else sounds.place(source)
        else:
            raise ValueError(f"a part of a message is of the kind {kind!r}, which this model knows nothing of")
