"""Readers of the benchmarks of recognition, in the formats of their publishers."""

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import soundfile
from rich.progress import track

from kimi_audio.core.files import write_whole
from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.rows import read_rows, save_rows
from kimi_audio.evals.contract.types import EvalSample
from kimi_audio.evals.metrics.languages import language_code
from kimi_audio.evals.tasks.datasets import read_csv, read_json, read_pairs

TRANSCRIBE_CHINESE = "请将这段语音转写成文字。"


def read_librispeech(folder: Path) -> Iterator[EvalSample]:
    """Yield the utterances of read books, whose transcripts stand in one file per chapter."""
    for subset in ("test-clean", "test-other"):
        for transcripts in sorted((folder / "LibriSpeech" / subset).glob("*/*/*.trans.txt")):
            for name, text in read_pairs(transcripts).items():
                yield EvalSample(name, (transcripts.parent / f"{name}.flac",), reference=text, subset=subset)


def read_fleurs(folder: Path) -> Iterator[EvalSample]:
    """Yield sentences of Wikipedia in Mandarin and English. Several people read one, so the file is the name."""
    prompts = {"zh": TRANSCRIBE_CHINESE, "en": "Please transcribe this audio."}
    for language, name in {"zh": "cmn_hans_cn", "en": "en_us"}.items():
        table = folder / name / "test.tsv"
        for number, line in enumerate(read_lines(table) if table.exists() else [], 1):
            cells = line.split("\t")
            if len(cells) != 7:
                raise ValueError(f"{table}, line {number} has {len(cells)} columns, not 7")
            _, file, _, text, *_ = cells  # id, file, as written, transcription, letters, samples, gender
            audio = (folder / name / "audio" / "test" / file,)
            meta = {"language": language}
            yield EvalSample(f"{language}/{Path(file).stem}", audio, prompts[language], text, language, meta)


def read_aishell_1(folder: Path) -> Iterator[EvalSample]:
    """Yield the recordings of the test speakers, with transcripts without spaces."""
    texts = read_pairs(folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt")
    recordings = sorted((folder / "data_aishell" / "wav" / "test").glob("*/*.wav"))
    if not recordings:
        raise ValueError(
            f"aishell-1 has no recordings in {folder}; unpack data_aishell.tgz from https://www.openslr.org/33 there, "
            "and in data_aishell/wav the archives of the speakers, so that data_aishell/wav/test/S0764 exists"
        )
    for path in recordings:
        if path.stem in texts:  # a few recordings were never transcribed
            yield EvalSample(path.stem, (path,), reference="".join(texts[path.stem].split()))


def unpack_speakers(folder: Path) -> None:
    """Unpack the recordings of AISHELL-1's test speakers, which come as archives inside the archive."""
    for archive in sorted((folder / "data_aishell" / "wav").glob("S*.tar.gz")):
        unpacked = archive.parent / "test" / archive.name.removesuffix(".tar.gz")
        if archive.name >= "S0764" and not unpacked.exists():  # the first speaker of the test set
            with tarfile.open(archive) as file:
                members = [member for member in file if "test" in Path(member.name).parts]
                file.extractall(archive.parent, members, filter="data")


def read_aishell_2(folder: Path) -> Iterator[EvalSample]:
    """Yield the recordings that were made with iOS telephones."""
    home = folder / "iOS" / "test"
    texts = read_pairs(home / "trans.txt")
    return _kaldi(texts, read_pairs(home / "wav.scp"), home, dict.fromkeys(texts, "ios"))


def read_kespeech(folder: Path) -> Iterator[EvalSample]:
    """Yield Mandarin and eight of its subdialects; paths begin at the folder of the dataset."""
    home = folder / "Tasks" / "ASR" / "test"
    noise = re.compile(r"<[A-Z_]+>")  # such as <SPOKEN_NOISE>, which nobody says
    texts = {name: noise.sub("", text) for name, text in read_pairs(home / "text").items()}
    return _kaldi(texts, read_pairs(home / "wav.scp"), folder, read_pairs(home / "utt2subdialect"))


def _kaldi(
    texts: Mapping[str, str], files: Mapping[str, str], root: Path, subsets: Mapping[str, str]
) -> Iterator[EvalSample]:
    """Yield recordings by tables of Kaldi's form, with transcripts without spaces."""
    for name, text in texts.items():
        audio, fault = ((root / files[name],), "") if name in files else ((), f"wav.scp does not name {name}")
        reference = "".join(text.split())
        yield EvalSample(name, audio, reference=reference, subset=subsets.get(name, ""), fault=fault)


def read_common_voice(folder: Path) -> Iterator[EvalSample]:
    """Yield the test set of each language that is there, in a folder of its code, such as ``en`` or ``zh-CN``."""
    for table in sorted(folder.glob("*/test.tsv")):
        language = table.parent.name
        is_chinese = language_code(language) == "zh"
        prompt = TRANSCRIBE_CHINESE if is_chinese else "Please transcribe the spoken content into written text."
        for row in read_csv(table, ("path", "sentence"), "\t"):
            audio, name = (table.parent / "clips" / row["path"],), f"{language}/{Path(row['path']).stem}"
            yield EvalSample(name, audio, prompt, row["sentence"], language, {"language": language})


def read_wenetspeech(folder: Path) -> Iterator[EvalSample]:
    """Yield Mandarin of meetings (far field) and of the internet: the segments that ``cut_segments`` has cut out."""
    for row in read_rows(folder / "test.jsonl"):
        yield EvalSample(row["id"], (folder / row["audio"],), reference=row["text"], subset=row["subset"])


def cut_segments(folder: Path) -> None:
    """Cut the segments of WenetSpeech's test sets, whose recordings last hours, out into files; those there stay."""
    source, index = folder / "WenetSpeech.json", folder / "test.jsonl"
    if index.exists() or not source.exists():
        return
    rows: list[dict[str, Any]] = []
    for audio in track(read_json(source)["audios"], "cutting segments"):
        rows += _cut_one(folder, audio)
    save_rows(index, rows)


def _cut_one(folder: Path, audio: dict[str, Any]) -> Iterator[dict[str, Any]]:
    subsets = {"TEST_MEETING": "test-meeting", "TEST_NET": "test-net"}
    wanted = [(subsets[name], part) for part in audio["segments"] for name in part["subsets"] if name in subsets]
    if not wanted:
        return
    with soundfile.SoundFile(folder / audio["path"]) as sound:
        for subset, segment in wanted:
            name = f"segments/{subset}/{segment['sid']}.wav"
            if not (folder / name).exists():
                start, end = (round(segment[key] * sound.samplerate) for key in ("begin_time", "end_time"))
                sound.seek(start)
                samples = sound.read(end - start, dtype="float32")
                with write_whole(folder / name) as partial:
                    soundfile.write(partial, samples, sound.samplerate, subtype="PCM_16", format="WAV")
            yield {"id": segment["sid"], "audio": name, "text": segment["text"], "subset": subset}
