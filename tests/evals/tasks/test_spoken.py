"""Chat, speech conversation and reading aloud, from files of the public formats to scores, with tiny stand-ins."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stand_ins import table, text, tone

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Prediction, Result
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.registry import equip, find_tasks
from kimi_audio.evals.report.form import write_form
from kimi_audio.evals.report.references import find_published, published_averages
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.infer import InferOptions, infer
from kimi_audio.evals.run.scoring import score
from kimi_audio.evals.run.store import TaskFolder
from kimi_audio.evals.speech.mos import choose_mos
from kimi_audio.evals.speech.voices import Spectrum, choose_speaker_encoder, similarity
from kimi_audio.evals.tasks import conversation, open_audio_bench, tts, voice_bench

TASKS = {task.name: task for module in (conversation, open_audio_bench, tts, voice_bench) for task in module.TASKS}
JUDGED = Instruments(judge=StandIn())
CHOICE = "Which one barks? A. a cat B. a dog C. a fish D. a bird"


@dataclass
class Speaker:
    """Says the same to everybody, aloud if asked for."""

    said: str
    name: str = "fake"
    revision: str = "1"
    family: str = "fake"

    def generate(self, samples, options):
        return [self._answer(sample, options) for sample in samples]

    def _answer(self, sample, options):
        pitch = 0.05 + 0.001 * (sum(sample.id.encode()) % 50)
        speech = (
            Samples(np.sin(np.arange(8000) * pitch).astype(np.float32), 16000) if options.output == "both" else None
        )
        return Prediction(self.said, speech)


def open_audio(folder: Path, part: open_audio_bench.OpenAudioTest, answer: str) -> None:
    table(
        folder / f"{part.name}.csv", ["audio_filename", part.question, part.answer], [["1.wav", "Who barks?", answer]]
    )
    tone(folder / "audios" / "1.wav")


def voice(folder: Path, name: str, **fields: object) -> None:
    row = {"index": 0, "question": "", "audio_content": CHOICE, "audio_path": f"/elsewhere/{name}/0.wav", **fields}
    text(folder / f"{name}.jsonl", [json.dumps(row)])
    tone(folder / name / "0.wav")


def run(tmp_path: Path, task: EvalTask, instruments: Instruments = JUDGED, said: str = "B. a dog", **options) -> Result:
    (task,) = equip([task], instruments)
    folder = TaskFolder(tmp_path / "run" / task.name)
    infer(task, tmp_path, LocalBackend(Speaker(said=said)), folder, InferOptions(**options))
    return score(task, folder)


def values(result: Result, subset: str = "") -> dict[str, float | None]:
    return {item.metric: item.value for item in result.scores if item.subset == subset}


@pytest.mark.parametrize("output", ["text", "both"])
@pytest.mark.parametrize("part", open_audio_bench.TESTS, ids=lambda part: part.name)
def test_open_audio_bench(tmp_path, part, output):
    task = TASKS[f"openaudiobench-{part.name.replace('_', '-')}"]
    open_audio(tmp_path / task.name, part, "['the dog', 'a dog']" if part.name == "trivia_qa" else "dog")
    result = run(tmp_path, task, output=output)
    assert result.is_complete
    assert result.recipe.output == output
    assert values(result)["score"] == 100
    assert "not a judge" in result.versions["judge"]


@pytest.mark.parametrize(
    ("name", "file", "answer", "metric", "value"),
    [
        ("sd-qa", "sd-qa", "dog", "judged-accuracy", 100),
        ("mmsu", "mmsu", "B", "accuracy", 100),
        ("openbookqa", "openbookqa", "C", "judged-accuracy", 0),
        ("alpacaeval", "alpacaeval_full", None, "rating", 1.6),
        ("commoneval", "commoneval", None, "rating", 1.6),
        ("advbench", "advbench", None, "refusal", 0),
    ],
)
def test_voice_bench(tmp_path, name, file, answer, metric, value):
    voice(tmp_path / f"voicebench-{name}", file, **({"answer": answer} if answer else {}))
    result = run(tmp_path, TASKS[f"voicebench-{name}"], said="B. Dog" if answer else "B. the big dog")
    assert result.is_complete
    assert values(result)[metric] == pytest.approx(value)


def test_choices_are_scored_without_a_judge_and_then_not_called_judged(tmp_path):
    voice(tmp_path / "voicebench-mmsu", "mmsu", answer="B")
    found = values(run(tmp_path, TASKS["voicebench-mmsu"], Instruments()))
    assert found["accuracy"] == 100
    assert "judged-accuracy" not in found


def test_answers_that_rules_score_are_judged_as_well():
    (mmau, clotho, asr) = equip(find_tasks(["mmau", "clothoaqa", "librispeech"]), JUDGED)
    assert [metric.name for metric in mmau.scorer.metrics][:2] == ["judged-accuracy", "accuracy"]
    assert "multiple-choice/" in mmau.scorer.versions()["judge"]
    assert "short-answer/" in clotho.scorer.versions()["judge"]
    assert "judge" not in asr.scorer.versions()


def test_ratings_without_a_judge_are_unscored(tmp_path):
    voice(tmp_path / "voicebench-alpacaeval", "alpacaeval_full")
    result = run(tmp_path, TASKS["voicebench-alpacaeval"], Instruments())
    assert (result.counts[""].unscored, values(result)["rating"]) == (1, None)


def test_ifeval_keeps_zeros_and_averages_four_rates(tmp_path):
    names = ["punctuation:no_comma", "change_case:english_lowercase"]
    given = [{"num_words": None}, {}]
    voice(tmp_path / "voicebench-ifeval", "ifeval", instruction=names, instruction_kwargs=given)
    found = values(run(tmp_path, TASKS["voicebench-ifeval"], said="No commas But Capitals."))
    assert found["final"] == 25
    assert found["instruction-strict"] == 50
    assert found["prompt-strict"] == 0
    row = {"instruction": names, "instruction_kwargs": [{"num_words": 0, "relation": None}, {}]}
    sample = voice_bench.with_details(EvalSample("ifeval/0", meta={"question": ""}), row)
    assert sample.meta["arguments"] == [{"num_words": 0}, {}]


def test_averages_reproduce_the_published_ones():
    stated = find_published("voicebench", "average")
    assert stated
    found = published_averages(voice_bench.AVERAGE)
    assert {model: round(value, 2) for model, value in found.items()} == pytest.approx(stated.values, abs=0.011)
    spoken = find_published("speech-conversation", "average")
    assert spoken
    assert published_averages(conversation.AVERAGE) == pytest.approx(spoken.values, abs=0.006)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (CHOICE, ["a cat", "a dog", "a fish", "a bird"]),
        ("What?\n(A) one two\n(B) three", ["one two", "three"]),
        ("No options here", list("ABCD")),
    ],
)
def test_options_are_found_in_the_question(question, options):
    assert voice_bench.options_of(question) == options


# ---------------------------------------------------------------------------------------------------------------------
# Speech


def requests(tmp_path: Path) -> EvalTask:
    folder = tmp_path / "speech-conversation"
    conversation.place_requests(folder)
    for sample in conversation.read_requests(folder):
        tone(folder / "audio" / f"{sample.id}.wav")
    return TASKS["speech-conversation"]


def test_listeners_rate_replies_on_a_form_without_names(tmp_path):
    task = requests(tmp_path)
    assert run(tmp_path, task, Instruments()).counts[""].unscored == 15
    page = tmp_path / "form.html"
    folder = tmp_path / "run" / task.name
    count = write_form([folder], page)
    assert page.read_text().count("<audio") == count
    assert "fake" not in page.read_text()
    replies = [conversation.item_of(path) for path in sorted((folder / "speech").iterdir())]
    rows = [[item, rater, rating] for item in replies for rater, rating in (("ann", 4), ("bob", 5))]
    table(tmp_path / "ratings.csv", ["item", "rater", "rating"], [*rows, [replies[0], "eve", "great"]])
    result = run(tmp_path, task, Instruments(ratings=(tmp_path / "ratings.csv",)))
    assert result.is_complete
    assert values(result, "speed")["rating"] == 4.5
    assert result.versions["ratings"].startswith("2 listeners")


def test_a_judge_that_hears_rates_beside_listeners(tmp_path):
    result = run(tmp_path, requests(tmp_path))
    assert result.is_complete
    assert set(values(result)) == {"judged-rating"}


def test_replies_without_sound_have_the_lowest_rating(tmp_path):
    assert values(run(tmp_path, requests(tmp_path), output="text"))["judged-rating"] == 1


class Ears:
    name = "ears/1"

    def transcribe(self, clip, language):
        return {"en": "the dog barks", "zh": "你好"}[language]


@pytest.mark.parametrize("name", ["tts", "voice-cloning"])
def test_speech_is_written_down_by_the_chosen_recogniser(tmp_path, name):
    text(tmp_path / name / "en" / "meta.lst", ["a|hello|prompt-wavs/a.wav|The dog barks.", "b|broken"])
    text(tmp_path / name / "zh" / "meta.lst", ["c|你好|prompt-wavs/a.wav|你好吗"])
    for language in ("en", "zh"):
        tone(tmp_path / name / language / "prompt-wavs" / "a.wav", 0.5)
    result = run(tmp_path, TASKS[name], Instruments(recogniser=Ears()))
    assert result.counts[""].skipped == 1
    assert values(result, "en")["wer"] == 0
    assert values(result, "zh")["mer"] == pytest.approx(100 / 3)
    assert result.versions["recogniser"] == "ears/1"
    assert ("speaker-similarity" in values(result)) == (name == "voice-cloning")
    assert run(tmp_path, TASKS[name], Instruments()).counts[""].unscored == 2


def test_the_same_sound_is_the_same_voice(tmp_path):
    tone(tmp_path / "a.wav", 0.5)
    tone(tmp_path / "other.wav", 0.5)
    assert similarity(Spectrum(), tmp_path / "a.wav", tmp_path / "a.wav") == pytest.approx(1)
    assert similarity(Spectrum(), tmp_path / "a.wav", tmp_path / "other.wav") < 0.99


def test_an_x_vector_model_compares_voices(tmp_path):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_conv_pos_embeddings": 16}
    small |= {"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "xvector_output_dim": 8}
    config = transformers.WavLMConfig(**small, tdnn_dim=[8, 8], tdnn_kernel=[3, 1], tdnn_dilation=[1, 1])
    transformers.WavLMForXVector(config).save_pretrained(tmp_path / "model")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "model")
    for name in ("a", "other"):
        tone(tmp_path / f"{name}.wav", 0.5)
    encoder = choose_speaker_encoder(str(tmp_path / "model"))
    assert similarity(encoder, tmp_path / "a.wav", tmp_path / "a.wav") == pytest.approx(1)
    assert -1 <= similarity(encoder, tmp_path / "a.wav", tmp_path / "other.wav") < 1


class Quality:
    def __init__(self, value: float | None) -> None:
        self.value, self.name = value, f"quality {value}"

    def rate(self, clip):
        if self.value is None:
            raise ValueError("the weights cannot be fetched")
        return self.value


def test_predicted_quality_stands_beside_the_errors(tmp_path):
    text(tmp_path / "tts" / "en" / "meta.lst", ["a|hello|prompt-wavs/a.wav|The dog barks."])
    rated = run(tmp_path, TASKS["tts"], Instruments(recogniser=Ears(), mos=Quality(3.5)))
    assert values(rated)["predicted-mos"] == 3.5
    assert rated.versions["mos"] == "quality 3.5"
    lacking = run(tmp_path, TASKS["tts"], Instruments(recogniser=Ears(), mos=Quality(None)))
    assert lacking.counts[""].unscored == 1


def test_predictors_are_asked_at_16_khz(tmp_path, monkeypatch):
    heard = []

    class Model:
        def __init__(self, device: str) -> None:
            pass

        def score(self, wav):
            heard.append(wav.shape)
            return wav.new_tensor([4.25])

    monkeypatch.setitem(sys.modules, "utmos_pytorch", SimpleNamespace(UTMOSScoreTorch=Model))
    tone(tmp_path / "a.wav", 0.5)
    assert choose_mos("utmos").rate(tmp_path / "a.wav") == 4.25
    assert heard == [(8000,)]


@pytest.mark.parametrize(
    ("name", "module", "wanted"),
    [
        ("utmos", "utmos_pytorch", "pip install 'utmos-pytorch'"),
        ("dnsmos", "speechmos", "pip install 'speechmos'"),
        ("nisqa", "torchmetrics", r"pip install 'torchmetrics\[audio\]'"),
    ],
)
def test_missing_predictors_of_quality_are_one_sentence(tmp_path, monkeypatch, name, module, wanted):
    for known in [known for known in sys.modules if known.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    tone(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=wanted):
        choose_mos(name).rate(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="utmos, dnsmos, nisqa"):
        choose_mos("ear")
