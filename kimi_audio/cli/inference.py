"""Commands that run a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import (
    Files,
    JsonOption,
    ModelChoice,
    NamedVoiceOption,
    OneFile,
    SeedOption,
    VoiceOption,
    check_files,
    sound_source,
)
from kimi_audio.cli.replies import (
    bundled_questions,
    check_targets,
    recordings,
    reply_targets,
    reply_to,
    save,
    save_speech,
    spoken,
)
from kimi_audio.cli.report import Report, print_error, status

if TYPE_CHECKING:
    from kimi_audio import Message


@command()
def demo(
    *,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the spoken answers.")] = Path("demo-output"),
    model: ModelChoice,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Answer the recorded questions that come with the model, in text and speech."""
    from kimi_audio.audio.io import check_folder

    report = Report(as_json)
    check_folder(out_folder)
    assistant, load_s = model.load()
    questions = bundled_questions(assistant.folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    report.line(f"{model.model} on {assistant.device}, loaded in {load_s:.1f} s; {len(questions)} recorded questions")
    for question in questions:
        report.line(f"\n{question.name}", style="bold")
        transcript = assistant.transcribe(question)
        report.field("heard", transcript)
        reply = reply_to(assistant, [spoken(question)], report, "answer", seed=seed)
        target = save(reply, out_folder / f"{question.stem}.wav")
        report.field("time", reply.timing())
        report.field("sound", str(target or "none"))
        result = {"question": str(question), "transcript": transcript, "load_s": round(load_s, 3)}
        report.result(result | reply.as_dict(target))
    report.line(f"\nListen to the answers: {out_folder}/*.wav")


@command()
def chat(
    files: Files,
    *,
    text: Annotated[bool, typer.Option("--text", help="Reply in text only.")] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the spoken replies; by default beside each file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace replies that exist already.")] = False,
    voice: VoiceOption = None,
    model: ModelChoice,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Hold a dialogue: each file is a turn of yours, and the model remembers all turns before."""
    from kimi_audio.audio.io import check_folder

    report = Report(as_json)
    check_files(*files, voice)
    if out_folder:
        check_folder(out_folder)
    targets = reply_targets(files, out_folder)
    if not text:
        check_targets(targets, [*files, voice], overwrite=overwrite)
    assistant, _ = model.load(load_detokenizer=not text)
    if out_folder:
        out_folder.mkdir(parents=True, exist_ok=True)
    history: list[Message] = []
    for file, place in zip(files, targets, strict=True):
        report.field("you", str(file))
        history.append(spoken(file, assistant))
        reply = reply_to(assistant, history, report, "model", speak=not text, voice=voice, seed=seed)
        history.append(reply.answer.message())
        target = save(reply, place)
        if target:
            report.field("sound", str(target))
        report.result({"file": str(file)} | reply.as_dict(target))


@command()
def transcribe(
    files: Files,
    *,
    instruction: Annotated[str | None, typer.Option(help="What to ask the model for, in its language.")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Use what can be read of damaged files.")] = False,
    model: ModelChoice,
    as_json: JsonOption = False,
) -> None:
    """Write down what is said in recordings of any length. A file that cannot be read does not stop the others."""
    report = Report(as_json)
    check_files(*files)
    assistant, _ = model.load(load_detokenizer=False)
    damage = "keep" if damaged else "cut"
    failed = False
    for number, file in enumerate(files, 1):
        if len(files) > 1:
            report.line(file.name, style="bold")
        parts: list[str] = []
        try:
            with status(f"{number} of {len(files)}: {file}") as sign:
                for part in assistant.stream_transcript(sound_source(file), instruction=instruction, damage=damage):
                    sign.stop()
                    report.text(part, end="")
                    parts.append(part)
            report.text("")
            report.result({"file": str(file), "text": "".join(parts)})
        except (ValueError, OSError, MemoryError) as error:
            failed = True
            if parts:
                report.text("")
            print_error(error)
    if failed:
        raise typer.Exit(1)


@command()
def ask(
    file: OneFile,
    question: Annotated[str, typer.Argument(help="What to find out about the recording.")],
    model: ModelChoice,
    as_json: JsonOption = False,
) -> None:
    """Answer a written question about a recording."""
    from kimi_audio import Message

    report = Report(as_json)
    check_files(file)
    assistant, _ = model.load(load_detokenizer=False)
    reply = reply_to(assistant, [Message("user", "text", question), spoken(file)], report, speak=False)
    report.result({"file": str(file)} | reply.as_dict(None))


@command()
def speak(
    text: Annotated[str, typer.Argument(help="What to say.")],
    *,
    target: Annotated[Path, typer.Option("--out", help="File of the speech.")] = Path("speech.wav"),
    voice: NamedVoiceOption = None,
    model: ModelChoice,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read a text aloud."""
    from kimi_audio.audio.io import check_target

    check_target(target)
    taken_on = model.voice(voice)
    check_targets([target], recordings(taken_on))
    assistant, _ = model.load()
    save_speech(assistant.speak(text, voice=taken_on, seed=seed), target, Report(as_json))


@command()
def convert(
    file: OneFile,
    *,
    target: Annotated[Path, typer.Option("--out", help="File of the speech.")] = Path("converted.wav"),
    voice: NamedVoiceOption = None,
    model: ModelChoice,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say a recording again in a voice of the model, or in that of another recording."""
    from kimi_audio.audio.io import check_target

    check_files(file)
    check_target(target)
    taken_on = model.voice(voice)
    check_targets([target], [file, *recordings(taken_on)])
    assistant, _ = model.load()
    save_speech(assistant.convert_voice(file, voice=taken_on, seed=seed), target, Report(as_json))
