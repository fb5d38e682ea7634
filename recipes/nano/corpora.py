"""What nano's LLM learns, as files of conversations: the form in which everybody fine-tunes this model.

``python -m recipes.nano.corpora OUT --speech FOLDER … --readers FOLDER --orders FOLDER --transcripts FILE`` writes
``OUT/heard.jsonl`` and the recordings that it names: each as it may reach a microphone, several times over.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from rich.progress import track

from kimi_audio.audio.io import load_audio
from kimi_audio.core.files import write_whole
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from recipes.nano.channels import vary
from recipes.nano.people import Heard, orders, readers
from recipes.nano.recording import recordings

logger = logging.getLogger(__name__)

ASR_REQUESTS = ("Please transcribe the spoken content into written text.", "Transcribe.", "Write down what is said.")
NEIGHBOURS = 4  # recordings whose voices make up babble
LONGEST_S = 14.0


def speech_heard(folders: Iterable[Path]) -> list[Heard]:
    """Return generated recordings with their transcripts."""
    return [
        Heard(item.audio, normalise(item.line.text))
        for folder in folders
        for item in recordings(folder)
        if item.duration_s < LONGEST_S
    ]


def write_heard(items: Sequence[Heard], out: Path, copies: int, seed: int) -> None:
    """Write every recording in ``copies`` variants and a conversation for each that asks for its transcript.

    What an interrupted run has left is kept.
    """
    (out / "audio").mkdir(parents=True, exist_ok=True)
    with write_whole(out / "heard.jsonl") as partial, partial.open("w", encoding="utf-8") as lines:
        for number, item in enumerate(track(items, "what is heard")):
            for name, conversation in _variants(items, number, item, out, copies, seed):
                conversation["id"] = name
                lines.write(json.dumps(conversation) + "\n")


def _variants(
    items: Sequence[Heard], number: int, item: Heard, out: Path, copies: int, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    missing = [copy for copy in range(copies) if not (out / "audio" / f"{number:06d}-{copy}.flac").exists()]
    wav = load_audio(item.audio, INPUT_RATE_HZ) if missing else None
    for copy in range(copies):
        name = f"{number:06d}-{copy}"
        generator = generator_of(seed, number * copies + copy)
        if wav is not None and copy in missing:
            near = [items[int(i)] for i in torch.randint(len(items), (NEIGHBOURS,), generator=generator)]
            others = [load_audio(other.audio, INPUT_RATE_HZ) for other in near]
            with write_whole(out / "audio" / f"{name}.flac") as partial:
                soundfile.write(partial, vary(wav, others, generator).numpy(), INPUT_RATE_HZ, format="FLAC")
        yield name, transcription(f"audio/{name}.flac", item.text, ASR_REQUESTS[(number + copy) % len(ASR_REQUESTS)])


def transcription(audio: str, text: str, request: str) -> dict[str, Any]:
    """Return a conversation that asks for a transcript."""
    return {
        "task_type": "understanding",
        "conversation": [
            {"role": "user", "message_type": "text", "content": request},
            {"role": "user", "message_type": "audio", "content": audio},
            {"role": "assistant", "message_type": "text", "content": text},
        ],
    }


def main() -> None:
    """Write a corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the corpus")
    parser.add_argument("--speech", type=Path, nargs="*", default=[], help="folders of generated speech")
    parser.add_argument("--readers", type=Path, help="speechocean762")
    parser.add_argument("--orders", type=Path, help="coffee commands")
    parser.add_argument("--transcripts", type=Path, help="what Whisper heard in them")
    parser.add_argument("--copies", type=int, default=2, help="variants of every recording")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    items = speech_heard(arguments.speech)
    if arguments.readers is not None:
        items += readers(arguments.readers)
    if arguments.orders is not None:
        items += orders(arguments.orders, arguments.transcripts)
    write_heard(items, arguments.out, arguments.copies, arguments.seed)


if __name__ == "__main__":
    main()
