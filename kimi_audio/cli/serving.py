"""Commands that serve."""

import importlib.util
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import JsonOption, ModelChoice, check_files
from kimi_audio.cli.report import Report
from kimi_audio.core.files import write_whole

if TYPE_CHECKING:
    from kimi_audio.serve.load_test import Summary

KEY_VARIABLE = "KIMI_AUDIO_API_KEY"


@command()
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with a key in every line; beside the variable {KEY_VARIABLE}.")
    ] = None,
    origins: Annotated[
        list[str] | None, typer.Option("--origin", help="Address of a web page that may use the server, too.")
    ] = None,
    voices: Annotated[Path | None, typer.Option(help="Folder of recordings, each a voice of its file's name.")] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Conversations at once.")] = 16,
    instances: Annotated[
        int,
        typer.Option(
            min=1, max=16, help="Of each stage, on the same weights: one that fails does not stop the others."
        ),
    ] = 1,
    ssl: Annotated[
        bool, typer.Option("--ssl", help="https with a certificate of our own: other machines' browsers need https.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="For https: a certificate in PEM form.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="The key of the certificate.")] = None,
    redis: Annotated[
        str | None, typer.Option(help="Keep conversations there, such as in redis://localhost:6379/0.")
    ] = None,
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help="Leave out the inaudible mark that tells generated speech.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log to stderr, one JSON object a line.")] = False,
    model: ModelChoice,
) -> None:
    """Serve a page to talk to the model, OpenAI's audio routes, and Realtime over WebSocket."""
    _check_extra()
    from kimi_audio.serve.app import create_app
    from kimi_audio.serve.certificates import default_folder, self_signed
    from kimi_audio.serve.logs import log_as_json
    from kimi_audio.serve.server import make_server
    from kimi_audio.serve.settings import ServeLimits, ServeSettings

    settings = ServeSettings(
        host=host,
        port=port,
        api_keys=_keys(api_key_file),
        origins=tuple(origins or ()),
        voices=voices,
        redis=redis,
        instances=instances,
        is_marked=not unmarked,
        limits=ServeLimits(sessions=sessions),
    )
    if voices is not None and not voices.is_dir():
        raise ValueError(f"there is no folder {voices}")
    if (certificate is None) != (private_key is None):
        raise ValueError("https needs both --certificate and --private-key")
    check_files(certificate, private_key)
    if ssl and certificate is not None:
        raise ValueError("--ssl makes a certificate; leave it out where there is a --certificate")
    if ssl:
        certificate, private_key = self_signed(host, default_folder())
    if log_json:
        log_as_json()
    _share_cores()
    assistant, load_s = model.load()
    report = Report(as_json=False)
    report.line(f"{model.model} on {assistant.device}, loaded in {load_s:.1f} s")
    app = create_app(assistant, Path(model.model).name, settings)

    def tell(address: str) -> None:
        report.line(f"Talk to it: {address}    OpenAI's clients: base_url={address}v1", style="bold")
        if ssl:
            report.line(f"Browsers warn of the certificate once, as nobody else vouches for it: {certificate}")

    server = make_server(app, settings, certificate=certificate, private_key=private_key, on_ready=tell)
    server.run()
    if not server.started:
        raise OSError(f"port {port} of {host} cannot be used; choose another one with --port")


