"""nano's own suite on generated tones, and Kimi-Audio in process under the contract of evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kimi_audio.answers import Answer
from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.chat import Message
from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.core.config import Settings
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import hash_of
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Options, Prediction
from kimi_audio.evals.models.kimi_audio import EACH_TURN, InProcess, load
from kimi_audio.evals.registry import all_suites
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.evaluate import evaluate
from kimi_audio.evals.run.infer import InferOptions
from kimi_audio.evals.run.scoring import score_all
from kimi_audio.evals.run.selection import Selection
from kimi_audio.lm.rules import GenerationOptions
from recipes.nano import evals as nano
from recipes.nano.closed.qa import find_item
from recipes.nano.evals import data as nano_data
from recipes.nano.evals.conversation import SpokenAnswers
from recipes.nano.evals.judged import Captions
from recipes.nano.evals.listening import words_found
from recipes.nano.evals.reading import ReadAloud
from recipes.nano.evals.reply_styles import StyledReplies, read_with_ordinary

GENERATED = [task for task in nano.TASKS if task.dataset.name == "nano"]
QUESTIONS = sorted((NANO_FOLDER / "questions").glob("*.wav"))
SIZES = nano_data.Sizes(heard=8, spoken=10)  # ten replies: two questions in five styles


# ---------------------------------------------------------------------------------------------------------------------
# Stand-ins


def tone(pitch_hz: float, seconds: float, rate_hz: int) -> np.ndarray:
    phase = 2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.1 * np.sin(phase) + 0.05 * np.sin(2 * phase)).astype(np.float32)


def tones(requests: Sequence) -> list[tuple[np.ndarray, int]]:
    """Stand for the speech engines."""
    return [(tone(90.0, 0.2, INPUT_RATE_HZ), INPUT_RATE_HZ) for _ in requests]


def generate(folder: Path) -> None:
    nano_data.make(folder, SIZES, tones)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate(folder / "nano")
    return folder


class Pupil:
    """Knows every reply, and speaks as it is asked to; what it said is known by the length of the sound."""

    name, revision, family = "pupil", "1", "kimi-audio"
    styles = {"faster": (150, 0.6), "slower": (150, 2.0), "higher": (250, 1.0), "whisper": (0, 1.0)}  # noqa: RUF012

    def __init__(self, replies: dict[str, str]) -> None:
        self.replies = replies
        self.said: dict[int, str] = {}

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        return [self.reply(sample, options) for sample in samples]

    def reply(self, sample: EvalSample, options: Options) -> Prediction:
        text = self.replies[sample.id]
        if options.output == "text":
            return Prediction(text)
        kind = sample.meta.get("kind")
        pitch_hz, seconds = self.styles.get(kind, (150, 1.0))
        wave = tone(pitch_hz or 150, seconds, OUTPUT_RATE_HZ)
        if not pitch_hz:
            wave = 0.01 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
        wave = np.concatenate([wave, np.zeros(len(self.said) + 1, np.float32)])
        self.said[len(wave)] = text
        return Prediction(text, Samples(wave, OUTPUT_RATE_HZ))


@dataclass(frozen=True)
class Parrot:
    """Hears what the pupil said."""

    pupil: Pupil
    name: str = "parrot"

    def transcribe(self, clip: Path, language: str) -> str:
        return self.pupil.said[soundfile.info(clip).frames]


def prepared(task: EvalTask, pupil: Pupil) -> EvalTask:
    """Return a task whose instruments are stand-ins."""
    instruments = Instruments(recogniser=Parrot(pupil))
    scorer = task.scorer
    if isinstance(scorer, SpokenAnswers | ReadAloud):
        scorer = scorer.equip(instruments)
    if isinstance(scorer, ReadAloud):
        scorer = replace(scorer, sphinx=Parrot(pupil))
    return replace(task, scorer=scorer)


def run(root: Path, folder: Path, answer) -> dict[tuple[str, str], float | None]:
    """Return the scores of a pupil whose reply to a sample is ``answer`` of it, by task and metric."""
    pupil = Pupil({})
    tasks = [prepared(task, pupil) for task in GENERATED]
    for task in tasks:
        pupil.replies |= {sample.id: answer(sample) for sample in task.dataset.load(root / "nano")}
    results = list(evaluate(tasks, root, LocalBackend(pupil), folder, InferOptions()))
    assert [(result.task, result.error) for result in results] == [(task.name, "") for task in tasks]
    return {(r.task, score.metric): score.value for r in results for score in r.scores if not score.subset}


# ---------------------------------------------------------------------------------------------------------------------
# The suite


def test_a_model_that_knows_everything_reaches_every_aim(root, tmp_path):
    scores = run(root, tmp_path, lambda sample: str(sample.reference))
    assert {task for task, _ in scores} == set(all_suites()["nano"].tasks) - set(all_suites()["nano-people"].tasks)
    wrong = {"nano-wer", "nano-cer", "wer", "mer", "cer", "evalkit-wer", "substitutions", "deletions", "insertions"}
    chance = scores.pop(("nano-tts", "sphinx-chance"))
    assert scores.pop(("nano-tts", "sphinx-gain")) == pytest.approx(100 - chance)
    assert chance < 60
    assert scores == {key: 0 if key[1] in wrong else 100 for key in scores}


def test_a_model_that_knows_nothing_reaches_none(root, tmp_path):
    scores = run(root, tmp_path, lambda sample: "xylophone")
    for task in GENERATED:
        name = task.scorer.metrics[0].name
        if name != "followed":
            assert scores[task.name, name] == (100 if name in ("nano-wer", "nano-cer") else 0), task.name
    assert scores["nano-tts", "words-heard"] == 0
    assert scores["nano-captions", "none-invented"] == 100  # what is no sound of the set is none invented


def test_every_task_asks_what_its_examples_ask(root):
    folder = root / "nano"
    asked = {task.name: list(task.dataset.load(folder)) for task in GENERATED}
    assert {len(sample.audio) for sample in asked["nano-dialogues"]} == {3}
    assert {len(sample.audio) for sample in asked["nano-cross"]} == {1, 2}  # the request is written or spoken
    assert all(not sample.audio and sample.text.endswith(str(sample.reference)) for sample in asked["nano-tts"])
    assert all(sample.audio and sample.text for sample in asked["nano-events"])
    assert {sample.subset for sample in asked["nano-asr"]} == {"seen", "unseen", "noise"}
    assert [len(asked[name]) for name in ("nano-asr", "nano-questions", "nano-tts")] == [24, 16, 10]
    for sample in asked["nano-questions"]:
        assert find_item(sample.meta["key"]).answer == sample.reference
    for sample in asked["nano-tts"]:
        assert sample.meta["other"] != sample.reference


def test_noise_is_ten_decibels_below_and_the_same_again(root, tmp_path):
    folder = root / "nano"
    clean, noisy = (
        [load_audio(s.audio[0], INPUT_RATE_HZ) for s in nano_data.read(folder, {name: ""})]
        for name in ("asr-seen", "asr-noise")
    )
    for one, other in zip(clean, noisy, strict=True):
        noise = other - one
        assert 10 * (one.square().mean() / noise.square().mean()).log10() == pytest.approx(10, abs=0.1)
    assert len({noise.numpy().tobytes() for noise in noisy}) == len(noisy)
    nano_data.make(tmp_path, SIZES, tones)
    for path in (folder / "asr-noise").iterdir():
        assert (tmp_path / "asr-noise" / path.name).read_bytes() == path.read_bytes()


def test_data_is_generated_when_it_is_needed_and_once(root, tmp_path):
    def never(requests):
        raise AssertionError("nothing is left to say")

    nano_data.make(root / "nano", SIZES, never)
    dataset = nano_data.own_dataset(nano_data.by_voices("qa"), generate=generate)
    assert len(list(dataset.load(tmp_path / "nano"))) == 16
    assert len(list(nano_data.read(tmp_path / "nano", nano_data.by_voices("qa"), 1))) == 2


def test_missing_speech_engines_are_told(tmp_path):
    def generate(folder: Path) -> None:
        raise ValueError("the speech engine flite is not installed; run `make speech-tools`")

    with pytest.raises(ValueError, match="make speech-tools"):
        list(nano_data.own_dataset({"tts": ""}, generate=generate).load(tmp_path))


def test_evaluation_sizes_are_those_of_the_model_card():
    assert nano_data.Sizes() == nano_data.Sizes(heard=200, spoken=100)


# ---------------------------------------------------------------------------------------------------------------------
# Scorers


def test_words_found():
    assert words_found("one two three four", "One, too, three") == (2, 4)
    assert words_found("one two", "three four five six") == (0, 2)


def test_missing_speech_is_the_worst(root):
    silent = Prediction("")
    sample = next(iter(nano_data.read(root / "nano", {"tts": ""})))
    sample = replace(sample, meta={**sample.meta, "other": "something else"})
    words, scorer = len(normalise(str(sample.reference)).split()), ReadAloud()
    values = scorer.score(sample, silent).values
    assert (0, words) in values.values()
    assert all(values[name] == value for name, value in scorer.worst(sample).items())
    sample = next(iter(nano_data.read(root / "nano", {"qa-seen": ""})))
    assert SpokenAnswers().score(sample, Prediction("one two")).values == {"right": (0, 1), "words-heard": (0, 2)}


def test_captions_count_what_is_named_and_invented():
    meta = {"task": "caption", "kind": "caption", "key": "x", "essential": ["dog", "bell"]}
    values = Captions().score(EvalSample("a", meta=meta), Prediction("A dog barks, then rain falls.")).values
    assert values == {"named": (1, 2), "none-invented": (0, 1), "all-in-order": (0, 1)}


def test_styled_replies_need_the_ordinary_one(root):
    samples = list(read_with_ordinary(root / "nano"))
    kinds = {sample.id: sample.meta["kind"] for sample in samples}
    assert all([kinds[name] for name in s.needs] == ([] if kinds[s.id] == "neutral" else ["neutral"]) for s in samples)
    pupil = Pupil({sample.id: str(sample.reference) for sample in samples})
    replies = [(sample, pupil.reply(sample, Options(output="both"))) for sample in samples]
    faster = next(pair for pair in replies if pair[0].meta["kind"] == "faster")
    scorer = StyledReplies().among(replies)
    assert scorer.score(*faster).values == {"right": (1, 1), "followed": (1, 1), "faster": (1, 1)}
    slower = next(reply for sample, reply in replies if sample.meta["kind"] == "slower")
    assert scorer.score(faster[0], slower).values["followed"] == (0, 1)
    assert scorer.score(faster[0], Prediction("")).values["followed"] == (0, 1)
    (alone,) = score_all(StyledReplies().among([faster]), [faster])
    assert "no ordinary reply" in alone.error
    chosen = Selection(limit=1).choose(samples)
    assert {name for sample in chosen for name in sample.needs} <= {sample.id for sample in chosen}


class Listener:
    """Stands for KimiAudio: notes the conversations, and numbers its replies."""

    def __init__(self) -> None:
        self.chats: list[list[Message]] = []

    def default_options(self, output_type) -> GenerationOptions:
        return GenerationOptions(output_type=output_type)

    def answer(self, messages, options, seed) -> Answer:
        self.chats.append(list(messages))
        number = len(self.chats)
        return Answer(f"reply {number}", None, "stop", (number,))


def test_own_replies_are_the_history_of_a_conversation():
    listener = Listener()
    sample = EvalSample("a", tuple(QUESTIONS[:3]))
    (reply,) = InProcess("x", "1", listener).generate([sample], Options("both", decoding={EACH_TURN: True}))
    assert reply.text == "reply 3"
    assert [len(chat) for chat in listener.chats] == [1, 3, 5]
    last = listener.chats[-1]
    assert [message.role for message in last] == ["user", "assistant"] * 2 + ["user"]
    assert [message.content for message in last[::2]] == QUESTIONS[:3]
    assert [(m.content[1], m.content[0].codes.tolist()) for m in last[1::2]] == [("reply 1", [1]), ("reply 2", [2])]
    with pytest.raises(ValueError, match="needs recordings"):
        InProcess("x", "1", listener).generate([EvalSample("b")], Options("both", decoding={EACH_TURN: True}))


# ---------------------------------------------------------------------------------------------------------------------
# The model


@pytest.fixture(scope="module")
def model() -> InProcess:
    return load("nano", "cpu")


def ask(*numbers: int, text: str = "") -> list[EvalSample]:
    return [EvalSample(str(number), (QUESTIONS[number],), text) for number in numbers]


def test_answers_are_those_of_the_assistant(model):
    samples = ask(0, 1)
    texts = [model.model.answer([Message("user", "audio", QUESTIONS[number])]).text for number in (0, 1)]
    answers = model.generate(samples, Options())
    assert [answer.text for answer in answers] == texts
    assert all(answer.total_s and answer.finish_reason == "stop" and answer.speech is None for answer in answers)


def test_answers_do_not_depend_on_their_batch(model):
    options = Options(decoding={"text_temperature": 1.0, "text_top_k": 50})
    together = [answer.text for answer in model.generate(ask(0, 1), options)]
    alone = [model.generate([sample], options)[0].text for sample in ask(0, 1)]
    assert together == alone


def test_a_sample_alone_is_timed_and_spoken(model):
    (answer,) = model.generate(ask(0), Options(output="both", decoding={"max_new_tokens": 20}))
    assert answer.speech is not None
    assert 0 < answer.first_text_s <= answer.total_s
    assert 0 < answer.first_sound_s <= answer.total_s


def test_recordings_are_cut_at_pauses(model):
    options = Options(decoding={"cut_at_pauses": True, "beams": 4})
    (answer, _) = model.generate(ask(0, 1, text=Settings.transcribe_prompt), options)
    assert answer.text == model.model.transcribe(QUESTIONS[0], beams=4)
    with pytest.raises(ValueError, match="answers in text alone"):
        model.generate(ask(0), Options(output="both", decoding={"cut_at_pauses": True}))


def test_nothing_is_written_for_pieces_without_speech(model):
    silence = EvalSample("silence", (Samples(np.zeros(2 * INPUT_RATE_HZ, np.float32), INPUT_RATE_HZ),), "Transcribe.")
    (answer,) = model.generate([silence], Options(decoding={"cut_at_pauses": True}))
    assert answer.text == model.model.transcribe(silence.audio[0]) == ""


def test_unknown_decoding_options_are_refused(model):
    with pytest.raises(ValueError, match="no decoding option 'temperature'; it has text_temperature"):
        model.generate(ask(0), Options(decoding={"temperature": 0}))


def test_revision_names_weights_and_configs(tmp_path, model):
    for name, content in (("config.json", "{}"), ("model.safetensors", "1"), ("README.md", "a")):
        (tmp_path / name).write_text(content)
    first = hash_of([tmp_path])
    (tmp_path / "README.md").write_text("b")
    assert hash_of([tmp_path]) == first
    (tmp_path / "model.safetensors").write_text("2")
    assert hash_of([tmp_path]) != first
    assert model.revision.endswith(f"-{model.model.quantize or 'float32'}")
