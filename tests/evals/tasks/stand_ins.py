"""Tiny datasets in the formats of the public ones: tones instead of recordings."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16000


def tone(path: Path, seconds: float = 0.2, format: str | None = None, subtype: str | None = None) -> None:
    """Write a tone whose pitch depends on the name of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pitch_hz = 200 + sum(path.name.encode()) % 800
    wave = 0.1 * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(path, wave, RATE_HZ, format=format, subtype=subtype)


def text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def librispeech(folder: Path) -> None:
    for subset, speaker in (("test-clean", 1089), ("test-other", 1688)):
        home = folder / "LibriSpeech" / subset / str(speaker) / "1"
        text(home / f"{speaker}-1.trans.txt", [f"{speaker}-1-0000 HE HOPED", f"{speaker}-1-0001 STUFF IT INTO YOU"])
        for number in range(2):
            tone(home / f"{speaker}-1-{number:04d}.flac")


def fleurs(folder: Path) -> None:
    for name, words in (("cmn_hans_cn", "这 是 测 试"), ("en_us", "this is a test")):
        rows = [(7, f"{number}.wav", words, words, "|", 3200, "FEMALE") for number in range(2)]
        text(folder / name / "test.tsv", ("\t".join(map(str, row)) for row in rows))
        for row in rows:
            tone(folder / name / "audio" / "test" / row[1])


