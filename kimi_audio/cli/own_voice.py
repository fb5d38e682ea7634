"""Teach a model your own voice: ``python -m kimi_audio.cli.own_voice --data recordings.jsonl --out my-voice``.

The recordings are a JSONL file with one ``{"audio": "001.wav", "text": "what is said"}`` per line, or a folder of
sound files each beside a text file of the same name: ten minutes of one speaker, sentences of 0.5 to 30 s, 16 kHz or
more. With nano and two free cores it takes about ten minutes; a run that was stopped goes on when the command is given
again.
Afterwards ``kimi-audio chat --model my-voice question.wav`` answers in the voice.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from kimi_audio.cli.report import log_to_stderr
from kimi_audio.train.speech.voice_adaptation import Likeness, OwnVoiceConfig, VoiceReport, train_own_voice


def table(report: VoiceReport) -> Table:
    """Return the report as a table: base model, own voice, recordings."""
    shown = Table(title=f"{report.sentences} held-back sentences, {report.training_s:.0f} s learnt from")
    for heading in ("", "base", "own voice", "recordings"):
        shown.add_column(heading)
    for label, name in (
        ("flow-matching loss", "flow_loss"),
        ("mel distance of the vocoder", "vocoder_mel"),
        ("mel distance of sentences made again from codes", "mel_distance"),
    ):
        shown.add_row(label, *(f"{getattr(scores, name):.3f}" for scores in (report.before, report.after)), "")
    for label, name in (("made again from codes", "made_again"), ("read aloud by the model", "read_aloud")):
        pair: list[Likeness] = [getattr(scores, name) for scores in (report.before, report.after)]
        for what, unit, format_ in (
            ("timbre_db", "timbre distance, dB", ".2f"),
            ("pitch_semitones", "pitch distance, semitones", ".2f"),
            ("words_heard", "words heard by the model", ".0%"),
        ):
            values = [getattr(likeness, what) for likeness in (*pair, report.recorded)]
            shown.add_row(f"{label}: {unit}", *("-" if value is None else format(value, format_) for value in values))
    return shown


def main() -> None:
    """Train, export and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="JSONL file or folder of recordings")
    parser.add_argument("--judge", type=Path, help="recordings that judge; by default some of --data are held back")
    parser.add_argument("--out", type=Path, required=True, help="the new model folder")
    parser.add_argument("--base", default="nano", help="the model to start from")
    parser.add_argument("--flow-steps", type=int, help="of flow matching")
    parser.add_argument("--vocoder-steps", type=int, help="of the vocoder")
    parser.add_argument("--held-out", type=int, help="different sentences that judge the result")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="cores to use")
    arguments = parser.parse_args()
    log_to_stderr(logging.INFO)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = OwnVoiceConfig(seed=arguments.seed)
    flow = replace(config.flow, steps=arguments.flow_steps or config.flow.steps, seed=arguments.seed)
    vocoder = replace(config.vocoder, steps=arguments.vocoder_steps or config.vocoder.steps, seed=arguments.seed)
    held_out = config.held_out if arguments.held_out is None else arguments.held_out
    config = replace(config, flow=flow, vocoder=vocoder, held_out=held_out)
    console = Console(stderr=True)
    try:
        report = train_own_voice(arguments.data, arguments.out, arguments.base, config, arguments.judge)
    except (ValueError, FloatingPointError, MemoryError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from the last checkpoint")
        raise SystemExit(130) from None
    Console().print(table(report))


if __name__ == "__main__":
    main()
