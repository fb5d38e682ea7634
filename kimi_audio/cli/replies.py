"""Replies of a model: streamed to the terminal, timed and written to files."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_audio.cli.options import STANDARD_INPUT, sound_source
from kimi_audio.cli.report import Report, warn

if TYPE_CHECKING:
    from torch import Tensor

    from kimi_audio import Answer, KimiAudio, Message
    from kimi_audio.voice import Voice


@dataclass(frozen=True)
class TimedReply:
    """An answer and how long it took."""

    answer: "Answer"
    first_sound_s: float | None  # until the first chunk of sound
    total_s: float

    @property
    def sound_s(self) -> float:
        """Duration of the speech."""
        from kimi_audio.core.units import OUTPUT_RATE_HZ

        return 0.0 if self.answer.audio is None else len(self.answer.audio) / OUTPUT_RATE_HZ

    def timing(self) -> str:
        """Describe the times for people."""
        if self.first_sound_s is None:
            return f"{self.total_s:.2f} s"
        return (
            f"first sound after {self.first_sound_s:.2f} s; {self.total_s:.2f} s for {self.sound_s:.2f} s of speech "
            f"(real-time factor {self.total_s / self.sound_s:.2f})"
        )

    def as_dict(self, target: Path | None) -> dict[str, Any]:
        """Return the fields of a JSON result."""
        times = {"first_sound_s": self.first_sound_s, "total_s": self.total_s, "sound_s": self.sound_s}
        return {
            "text": self.answer.text,
            "finish_reason": self.answer.finish_reason,
            "sound": str(target) if target else None,
            **{name: None if value is None else round(value, 3) for name, value in times.items()},
        }


def reply_to(
    assistant: "KimiAudio",
    messages: list["Message"],
    report: Report,
    label: str = "",
    *,
    speak: bool = True,
    voice: Path | None = None,
    seed: int = 0,
) -> TimedReply:
    """Stream a reply, its text to the terminal behind a label."""
    from kimi_audio import Answer

    start = time.perf_counter()
    first_sound_s = None
    chunks = []
    report.field(label, "", end="")
    for chunk in assistant.stream(messages, "both" if speak else "text", voice=voice, seed=seed):
        if first_sound_s is None and len(chunk.audio):
            first_sound_s = time.perf_counter() - start
        report.text(chunk.text, end="")
        chunks.append(chunk)
    report.line("")
    answer = Answer.of(chunks)
    if answer.finish_reason != "stop":
        warn(f"the reply was cut off ({answer.finish_reason})")
    return TimedReply(answer, first_sound_s, time.perf_counter() - start)


def spoken(file: Path, assistant: "KimiAudio | None" = None) -> "Message":
    """Return a turn of the user, encoded if an assistant is given, so that later turns need not do it again."""
    from kimi_audio import Message

    source = sound_source(file)
    return Message("user", "audio", assistant.encode_audio(source) if assistant else source)


def reply_targets(files: list[Path], folder: Path | None) -> list[Path]:
    """Return where the spoken replies to the turns of a dialogue go: into a folder, or beside each file."""
    names = ["stdin" if file == STANDARD_INPUT else file.stem for file in files]
    return [
        (folder or file.parent) / f"{name}-reply-{turn:02d}.wav"
        for turn, (file, name) in enumerate(zip(files, names, strict=True), 1)
    ]


def recordings(voice: "Voice | None") -> list[Path | None]:
    """Return the file that a voice is taken from, if it is one."""
    return [Path(voice.recording)] if voice is not None and isinstance(voice.recording, str) else []


def check_targets(targets: list[Path], sources: list[Path | None], *, overwrite: bool = True) -> None:
    """Check, before any work, that writing to the targets destroys nothing that is still to be read, or wanted.

    Raises:
        ValueError: a target is one of the sources, be it by another name, or exists and is not to be overwritten.
    """
    for target in targets:
        for source in sources:
            if source is not None and target.exists() and source.exists() and target.samefile(source):
                raise ValueError(f"{target} would be overwritten, but it is to be read; give another place by --out")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists already; --overwrite replaces it, --out FOLDER gives another place")


def save(reply: TimedReply, target: Path) -> Path | None:
    """Write the speech of a reply, if there is any."""
    if reply.answer.audio is None:
        return None
    _save_marked(target, reply.answer.audio)
    return target


def save_speech(wav: "Tensor", target: Path, report: Report) -> None:
    """Write speech and tell its duration."""
    from kimi_audio.core.units import OUTPUT_RATE_HZ

    _save_marked(target, wav)
    sound_s = len(wav) / OUTPUT_RATE_HZ
    report.line(f"{target}: {sound_s:.2f} s of speech")
    report.result({"sound": str(target), "sound_s": round(sound_s, 3)})


def _save_marked(target: Path, wav: "Tensor") -> None:
    """Write generated speech with the mark and where it comes from."""
    from kimi_audio import save_audio
    from kimi_audio.audio.marking import marked
    from kimi_audio.audio.writing import PROVENANCE
    from kimi_audio.core.units import OUTPUT_RATE_HZ

    save_audio(target, marked(wav.cpu()), OUTPUT_RATE_HZ, comment=PROVENANCE)


def bundled_questions(folder: Path) -> list[Path]:
    """Return the recorded questions of a model, else those of the bundled one."""
    from kimi_audio.checkpoint import NANO_FOLDER

    for place in (folder, NANO_FOLDER):
        if questions := sorted(place.glob("questions/*.wav")):
            return questions
    raise ValueError(f"there are no recorded questions in {folder / 'questions'}")
