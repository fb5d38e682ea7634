"""Commands that run a model."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import (
    STANDARD_INPUT,
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
from kimi_audio.cli.report import Report, print_error, status, warn
from kimi_audio.cli.transcripts import (
    Watch,
    check_apart,
    clock,
    is_written,
    kept,
    partial_of,
    targets_of,
    write_transcript,
)
from kimi_audio.core.numbers import counted

if TYPE_CHECKING:
    from kimi_audio import Message
    from kimi_audio.transcript.listening import Heard
    from kimi_audio.transcript.timed_text import Segment


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
        for target in targets:
            check_folder(target.parent)
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
    hotwords: Annotated[Path | None, typer.Option(help="File of words that are likely to be said, one a line.")] = None,
    beams: Annotated[int | None, typer.Option(help="Texts looked at side by side for the likeliest.")] = None,
    words: Annotated[bool, typer.Option("--words", help="Times of words, too: in --json, and for subtitles.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Write subtitles; an interrupted command goes on.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="The same as WebVTT.")] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the subtitles; by default beside each file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace subtitles that exist already.")] = False,
    model: ModelChoice,
    as_json: JsonOption = False,
) -> None:
    """Write down what is said in recordings of any length. A file that cannot be read does not stop the others."""
    from kimi_audio.audio.io import check_folder
    from kimi_audio.core.lines import read_lines

    report = Report(as_json)
    check_files(*files, hotwords)
    suffixes = [suffix for suffix, wanted in ((".srt", srt), (".vtt", vtt)) if wanted]
    targets = [targets_of(file, out_folder, suffixes) for file in files]
    check_apart(target for some in targets for target in some)
    written = {file for file, places in zip(files, targets, strict=True) if not overwrite and is_written(file, places)}
    if written.issuperset(files):
        written = set()  # nothing would be left to do: that is refused
    for file, places in zip(files, targets, strict=True):
        check_targets(places, [*files], overwrite=overwrite or file in written)
        for place in places:
            check_folder(place.parent)
    options = {
        "timestamps": "word" if words else "segment",
        "instruction": instruction,
        "hotwords": read_lines(hotwords) if hotwords else [],
        "beams": beams,
    }
    assistant, _ = model.load(load_detokenizer=False)
    failed = False
    for number, (file, places) in enumerate(zip(files, targets, strict=True), 1):
        if file in written:
            warn(f"{file}: {places[0]} is there already, and stays; --overwrite replaces it")
            continue
        if len(files) > 1:
            report.line(file.name, style="bold")
        listen = partial(assistant.listen, sound_source(file), damage="keep" if damaged else "cut", **options)
        if places and file != STANDARD_INPUT:
            facts = options | {"model": model.model, "revision": model.revision}
            heard = kept(lambda start, listen=listen: listen(start_samples=start), places[0], file, facts)
        else:
            heard = listen()
        try:
            _write_down(heard, file, places, report, f"{number} of {len(files)}: {file}")
        except (ValueError, OSError, MemoryError) as error:
            failed = True
            print_error(error)
    if failed:
        raise typer.Exit(1)


def _write_down(heard: "Iterator[Heard]", file: Path, places: list[Path], report: Report, name: str) -> None:
    """Print what is heard as it comes; write it to files at the end."""
    from kimi_audio.audio.io import announced_s
    from kimi_audio.core.units import INPUT_RATE_HZ
    from kimi_audio.transcript.timed_text import joined, separator

    segments: list[Segment] = []
    text, until_s = "", 0.0
    try:
        with status(name) as sign:
            watch = Watch(name, sign, None if file == STANDARD_INPUT else announced_s(file))
            for stretch in heard:
                for segment in stretch.segments:
                    if not places:
                        sign.stop()
                    report.text(separator(text, segment.text) + segment.text, end="")
                    text = segment.text
                segments += stretch.segments
                until_s = stretch.until_samples / INPUT_RATE_HZ
                watch(until_s)
    except KeyboardInterrupt:
        if places and until_s and file != STANDARD_INPUT:
            warn(f"{file}: heard until {clock(until_s)}; the same command goes on from there")
        raise
    finally:
        if text:
            report.text("")
    values = {"file": str(file), "text": joined(segment.text for segment in segments)}
    report.result(values | {"segments": [segment.as_dict() for segment in segments]})  # even if nothing can be written
    if places:
        write_transcript(places, segments)
        partial_of(places[0]).unlink(missing_ok=True)
    for place in places:
        report.line(f"{place}: {counted(len(segments), 'segment')}")


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
def detect(files: Files, *, as_json: JsonOption = False) -> None:
    """Tell of recordings whether they hold the mark of speech that this program made.

    The exit code is 1 if one does not hold it, and 2 if one cannot be read.
    """
    from kimi_audio.audio import marking
    from kimi_audio.audio.io import load_audio

    report = Report(as_json)
    check_files(*files)
    codes = [0]
    for file in files:
        try:
            detection = marking.detect(load_audio(sound_source(file), marking.DETECTION_RATE_HZ))
        except (ValueError, OSError, MemoryError) as error:
            print_error(error)
            codes.append(2)
            continue
        codes.append(0 if detection.is_marked else 1)
        verdict = "made by kimi-audio" if detection.is_marked else "no mark found"
        report.line(f"{file}: {verdict} (score {detection.score:.1f}, from {marking.THRESHOLD:g} on it is there)")
        report.result({"file": str(file), "is_marked": detection.is_marked, "score": round(detection.score, 2)})
    if max(codes):
        raise typer.Exit(max(codes))


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
    """Read a text of any length aloud."""
    import torch

    from kimi_audio.aloud import read_in_pieces
    from kimi_audio.audio.io import check_target

    check_target(target)
    taken_on = model.voice(voice)
    check_targets([target], recordings(taken_on))
    assistant, _ = model.load()
    pieces = read_in_pieces(text, assistant.context_tokens)
    speech = [assistant.speak(piece, voice=taken_on, seed=seed) for piece in pieces]
    save_speech(torch.cat(speech), target, Report(as_json))


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
    save_speech(assistant.convert_voice(sound_source(file), voice=taken_on, seed=seed), target, Report(as_json))
