"""nano's own suite on generated tones, and Kimi-Audio in process under the contract of evaluations."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kimi_audio.assistant import ASR_INSTRUCTION
from kimi_audio.chat import Message
from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.data.corpus import Recipe
from kimi_audio.data.qa import all_items, find_item
from kimi_audio.evals.engines import Here
from kimi_audio.evals.evaluate import evaluate
from kimi_audio.evals.models.kimi_audio import InProcess, hash_of, load
from kimi_audio.evals.registry import all_suites
from kimi_audio.evals.runner import InferOptions
from kimi_audio.evals.tasks import nano
from kimi_audio.evals.types import Options, Prediction, Sample
from kimi_audio.units import INPUT_RATE_HZ

QUESTIONS = sorted((NANO_FOLDER / "questions").glob("*.wav"))


# ---------------------------------------------------------------------------------------------------------------------
# The suite


def tones(requests: Sequence) -> list[tuple[np.ndarray, int]]:
    """Stand for the speech engines."""
    wave = 0.1 * np.sin(np.arange(INPUT_RATE_HZ // 5) * 0.1).astype(np.float32)
    return [(wave, INPUT_RATE_HZ) for _ in requests]


def generate(folder: Path) -> None:
    corpus = replace(nano.CORPUS, evaluation=3)
    nano.make(folder, corpus, speak=tones, pronounce=lambda text: "")


class Pupil:
    """Knows every answer, and speaks where it is asked to."""

    name, revision, family = "pupil", "1", "pupil"

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def generate(self, samples: Sequence[Sample], options: Options) -> list[Prediction]:
        speech = QUESTIONS[0] if options.output == "both" else None
        return [Prediction(self.answers[sample.id], speech) for sample in samples]


def test_suite_runs_from_generated_data(tmp_path):
    data = tmp_path / "nano"
    generate(data)
    answers = {row.id: str(row.reference) for row in (*nano.read_sentences(data), *nano.read_questions(data))}
    tasks = []
    for task in nano.TASKS:
        read = nano.read_sentences if task.name == "nano-asr" else nano.read_questions
        task = replace(task, dataset=nano.own_dataset(read, generate))
        tasks.append(replace(task, scorer=nano.HeardWords(lambda clip: "")) if task.name == "nano-speech" else task)
    results = evaluate(tasks, tmp_path, Here(Pupil(answers)), tmp_path / "run", InferOptions())
    scores = {result.task: result.scores[0].value for result in results}
    assert scores == {"nano-asr": 0, "nano-questions": 100, "nano-speech": 0}
    assert set(all_suites()["nano"].tasks) == {task.name for task in nano.TASKS}


def test_data_is_generated_when_it_is_needed(tmp_path):
    dataset = nano.own_dataset(nano.read_questions, generate)
    samples = list(dataset.load(tmp_path / "nano"))
    assert {sample.subset for sample in samples} == {"seen", "unseen"}
    assert len(samples) == 6
    assert all(find_item(sample.meta["key"]).answer == sample.reference for sample in samples)
    assert len(list(nano.read_questions(tmp_path / "nano", limit=1))) == 2


def test_missing_speech_engines_are_told(tmp_path):
    def generate(folder: Path) -> None:
        raise ValueError("the speech engine flite is not installed; run `make speech-tools`")

    with pytest.raises(ValueError, match="make speech-tools"):
        list(nano.own_dataset(nano.read_sentences, generate).load(tmp_path))


def test_words_heard_of_the_reply():
    key = next(item.key for item in all_items() if len(item.answer.split()) > 2)
    sample = Sample("a", reference=find_item(key).answer, meta={"key": key})
    reply = Prediction("one two three four", QUESTIONS[0])
    score = nano.HeardWords(lambda clip: "one too three").score_one(sample, reply)
    assert score.values == {"words-heard": (2, 4), "right": (0, 1)}
    silent = nano.HeardWords(lambda clip: "one").score_one(sample, Prediction("one two"))
    assert silent.values["words-heard"] == (0, 2)


def test_evaluation_sizes_are_those_of_the_model_card():
    assert Recipe(0, 0, 0, 0, evaluation=200, development=0) == nano.CORPUS


# ---------------------------------------------------------------------------------------------------------------------
# The model


@pytest.fixture(scope="module")
def model() -> InProcess:
    return load("nano", "cpu")


def ask(*numbers: int, text: str = "") -> list[Sample]:
    return [Sample(str(number), (QUESTIONS[number],), text) for number in numbers]


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
    (answer, _) = model.generate(ask(0, 1, text=ASR_INSTRUCTION), Options(decoding={"cut_at_pauses": True}))
    assert answer.text == model.model.transcribe(QUESTIONS[0])
    with pytest.raises(ValueError, match="answers in text alone"):
        model.generate(ask(0), Options(output="both", decoding={"cut_at_pauses": True}))


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
    assert model.revision.endswith("-float32")
