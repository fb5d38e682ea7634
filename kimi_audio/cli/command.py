"""The application, and how a function becomes one of its commands."""

import functools
import inspect
import platform
from collections.abc import Callable
from dataclasses import is_dataclass
from importlib.metadata import version
from typing import Annotated, Any

import typer

from kimi_audio.cli.report import bear_any_text, log_to_stderr, print_error, warn

Function = Callable[..., None]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_versions(wanted: bool) -> None:
    if wanted:
        python, torch = platform.python_version(), version("torch")
        typer.echo(f"kimi-audio {version('kimi-audio')} (Python {python}, torch {torch})")
        raise typer.Exit


@app.callback()
def every_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print the versions, and end.")
    ] = False,
) -> None:
    """Kimi-Audio: a model that hears, speaks and converses."""


def command(group: typer.Typer = app) -> Callable[[Function], Function]:
    """Register a function as a command of a group; its name is the name of the command, its docstring the help.

    A parameter whose type is a dataclass stands for one option per field, and receives an instance.
    Errors are one line on stderr: exit code 1, or 130 after Ctrl-C.
    """

    def register(function: Function) -> Function:
        options, collect = _flatten(inspect.signature(function, eval_str=True))

        @functools.wraps(function)
        def run(**values: Any) -> None:
            bear_any_text()
            log_to_stderr()
            try:
                function(**collect(values))
            except typer.Exit:
                raise
            except KeyboardInterrupt:
                warn("\ninterrupted")
                raise typer.Exit(130) from None
            except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
                print_error(error)
                raise typer.Exit(1) from None

        run.__dict__["__signature__"] = inspect.Signature(options)
        run.__annotations__ = {option.name: option.annotation for option in options}
        group.command()(run)
        return function

    return register


def _flatten(
    signature: inspect.Signature,
) -> tuple[list[inspect.Parameter], Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return the options of a function, dataclasses taken apart, and what puts their values together again."""
    options: list[inspect.Parameter] = []
    parts: dict[str, tuple[type, list[str]]] = {}
    for name, parameter in signature.parameters.items():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            fields = inspect.signature(kind, eval_str=True).parameters
            parts[name] = (kind, list(fields))
            options.extend(fields.values())
        else:
            options.append(parameter)

    def collect(values: dict[str, Any]) -> dict[str, Any]:
        built = {name: kind(**{field: values.pop(field) for field in fields}) for name, (kind, fields) in parts.items()}
        return values | built

    return [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options], collect
