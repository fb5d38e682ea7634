"""Options that several commands share, with one spelling and one explanation."""

import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from kimi_audio.cli.report import status

if TYPE_CHECKING:
    from kimi_audio import KimiAudio
    from kimi_audio.voice import Voice


STANDARD_INPUT = Path("-")


class Dtype(StrEnum):
    """Precision of the networks; codes and sound are always made in float32."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Steps(StrEnum):
    """How decoding steps are made."""

    plain = "plain"
    graphs = "graphs"
    compiled = "compiled"


class Quantize(StrEnum):
    """Bits of the LLM's matrices."""

    none = "none"
    int8 = "int8"
    int4 = "int4"


ModelOption = Annotated[str, typer.Option("--model", help="nano, a model folder, or a hub id such as owner/name.")]
RevisionOption = Annotated[str | None, typer.Option(help="Commit, tag or branch of the hub repository.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default CUDA where there is one.")]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        "--device", help="cpu, cuda or cuda:N, or one for each part, such as llm=cuda:0,encoders=cpu,detokenizer=cpu."
    ),
]
DtypeOption = Annotated[Dtype | None, typer.Option(help="By default bfloat16 on CUDA and float32 on the CPU.")]
QuantizeOption = Annotated[
    Quantize | None,
    typer.Option(help="Bits of the LLM's matrices: less memory, faster steps; by default as the model's settings say."),
]
StepsOption = Annotated[
    Steps, typer.Option(help="Decoding steps of the LLM: plain, CUDA graphs, or compiled for each new shape.")
]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same speech.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per result.")]
VoiceOption = Annotated[Path | None, typer.Option(help="A recording whose voice to take on.")]
NamedVoiceOption = Annotated[
    str | None,
    typer.Option("--voice", help="A voice of the model by name, or a recording whose voice to take on."),
]
OneFile = Annotated[Path, typer.Argument(metavar="FILE", help="A recording in any usual format; - is standard input.")]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Recordings in any usual format; - is standard input.")
]


@dataclass(frozen=True)
class ModelChoice:
    """Which model runs, and how."""

    model: ModelOption = "nano"
    revision: RevisionOption = None
    device: DevicesOption = None
    dtype: DtypeOption = None
    quantize: QuantizeOption = None
    steps: StepsOption = Steps.plain

    def voice(self, text: str | None) -> "Voice | None":
        """Return which voice is meant; the settings of the model are enough to tell, before its weights are read.

        Raises:
            FileNotFoundError: it is neither one of the model's nor a file.
        """
        if text is None:
            return None
        from kimi_audio.checkpoint import find_model, load_settings
        from kimi_audio.voice import Voice

        folder = find_model(self.model, with_detokenizer=False, with_weights=False, revision=self.revision)
        return Voice.find(text, load_settings(folder).voices)

    def load(self, *, load_detokenizer: bool = True) -> tuple["KimiAudio", float]:
        """Return the model and the seconds that it took to load."""
        start = time.perf_counter()
        with status(f"loading {self.model}"):
            import torch

            from kimi_audio import KimiAudio

            precision = getattr(torch, self.dtype) if self.dtype else None
            assistant = KimiAudio(
                self.model,
                load_detokenizer,
                device=self.device,
                dtype=precision,
                revision=self.revision,
                quantize=None if self.quantize is None else self.quantize.value,
                steps=self.steps.value,
            )
        return assistant, time.perf_counter() - start


def check_files(*files: Path | None) -> None:
    """Find missing files before a model is loaded for nothing."""
    for file in files:
        if file is not None and file != STANDARD_INPUT and not file.exists():
            raise FileNotFoundError(f"there is no file {file}")


def sound_source(file: Path) -> Path | BinaryIO:
    """Return what a recording is read from.

    Raises:
        ValueError: it is standard input, and that is a terminal.
    """
    if file != STANDARD_INPUT:
        return file
    if sys.stdin.isatty():
        raise ValueError("- stands for standard input, but that is a terminal; use a pipe or the name of a file")
    return sys.stdin.buffer
