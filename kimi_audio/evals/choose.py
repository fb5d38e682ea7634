"""Instruments by option: as people name them on the command line."""

from pathlib import Path

from kimi_audio.evals.contract.instruments import Instruments, Recogniser
from kimi_audio.evals.contract.types import EvalTask
from kimi_audio.evals.judges.endpoint import choose_judge
from kimi_audio.evals.registry import all_tasks, parse_model
from kimi_audio.evals.speech.mos import choose_mos
from kimi_audio.evals.speech.recognisers import (
    FASTER_WHISPER,
    POCKETSPHINX,
    FasterWhisper,
    ModelRecogniser,
    PocketSphinx,
)
from kimi_audio.evals.speech.voices import choose_speaker_encoder


def recognition_task(language: str) -> EvalTask:
    """Return the task whose recipe a model is asked with to write speech down."""
    return all_tasks()["aishell-1" if language == "zh" else "librispeech"]


def choose_instruments(
    judge: str | None = None,
    ratings: tuple[Path, ...] = (),
    recogniser: str | None = None,
    speaker: str | None = None,
    mos: str | None = None,
) -> Instruments:
    """Return the chosen instruments, loaded.

    Args:
        judge: ``stand-in``, or a YAML file with url and model.
        ratings: filled forms of listeners.
        recogniser: ``pocketsphinx``, ``faster-whisper:FOLDER``, or a model as ``parse_model`` reads it.
        speaker: ``spectrum``, ``resemblyzer``, or an x-vector model.
        mos: a predictor.

    Raises:
        ValueError: one of them is not known, or cannot be used.
    """
    return Instruments(
        choose_judge(judge) if judge else None,
        ratings,
        choose_recogniser(recogniser) if recogniser else None,
        choose_speaker_encoder(speaker) if speaker else None,
        choose_mos(mos) if mos else None,
    )


def choose_recogniser(name: str, device: str | None = None) -> Recogniser:
    """Return ``pocketsphinx``, ``faster-whisper:FOLDER``, or a model as ``--model`` names them; raises as they do."""
    if name == POCKETSPHINX:
        return PocketSphinx()
    if name.startswith(f"{FASTER_WHISPER}:"):
        return FasterWhisper(name.removeprefix(f"{FASTER_WHISPER}:"))
    return ModelRecogniser(parse_model(name).load(device), recognition_task)