def aishell_1(folder: Path) -> None:
    names = ("BAC009S0764W0121", "BAC009S0764W0122")
    lines = [*(f"{name} 甚至 出现 交易" for name in names), "BAC009S0002W0122 而 对 楼市"]  # the last is for training
    text(folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt", lines)
    for name in names:
        tone(folder / "data_aishell" / "wav" / "test" / "S0764" / f"{name}.wav")


def aishell_2(folder: Path) -> None:
    home = folder / "iOS" / "test"
    names = ("IT0011W0001", "IT0011W0002")
    text(home / "trans.txt", (f"{name}\t换一首歌" for name in names))
    text(home / "wav.scp", (f"{name}\twav/IT0011/{name}.wav" for name in names))
    for name in names:
        tone(home / "wav" / "IT0011" / f"{name}.wav")


def wenetspeech(folder: Path) -> None:
    audios = []
    for subset, code in (("TEST_MEETING", "test_meeting"), ("TEST_NET", "test_net"), ("M", "train")):
        path = f"audio/{code}/B00/{code}.opus"
        tone(folder / path, 3.0, "OGG", "OPUS")
        parts = [(0.5, 1.0), (1.5, 2.75)]
        segments = [
            {"sid": f"{code}_S{n}", "begin_time": a, "end_time": b, "subsets": [subset], "text": "开会了"}
            for n, (a, b) in enumerate(parts)
        ]
        audios.append({"aid": code, "path": path, "segments": segments})
    (folder / "WenetSpeech.json").write_text(json.dumps({"audios": audios}))


def common_voice(folder: Path) -> None:
    for language, words in (("en", 'She said "yes'), ("zh-CN", "今天天气很好")):
        rows = [("c0", f"common_voice_{language}_{n}.mp3", words) for n in range(2)]
        text(folder / language / "test.tsv", ("\t".join(row) for row in [("client_id", "path", "sentence"), *rows]))
        for row in rows:
            tone(folder / language / "clips" / row[1])


def kespeech(folder: Path) -> None:
    home = folder / "Tasks" / "ASR" / "test"
    names = {"1000001_a": "Mandarin", "1000002_b": "Zhongyuan"}
    text(home / "text", (f"{name} 我们<SPOKEN_NOISE>回家" for name in names))
    text(home / "wav.scp", (f"{name} Audio/{name}.wav" for name in names))
    text(home / "utt2subdialect", (f"{name} {subdialect}" for name, subdialect in names.items()))
    for name in names:
        tone(folder / "Audio" / f"{name}.wav")


def manifest(folder: Path) -> None:
    rows = [
        {"id": "a", "audio": "a.wav", "text": "hello there"},
        {"index": 1, "audio_path": "b.wav", "answer": "你好", "question": "请转写。", "lang": "zh"},
    ]
    text(folder / "mine.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))
    for name in "ab":
        tone(folder / f"{name}.wav")


def translation(folder: Path) -> None:
    rows = [
        {"audio": "a.wav", "text": "a dog is barking at the gate", "language": "en"},
        {"audio": "b.wav", "text": ["the weather is good today", "it is a fine day"], "language": "en"},
    ]
    text(folder / "mine.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))
    for name in "ab":
        tone(folder / f"{name}.wav")


def captions(folder: Path) -> None:
    rows = [
        {"audio": "a.wav", "text": "a dog barks and a car passes by"},
        {"audio": "b.wav", "text": "rain falls on a roof of tin"},
    ]
    text(folder / "mine.jsonl", (json.dumps(row) for row in rows))
    for name in "ab":
        tone(folder / f"{name}.wav")


def mmau(folder: Path) -> None:
    rows = [
        {
            "id": f"id-{task}", "audio_id": f"./test-mini-audios/{task}.wav", "question": "What is it?",
            "choices": ["A cat", "A dog"], "answer": "A dog", "task": task, "difficulty": "easy",
        }
        for task in ("music", "sound", "speech")
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mmau-test-mini.json").write_text(json.dumps(rows))
    for row in rows:
        tone(folder / row["audio_id"])


def clothoaqa(folder: Path) -> None:
    for name in ("clotho_aqa_test_clean.csv", "clotho_aqa_val_clean.csv"):
        rows = [(f"{name[:13]}.wav", "Are there birds?", "yes"), (f"{name[:13]}.wav", "What barks, then?", "dog")]
        table(folder / name, ("file_name", "QuestionText", "answer"), rows)
        tone(folder / "audio_files" / f"{name[:13]}.wav")


def vocalsound(folder: Path) -> None:
    labels = {"m0001_0_laughter.wav": "/m/01j3sz", "f0002_0_sneeze.wav": "/m/01hsr_"}
    rows = [{"wav": f"/data/sls/audio/{name}", "labels": label} for name, label in labels.items()]
    text(folder / "datafiles" / "te.json", [json.dumps({"data": rows})])
    for name in labels:
        tone(folder / "audio_16k" / name)


def nonspeech7k(folder: Path) -> None:
    head = ("Filename", "File ID", "Duration in ms", "Class ID", "Classname", "source")
    rows = [(f"{n}.wav", n, 200, n, name, "freesound") for n, name in enumerate(("screaming", "Yawn", "crying"))]
    table(folder / "metadata of test set.csv", head, rows)
    for row in rows:
        tone(folder / "test" / str(row[0]))


def meld(folder: Path) -> None:
    head = ("Sr No.", "Utterance", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
    rows = [
        (1, "Why do all your coffee mugs have numbers?", "surprise", 0, 0, "00:19:14,571", "00:19:18,111"),
        (2, "Oh. That's so Monica", "neutral", 0, 1, "00:19:18,657", "00:19:23,245"),
        (3, "a wrong cut", "joy", 38, 4, "00:01:00,000", "00:06:00,000"),
    ]
    table(folder / "MELD.Raw" / "test_sent_emo.csv", head, rows)
    for row in rows:
        tone(folder / "audio" / f"dia{row[3]}_utt{row[4]}.wav")


def tut2017(folder: Path) -> None:
    home = folder / "TUT-acoustic-scenes-2017-evaluation"
    text(home / "meta.txt", ["audio/1.wav\tbeach", "audio/2.wav\tcafe/restaurant", "audio/3.wav\tforest_path"])
    for number in (1, 2, 3):
        tone(home / "audio" / f"{number}.wav")


def cochlscene(folder: Path) -> None:
    for subset in ("Test", "Val"):
        for scene in ("Bus", "CrowdedIndoor"):
            tone(folder / "CochlScene" / subset / scene / f"{scene}_user1_{subset}.wav")


STAND_INS = {
    "librispeech": librispeech, "fleurs": fleurs, "aishell-1": aishell_1, "aishell-2": aishell_2,
    "wenetspeech": wenetspeech, "common-voice": common_voice, "kespeech": kespeech, "manifest": manifest,
    "translation": translation, "captions": captions,
    "mmau": mmau, "clothoaqa": clothoaqa, "vocalsound": vocalsound, "nonspeech7k": nonspeech7k, "meld": meld,
    "tut2017": tut2017, "cochlscene": cochlscene,
}  # fmt: skip
