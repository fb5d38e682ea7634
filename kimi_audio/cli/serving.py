"""Commands that serve."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import ModelChoice
from kimi_audio.cli.report import Report

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
    certificate: Annotated[Path | None, typer.Option(help="For https: a certificate in PEM form.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="The key of the certificate.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log to stderr, one JSON object a line.")] = False,
    model: ModelChoice,
) -> None:
    """Serve a page to talk to the model, OpenAI's audio routes, and Realtime over WebSocket."""
    _check_extra()
    from kimi_audio.serve.app import create_app
    from kimi_audio.serve.logs import log_as_json
    from kimi_audio.serve.server import make_server
    from kimi_audio.serve.settings import Limits, Settings

    settings = Settings(
        host=host,
        port=port,
        api_keys=_keys(api_key_file),
        origins=tuple(origins or ()),
        voices=voices,
        limits=Limits(sessions=sessions),
    )
    if log_json:
        log_as_json()
    assistant, load_s = model.load()
    report = Report(as_json=False)
    report.line(f"{model.model} on {assistant.device}, loaded in {load_s:.1f} s")
    app = create_app(assistant, Path(model.model).name, settings)

    def tell(address: str) -> None:
        report.line(f"Talk to it: {address}    OpenAI's clients: base_url={address}v1", style="bold")

    server = make_server(app, settings, certificate=certificate, private_key=private_key, on_ready=tell)
    server.run()
    if not server.started:
        raise OSError(f"port {port} of {host} cannot be used; choose another one with --port")


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