def _share_cores() -> None:
    """Compute with half of the cores each: the LLM and the detokenizer of one reply are at work at the same time."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))


def _keys(file: Path | None) -> tuple[str, ...]:
    lines = file.read_text("utf-8").splitlines() if file else []
    if file and not any(line.strip() for line in lines):
        raise ValueError(f"{file} holds no key")
    lines += os.environ.get(KEY_VARIABLE, "").split(",")
    return tuple(line.strip() for line in lines if line.strip())


def _check_extra() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "websockets", "python_multipart") if not _is_there(name)]
    if missing:
        raise RuntimeError(f"the server needs {missing[0]}; install it with: pip install 'kimi-audio[serve]'")


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@command()
def wyoming(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on. The protocol knows no keys: keep strangers out.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 10300,
    voices: Annotated[Path | None, typer.Option(help="Folder of recordings, each a voice of its file's name.")] = None,
    model: ModelChoice,
) -> None:
    """Serve speech to text and text to speech to Home Assistant."""
    _check_extra()
    if not _is_there("wyoming"):
        raise RuntimeError("this needs the package wyoming; install it with: pip install 'kimi-audio[serve,wyoming]'")
    import asyncio
    import contextlib

    from kimi_audio.serve.app import new_services
    from kimi_audio.serve.settings import LOOPBACK, ServeSettings
    from kimi_audio.serve.wyoming_service import handler_of, wyoming_server

    if voices is not None and not voices.is_dir():
        raise ValueError(f"there is no folder {voices}")
    _share_cores()
    assistant, _ = model.load()
    services = new_services(assistant, Path(model.model).name, ServeSettings(voices=voices))
    report = Report(as_json=False)

    async def run() -> None:
        await services.backend.start()
        server = wyoming_server(f"tcp://{host}:{port}")
        await server.start(handler_of(services))
        report.line(f"Wyoming: tcp://{host}:{port}", style="bold")
        if host not in LOOPBACK:
            report.line("Everybody who reaches this address may use it.")
        await asyncio.Event().wait()

    with contextlib.closing(services.backend):
        asyncio.run(run())


@command()
def loadtest(
    address: Annotated[
        str, typer.Argument(help="Of a Realtime server.")
    ] = "ws://127.0.0.1:8000/v1/realtime?model=nano",
    *,
    recordings: Annotated[
        list[Path] | None, typer.Option("--recording", help="What is asked; by default nano's bundled questions.")
    ] = None,
    clients: Annotated[list[int] | None, typer.Option(help="Conversations at once; give several for a curve.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Questions of every conversation.")] = 3,
    silence_ms: Annotated[int, typer.Option(min=50, help="What the server takes for the end of a turn.")] = 300,
    transcripts: Annotated[
        bool, typer.Option("--transcripts", help="Have the questions written down, too, as the page does.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture of the curve; needs matplotlib.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold conversations with a server, many at once, and tell how long it takes to the first sound."""
    _check_extra()
    import asyncio

    from kimi_audio.checkpoint import NANO, find_model
    from kimi_audio.cli.replies import bundled_questions
    from kimi_audio.serve.load_test import Script, Summary, run

    if plot is not None and not _is_there("matplotlib"):
        raise RuntimeError("the picture needs matplotlib; install it with: pip install 'kimi-audio[plots]'")
    check_files(*(recordings or ()))
    script = Script(recordings or bundled_questions(find_model(NANO)), turns, silence_ms, transcripts)
    report, summaries = Report(as_json), []
    report.line("clients   turns  failed   first sound p50     p95   with gaps", style="bold")
    for number in clients or [1]:
        found = asyncio.run(run(address, script, number, next(iter(_keys(None)), "")))
        summary = Summary.of(number, found)
        summaries.append(summary)
        report.line(
            f"{number:7} {summary.turns:7} {summary.failed:7} {summary.first_sound_p50_s:15.2f} s "
            f"{summary.first_sound_p95_s:6.2f} s {summary.turns_with_gaps:9}"
        )
        for error in sorted({turn.error for turn in found if turn.error}):
            report.line(f"  {error}")
        report.result(asdict(summary))
    if plot is not None:
        _draw(summaries, plot)
    if all(summary.failed == summary.turns for summary in summaries):
        raise RuntimeError("no conversation had an answer")


def _draw(summaries: "list[Summary]", target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    clients = [summary.clients for summary in summaries]
    axes.plot(clients, [summary.first_sound_p50_s for summary in summaries], "o-", label="p50")
    axes.plot(clients, [summary.first_sound_p95_s for summary in summaries], "o-", label="p95")
    axes.set(xlabel="conversations at once", ylabel="end of speech to first sound, s", ylim=(0, None))
    axes.legend()
    with write_whole(target) as partial:
        figure.savefig(partial, format=target.suffix.lstrip(".") or "png")
