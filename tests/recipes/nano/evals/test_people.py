"""The rows of people and natural voices: what is reserved for them, and how they are judged."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.chat.tools import parse_tools
from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import hash_of
from kimi_audio.evals.contract.types import EvalSample, Prediction
from recipes.nano import evaluation_recordings, kokoro
from recipes.nano.evals import people
from recipes.nano.evals.listening import BUNDLED, OwnEars
from recipes.nano.recording import Line, recordings
from recipes.nano.talks import to_values
from recipes.nano.world.registry import REFUSED
from recipes.nano.world.tools import TOOLS
from recipes.nano.world.types import Talk, Turn

KNOWN = Talk("opposite", (Turn("What is the opposite of hot?", "The opposite of hot is cold."),), "cold")
TASKS = {task.name: task for task in people.TASKS}


def beep(line: Line) -> tuple[np.ndarray, int]:
    return np.sin(np.arange(800 + len(line.text)) / 5).astype(np.float32), 8_000


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_recordings, "TALKS", 3)
        patch.setattr(evaluation_recordings, "CALLS", 6)
        patch.setattr(evaluation_recordings.synthetic, "speak", beep)
        patch.setattr(evaluation_recordings, "evaluation_sentences", lambda: ("The sun is warm.", "He has two dogs."))
        evaluation_recordings.make(folder / "nano-people", beep, None, None)
    return folder / "nano-people"


def score(name: str, sample: EvalSample, text: str = "", **others) -> dict:
    return dict(TASKS[name].scorer.score(sample, Prediction(text, **others)).values)


def test_conversations_are_reserved_and_spoken_by_voices_that_are(root):
    samples = list(TASKS["nano-talks"].dataset.load(root))
    assert {sample.subset for sample in samples} == {"dictionary", "questions", "memory", "unknown", "names"}
    assert {voice for item in recordings(root / "talks") for voice in item.line.voices} <= set(kokoro.RESERVED)
    for sample in samples:
        talk = people.of_values(dict(sample.meta["talk"]))
        assert talk.is_reserved
        assert len(sample.audio) == len(talk.turns)
        assert (talk.kind in REFUSED) == (sample.subset == "unknown")
        right = score("nano-talks", sample, talk.turns[-1].reply)
        assert right["right"] == (1, 1)


def test_a_refusal_of_what_is_known_counts_as_one():
    sample = EvalSample("talk", meta={"talk": json.loads(json.dumps(to_values(KNOWN)))})
    assert score("nano-talks", sample, "I do not know that.") == {"right": (0, 1), "refused-by-mistake": (1, 1)}
    assert score("nano-talks", sample, "the opposite of hot is cold.") == {
        "right": (1, 1),
        "refused-by-mistake": (0, 1),
    }


def test_requests_for_tools_are_reserved_and_want_their_call_to_the_last_argument(root):
    samples = list(TASKS["nano-tools"].dataset.load(root))
    assert {sample.subset for sample in samples} == {tool.name for tool in TOOLS}
    assert len(samples) > 2 * len(TOOLS)
    assert parse_tools(TASKS["nano-tools"].recipes["default"].system) == TOOLS
    for sample in samples:
        talk = people.of_values(dict(sample.meta["talk"]))
        assert talk.is_reserved
        assert len(sample.audio) == len(talk.turns) == 1
        assert score("nano-tools", sample, talk.turns[-1].call) == {"right": (1, 1)}
        assert score("nano-tools", sample, talk.turns[-1].reply) == {"right": (0, 1)}
        assert score("nano-tools", sample, "<call>lamp state=up</call>") == {"right": (0, 1)}


def test_everyday_sentences_are_scored_by_their_words_in_all_voices_that_are_there(root):
    samples = list(TASKS["nano-everyday"].dataset.load(root))
    assert [(sample.subset, sample.reference) for sample in samples] == [
        ("natural", "the sun is warm"),
        ("natural", "he has two dogs"),
        ("synthetic", "the sun is warm"),
        ("synthetic", "he has two dogs"),
    ]
    assert score("nano-everyday", samples[1], "He has 2 dogs.") == {"nano-wer": (0, 4)}
    assert score("nano-everyday", samples[1], "she has dogs") == {"nano-wer": (2, 4)}
    assert TASKS["nano-everyday"].scorer.worst(samples[1]) == {"nano-wer": (4, 4)}


def test_of_silence_nothing_may_be_written(root):
    samples = list(TASKS["nano-silence"].dataset.load(root))
    assert len(samples) == evaluation_recordings.SILENCES
    assert score("nano-silence", samples[0], " \n") == {"nothing-written": (1, 1)}
    assert score("nano-silence", samples[0], "the") == {"nothing-written": (0, 1)}


def test_of_an_order_what_matters_is_heard():
    sample = EvalSample("order", meta={"values": ["three", "large", "latte"]})
    assert score("nano-orders-of-coffee", sample, "I want 3 large cups") == {"heard": (2, 3)}
    assert TASKS["nano-orders-of-coffee"].scorer.worst(sample) == {"heard": (0, 3)}


def test_what_is_read_aloud_is_judged_by_the_chosen_ears(root):
    class Ears:
        name = "ears"

        def transcribe(self, clip: Samples, language: str) -> str:
            return "The sun is wan."

    class Ratings:
        name = "ratings"

        def rate(self, clip: Samples) -> float:
            return 3.5

    scorer = TASKS["nano-aloud"].scorer.equip(Instruments(recogniser=Ears(), mos=Ratings()))
    (sample, _) = TASKS["nano-aloud"].dataset.load(root)
    said = Prediction("the sun is warm.", Samples(np.zeros(2400, np.float32), 24_000))
    assert scorer.score(sample, said).values == {"nano-wer": (1, 4), "mos": (3.5, 1)}
    assert scorer.score(sample, Prediction("the sun is warm.")).values == {"nano-wer": (4, 4)}
    assert scorer.versions()["recogniser"] == "ears"


class Pitch:
    """Hears which of the four tones a recording is."""

    name = "pitch"

    def embed(self, clip: Samples | Path) -> np.ndarray:
        wav = load_audio(clip, 8_000).numpy()
        return np.eye(4)[int(np.abs(np.fft.rfft(wav)).argmax() * 8_000 / len(wav) / 250)]


def test_a_changed_voice_is_the_named_one_whose_recordings_are_nearest(tmp_path, monkeypatch):
    pitches_hz = {voice: 125 + 250 * place for place, (voice, _) in enumerate(kokoro.SPEAKERS.values())}

    def tone(line: Line) -> tuple[np.ndarray, int]:
        return np.sin(2 * np.pi * pitches_hz[line.voices[0]] * np.arange(1600) / 8_000).astype(np.float32), 8_000

    monkeypatch.setattr(evaluation_recordings, "evaluation_sentences", lambda: tuple(f"it is {n}" for n in range(11)))
    evaluation_recordings._conversions(tmp_path / "nano-people", tone)
    samples = list(TASKS["nano-changed-voice"].dataset.load(tmp_path / "nano-people"))
    assert len(samples) == 8 * 4
    assert sum(sample.meta["source"] == sample.meta["target"] for sample in samples) == 8
    scorer = TASKS["nano-changed-voice"].scorer.equip(Instruments(speaker=Pitch()))
    for sample in samples:
        assert sample.meta["target"] in sample.text
        said = tone(Line("", (kokoro.SPEAKERS[sample.meta["target"]][0],)))
        scored = replace(scorer, ears=SimpleNamespace(name="ears", transcribe=lambda clip, language: "it is"))
        assert scored.score(sample, Prediction("", Samples(*said))).values == {
            "named-rightly": (1, 1),
            "voice": (1, 1),
            "words-kept": (2, 3),
        }
        assert scored.score(sample, Prediction("")).values["voice"] == (0, 1)


def test_a_missing_folder_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"python -m recipes\.nano\.evaluation_recordings"):
        list(TASKS["nano-talks"].dataset.load(tmp_path / "nano-people"))


def test_people_are_reserved_by_speaker_and_by_recording(tmp_path):
    rows = [
        {"audio": "a.opus", "split": "dev", "age": 30, "text": "HELLO THERE"},
        {"audio": "b.opus", "split": "train", "age": 30, "text": "NOT ME"},
        {"audio": "c.opus", "split": "dev", "age": 9, "text": "A CHILD"},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = evaluation_recordings.dev_readers(tmp_path, 10)
    assert (found.audio, found.text) == (tmp_path / "a.opus", normalise("hello there"))


def test_the_bundled_listener_is_named_with_its_weights():
    assert BUNDLED.name == f"the bundled nano {hash_of([NANO_FOLDER])}"
    assert OwnEars(name="another").name == "another"
