"""The command line: the only place that parses arguments and prints.

Results go to stdout, progress and errors to stderr. Torch and the model are imported when a command needs them, so that
``--help`` and mistakes in the arguments answer at once.
"""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from kimi_audio import Answer, KimiAudio, Message

app = typer.Typer(
    help="Kimi-Audio: a model that hears, speaks and converses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


class Dtype(StrEnum):
    """Precision of the networks; codes and sound are always made in float32."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


ModelOption = Annotated[str, typer.Option("--model", help="nano, a model folder, or a hub id such as owner/name.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default CUDA where there is one.")]
DtypeOption = Annotated[Dtype | None, typer.Option(help="By default bfloat16 on CUDA and float32 on the CPU.")]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same speech.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per result.")]
VoiceOption = Annotated[Path | None, typer.Option(help="A recording whose voice to take on.")]
OneFile = Annotated[Path, typer.Argument(metavar="FILE", help="A recording (wav, flac, ogg or mp3).")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings (wav, flac, ogg or mp3).")]


def main() -> None:
    """Run the command line."""
    app()


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors are one line on stderr: exit code 1, or 130 after Ctrl-C."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            err.print("\ninterrupted")
            raise typer.Exit(130) from None
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            _print_error(error)
            raise typer.Exit(1) from None

    return app.command()(run)


# ---------------------------------------------------------------------------------------------------------------------
# Commands


@command
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the spoken answers.")] = Path("demo-output"),
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Answer the recorded questions that come with the model, in text and speech."""
    report = Report(as_json)
    assistant, load_s = _load(model, device, dtype)
    questions = _bundled_questions(assistant.folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    report.line(f"{model} on {assistant.device}, loaded in {load_s:.1f} s; {len(questions)} recorded questions")
    for question in questions:
        report.line(f"\n{question.name}", style="bold")
        transcript = assistant.transcribe(question)
        report.field("heard", transcript)
        reply = _reply(assistant, [_spoken(question)], report, "answer", seed=seed)
        target = _save(reply, out_folder / f"{question.stem}.wav")
        report.field("time", reply.timing())
        report.field("sound", str(target or "none"))
        result = {"question": str(question), "transcript": transcript, "load_s": round(load_s, 3)}
        report.result(result | reply.as_dict(target))
    report.line(f"\nListen to the answers: {out_folder}/*.wav")


@command
def chat(
    files: Files,
    text: Annotated[bool, typer.Option("--text", help="Reply in text only.")] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the spoken replies; by default beside each file.")
    ] = None,
    voice: VoiceOption = None,
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Hold a dialogue: each file is a turn of yours, and the model remembers all turns before."""
    report = Report(as_json)
    _check_files(*files, voice)
    assistant, _ = _load(model, device, dtype, load_detokenizer=not text)
    if out_folder:
        out_folder.mkdir(parents=True, exist_ok=True)
    history: list[Message] = []
    for turn, file in enumerate(files, 1):
        report.field("you", str(file))
        history.append(_spoken(file, assistant))
        reply = _reply(assistant, history, report, "model", speak=not text, voice=voice, seed=seed)
        history.append(reply.answer.message())
        target = _save(reply, (out_folder or file.parent) / f"{file.stem}-reply-{turn:02d}.wav")
        if target:
            report.field("sound", str(target))
        report.result({"file": str(file)} | reply.as_dict(target))


@command
def transcribe(
    files: Files,
    instruction: Annotated[str | None, typer.Option(help="What to ask the model for, in its language.")] = None,
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write down what is said in recordings of any length. A file that cannot be read does not stop the others."""
    report = Report(as_json)
    _check_files(*files)
    assistant, _ = _load(model, device, dtype, load_detokenizer=False)
    options = {} if instruction is None else {"instruction": instruction}
    failed = False
    for number, file in enumerate(files, 1):
        try:
            with err.status(f"{number} of {len(files)}: {file}"):
                text = assistant.transcribe(file, **options)
        except (ValueError, OSError) as error:
            failed = True
            _print_error(error)
            continue
        if len(files) > 1:
            report.line(file.name, style="bold")
        report.text(text)
        report.result({"file": str(file), "text": text})
    if failed:
        raise typer.Exit(1)


@command
def ask(
    file: OneFile,
    question: Annotated[str, typer.Argument(help="What to find out about the recording.")],
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a written question about a recording."""
    from kimi_audio import Message

    report = Report(as_json)
    _check_files(file)
    assistant, _ = _load(model, device, dtype, load_detokenizer=False)
    reply = _reply(assistant, [Message("user", "text", question), _spoken(file)], report, speak=False)
    report.result({"file": str(file)} | reply.as_dict(None))


@command
def speak(
    text: Annotated[str, typer.Argument(help="What to say.")],
    target: Annotated[Path, typer.Option("--out", help="File of the speech.")] = Path("speech.wav"),
    voice: VoiceOption = None,
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read a text aloud."""
    from kimi_audio.audio.io import check_target

    _check_files(voice)
    check_target(target)
    assistant, _ = _load(model, device, dtype)
    _save_speech(assistant.speak(text, voice=voice, seed=seed), target, Report(as_json))


@command
def convert(
    file: OneFile,
    target: Annotated[Path, typer.Option("--out", help="File of the speech.")] = Path("converted.wav"),
    voice: VoiceOption = None,
    model: ModelOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say a recording again in the voice of the model, or of another recording."""
    from kimi_audio.audio.io import check_target

    _check_files(file, voice)
    check_target(target)
    assistant, _ = _load(model, device, dtype)
    _save_speech(assistant.convert_voice(file, voice=voice, seed=seed), target, Report(as_json))


@command
def info(model: ModelOption = "nano", as_json: JsonOption = False) -> None:
    """Show what a model is made of and what it can run on; no weights are read."""
    report = Report(as_json)
    facts = _model_facts(model)
    report.result(facts)
    report.line(facts.pop("folder"), style="bold")
    report.components(facts.pop("components"))
    for name, value in facts.items():
        report.field(name.replace("_", " "), ", ".join(value) if isinstance(value, list) else f"{value:,}", width=18)


# ---------------------------------------------------------------------------------------------------------------------
# Work


@dataclass(frozen=True)
class Reply:
    """An answer and how long it took."""

    answer: "Answer"
    first_sound_s: float | None  # until the first chunk of sound
    total_s: float

    @property
    def sound_s(self) -> float:
        """Duration of the speech."""
        from kimi_audio.units import OUTPUT_RATE_HZ

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


def _load(
    model: str, device: str | None, dtype: Dtype | None, *, load_detokenizer: bool = True
) -> tuple["KimiAudio", float]:
    """Return the model and the seconds that it took to load."""
    start = time.perf_counter()
    with err.status(f"loading {model}"):
        import torch

        from kimi_audio import KimiAudio

        precision = getattr(torch, dtype) if dtype else None
        assistant = KimiAudio(model, load_detokenizer, device=device, dtype=precision)
    return assistant, time.perf_counter() - start


def _reply(
    assistant: "KimiAudio",
    messages: list["Message"],
    report: "Report",
    label: str = "",
    *,
    speak: bool = True,
    voice: Path | None = None,
    seed: int = 0,
) -> Reply:
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
        err.print(f"the reply was cut off ({answer.finish_reason})")
    return Reply(answer, first_sound_s, time.perf_counter() - start)


def _spoken(file: Path, assistant: "KimiAudio | None" = None) -> "Message":
    """Return a turn of the user, encoded if an assistant is given, so that later turns need not do it again."""
    from kimi_audio import Message

    return Message("user", "audio", assistant.encode_audio(file) if assistant else file)


def _save(reply: Reply, target: Path) -> Path | None:
    """Write the speech of a reply, if there is any."""
    from kimi_audio import save_audio
    from kimi_audio.units import OUTPUT_RATE_HZ

    if reply.answer.audio is None:
        return None
    save_audio(target, reply.answer.audio, OUTPUT_RATE_HZ)
    return target


def _save_speech(wav: "Tensor", target: Path, report: "Report") -> None:
    """Write speech and tell its duration."""
    from kimi_audio import save_audio
    from kimi_audio.units import OUTPUT_RATE_HZ

    save_audio(target, wav, OUTPUT_RATE_HZ)
    sound_s = len(wav) / OUTPUT_RATE_HZ
    report.line(f"{target}: {sound_s:.2f} s of speech")
    report.result({"sound": str(target), "sound_s": round(sound_s, 3)})


def _bundled_questions(folder: Path) -> list[Path]:
    """Return the recorded questions of a model, else those of the bundled one."""
    from kimi_audio.checkpoint import NANO_FOLDER

    for place in (folder, NANO_FOLDER):
        if questions := sorted(place.glob("questions/*.wav")):
            return questions
    raise ValueError(f"there are no recorded questions in {folder / 'questions'}")


def _check_files(*files: Path | None) -> None:
    """Find missing files before a model is loaded for nothing."""
    for file in files:
        if file is not None and not file.exists():
            raise FileNotFoundError(f"there is no file {file}")


def _model_facts(model: str) -> dict[str, Any]:
    import torch

    from kimi_audio.checkpoint import find_model, list_components, load_lm_config
    from kimi_audio.tokenizer.text import TextTokenizer
    from kimi_audio.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, exact_div

    folder = find_model(model)
    lm = load_lm_config(folder)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "folder": str(folder),
        "components": [asdict(part) for part in list_components(folder)],
        "text_ids": TextTokenizer.load(folder).vocab_size,
        "audio_codes": lm.num_codes,
        "context_tokens": lm.max_positions,
        "speech_delay_ms": lm.delay_tokens * exact_div(1000 * SAMPLES_PER_TOKEN, INPUT_RATE_HZ),
        "devices": [f"cpu ({torch.get_num_threads()} threads)", *gpus],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Printing


@dataclass(frozen=True)
class Report:
    """Prints for people, as things become known, or one JSON object per result."""

    as_json: bool

    def result(self, values: dict[str, Any]) -> None:
        """Print a result, for programs."""
        if self.as_json:
            out.print(json.dumps(values, ensure_ascii=False), markup=False, emoji=False)

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line of ours."""
        if not self.as_json:
            out.print(text, style=style, markup=False, emoji=False)

    def text(self, text: str, end: str = "\n") -> None:
        """Print what a model says, without control characters."""
        if not self.as_json:
            visible = "".join(char for char in text if char.isprintable() or char in "\n\t")
            out.print(visible, end=end, markup=False, emoji=False)

    def field(self, name: str, text: str, end: str = "\n", width: int = 8) -> None:
        """Print a name, filled up to a width, and what it stands for."""
        if name and not self.as_json:
            out.print(f"  {name:<{width}} ", end="", style="dim", markup=False)
        self.text(text, end)

    def components(self, parts: list[dict[str, Any]]) -> None:
        """Print the sizes of the networks and their sum."""
        if self.as_json:
            return
        table = Table("component", "parameters", "on disk", box=None, padding=(0, 3, 0, 0))
        total = {name: sum(part[name] for part in parts) for name in ("parameters", "file_bytes")}
        for part in [*parts, {"name": "together"} | total]:
            table.add_row(part["name"], f"{part['parameters']:,}", f"{part['file_bytes'] / 1e6:,.1f} MB")
        out.print(table)


def _print_error(error: BaseException) -> None:
    """Print one line."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    err.print(f"error: {reason}", style="red", markup=False, emoji=False)


if __name__ == "__main__":
    main()
