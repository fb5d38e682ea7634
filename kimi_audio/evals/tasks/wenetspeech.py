"""WenetSpeech: Mandarin of the internet; test-meeting (far field) and test-net.

Its recordings last hours, and ``WenetSpeech.json`` names their segments. ``prepare`` cuts the segments of the test sets
out once, into ``segments/``, and lists them in ``test.jsonl``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile
from rich.progress import track

from kimi_audio.core.files import write_whole
from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.run.store import read_rows, save_text, to_line
from kimi_audio.evals.tasks.asking import recognition_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, read_json
from kimi_audio.evals.tasks.scorers import Transcripts

SUBSETS = {"TEST_MEETING": "test-meeting", "TEST_NET": "test-net"}
INDEX = "test.jsonl"


def cut_segments(folder: Path) -> None:
    """Write every segment of the test sets to a file of its own; those that are there stay."""
    source = folder / "WenetSpeech.json"
    if (folder / INDEX).exists() or not source.exists():
        return
    rows: list[dict[str, Any]] = []
    for audio in track(list(_test_audios(read_json(source)["audios"])), "cutting segments"):
        rows += _cut_one(folder, audio)
    save_text(folder / INDEX, "".join(to_line(row) for row in rows))


def _test_audios(audios: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for audio in audios:
        segments = [segment for segment in audio["segments"] if set(segment["subsets"]) & set(SUBSETS)]
        if segments:
            yield {**audio, "segments": segments}


def _cut_one(folder: Path, audio: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with soundfile.SoundFile(folder / audio["path"]) as sound:
        for segment in audio["segments"]:
            (subset,) = (SUBSETS[name] for name in segment["subsets"] if name in SUBSETS)
            name = f"segments/{subset}/{segment['sid']}.wav"
            if not (folder / name).exists():
                _write_part(sound, segment["begin_time"], segment["end_time"], folder / name)
            yield {"id": segment["sid"], "audio": name, "text": segment["text"], "subset": subset}


def _write_part(sound: soundfile.SoundFile, begin_s: float, end_s: float, path: Path) -> None:
    start = round(begin_s * sound.samplerate)
    sound.seek(start)
    samples = sound.read(round(end_s * sound.samplerate) - start, dtype="float32")
    with write_whole(path) as partial:
        soundfile.write(partial, samples, sound.samplerate, subtype="PCM_16", format="WAV")


LAYOUT = Layout(
    index=(INDEX,),
    by_hand=(
        "ask for WenetSpeech at https://wenet.org.cn/WenetSpeech, place WenetSpeech.json and audio/test_net, "
        "audio/test_meeting there, and run 'kimi-audio eval prepare wenetspeech', which cuts out the segments"
    ),
    convert=cut_segments,
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the segments."""
    for row in read_rows(folder / INDEX):
        yield Sample(row["id"], (folder / row["audio"],), reference=row["text"], subset=row["subset"])


TASKS = (
    Task(
        "wenetspeech",
        "1",
        make_dataset("wenetspeech", "https://wenet.org.cn/WenetSpeech, on request", LAYOUT, read),
        Transcripts("zh"),
        recognition_recipes("请把这段语音转录成文本。", "zh"),
        "recognition of Mandarin from meetings and the internet",
    ),
)
