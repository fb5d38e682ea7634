"""``kimi-audio bench``."""

import importlib.util
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import DeviceOption, JsonOption, ModelOption, Steps, StepsOption
from kimi_audio.cli.report import Report, status, warn
from kimi_audio.core.files import write_whole


class ShapeName(StrEnum):
    """Sizes that need no checkpoint."""

    tiny = "tiny"
    half_billion = "0.5b"
    released = "7b"


@command()
def bench(
    *,
    model: ModelOption = "nano",
    shape: Annotated[ShapeName | None, typer.Option(help="Random weights of this shape instead of a model.")] = None,
    device: DeviceOption = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="float32, bfloat16, int8 or int4; by default all that suit.")
    ] = None,
    steps: StepsOption = Steps.plain,
    repeats: Annotated[int, typer.Option(min=1, help="Of each measurement.")] = 5,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("bench"),
    as_json: JsonOption = False,
) -> None:
    """Measure on this machine: steps, batches, detokenizer, first sound; writes JSON, Markdown and a picture."""
    from kimi_audio.audio.io import check_folder
    from kimi_audio.bench.run import check_formats, formats_for, measure_model, measure_shape
    from kimi_audio.bench.written import draw, markdown
    from kimi_audio.checkpoint import find_model
    from kimi_audio.cli.replies import bundled_questions
    from kimi_audio.devices import find_device

    check_folder(out_folder)
    where = find_device(device)
    wanted = formats or formats_for(where)
    check_formats(wanted)
    with status("measuring") as sign:
        if shape is not None:
            results = measure_shape(shape.value, where, wanted, steps.value, repeats, sign.update)
        else:
            questions = bundled_questions(find_model(model))
            results = measure_model(model, where, wanted, steps.value, repeats, questions, sign.update)
    out_folder.mkdir(parents=True, exist_ok=True)
    name = shape.value if shape else Path(model).name
    for text, target in ((json.dumps(results, indent=1), f"{name}.json"), (markdown(results), f"{name}.md")):
        with write_whole(out_folder / target) as partial:
            partial.write_text(text, "utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        warn("the picture is left out; it needs matplotlib: pip install 'kimi-audio[plots]'")
    else:
        draw(results, out_folder / f"{name}.png")
    report = Report(as_json)
    report.result(results)
    report.line(markdown(results))
    report.line(f"written to {out_folder}")
