"""Files of predictions as people have them: nothing is lost or taken for something else without a word."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kimi_audio.evals.contract.types import Recipe, Result
from kimi_audio.evals.run.evaluate import evaluate, run_folder, score_predictions
from kimi_audio.evals.run.infer import InferOptions
from kimi_audio.evals.run.predictions import parse_map, read_predictions
from kimi_audio.evals.run.recorded import Recorded, tasks_of

OWN = '{"id": "a", "text": "big dog", "reference": "big fog", "language": "en"}\n'
MADE_ELSEWHERE = {
    "ours.jsonl": OWN,
    "evalkit.jsonl": '{"index": 0, "prediction": "big dog", "answer": "big fog", "question": "Please transcribe it.", '
    '"task": "asr", "audio_path": "/x/a.wav"}\n',
    "nemo.json": '{"audio_filepath": "a.wav", "duration": 1.0, "text": "big fog", "pred_text": "big dog"}\n',
    "swift.jsonl": '{"response": "big dog", "labels": "big fog", "messages": [{"role": "user", "content": "x"}]}\n',
    "lmms-eval.jsonl": '{"doc_id": 0, "target": "big fog", "resps": [["big dog"]], "filtered_resps": ["big dog"]}\n',
    "hf.json": '[{"id": "a", "prediction": "big dog", "references": ["big fog", "three"]}]',
    "table.csv": 'id,prediction,reference\na,"big dog",big fog\n',
    "table.tsv": "id\ttext\treference\na\tbig dog\tbig fog\n",
}


def scored(path: Path, metric: str | None = None, language: str = "", **how) -> Result:
    file = read_predictions(path, **how)
    (task,) = tasks_of(file, metric=metric, language=language)
    engine = Recorded(file, path.stem, task.name)
    folder = run_folder(path.parent / "runs", engine, InferOptions())
    (result,) = evaluate([task], path.parent, engine, folder, InferOptions(recipe=Recipe()))
    return result


def value(result: Result, metric: str) -> float | None:
    return next(score.value for score in result.scores if score.metric == metric)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", MADE_ELSEWHERE)
def test_forms_of_other_tools(tmp_path, name):
    result = scored(write(tmp_path / name, MADE_ELSEWHERE[name]))
    assert result.task == "own-references"
    assert (value(result, "wer"), result.counts[""].scored) == (50, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "id,text,reference\na,big, dog,big fog\nb,cat,cat"),
        ("p.csv", "id,text,reference\na,big dog\nb,cat,cat\n"),
        ("p.tsv", "id\ttext\treference\na\tbig\tdog\tbig fog\r\nb\tcat\tcat"),
    ],
)
def test_a_row_of_other_cells_than_the_head_is_counted_and_not_guessed_at(tmp_path, name, content):
    result = scored(write(tmp_path / name, content), language="en")
    assert (result.counts[""].scored, result.counts[""].skipped, value(result, "wer")) == (1, 1, 0)


def test_a_quote_without_its_end_does_not_swallow_rows(tmp_path):
    tabbed = write(tmp_path / "p.tsv", 'id\ttext\treference\na\t"big dog\tbig dog\nb\tcat\tcat\n')
    result = scored(tabbed, language="en")
    assert (result.counts[""].scored, value(result, "wer")) == (2, 0)
    for content in ('id,text,reference\na,"big dog,big dog\nb,cat,cat\n', f'id,text\na,"{"x" * 200_000}"\n'):
        with pytest.raises(ValueError, match="is no table that can be read"):
            read_predictions(write(tmp_path / "p.csv", content))


@pytest.mark.parametrize("references", ["b cat\na big fog\n", "big fog (a)\ncat (b)\n;; a comment\n"])
@pytest.mark.parametrize("predictions", ["a big dog\nb cat", "big dog (a)\ncat (b)\n"])
def test_kaldi_and_sclite(tmp_path, predictions, references):
    path = write(tmp_path / "hyp", predictions)
    result = scored(path, references=write(tmp_path / "ref", references))
    assert value(result, "wer") == pytest.approx(100 / 3)
    with pytest.raises(ValueError, match="--references"):
        tasks_of(read_predictions(path))


@pytest.mark.parametrize("form", ["{id} {text}\n", "{text} ({id})\n"], ids=["kaldi", "sclite"])
def test_references_without_a_prediction_have_failed(tmp_path, form):
    texts = {"u1": "big fog", "u2": "good morning", "u3": "see you"}
    references = write(tmp_path / "ref", "".join(form.format(id=id_, text=text) for id_, text in texts.items()))
    result = scored(write(tmp_path / "hyp", form.format(id="u1", text="big fog")), references=references)
    assert (result.counts[""].scored, result.counts[""].failed) == (1, 2)
    assert value(result, "wer") == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize("form", ["{id} {text}\n", "{text} ({id})\n"], ids=["kaldi", "sclite"])
def test_an_id_used_twice_is_told(tmp_path, form):
    twice = "".join(form.format(id="u1", text=text) for text in ("big dog", "big fog"))
    once = write(tmp_path / "once", form.format(id="u1", text="big fog"))
    result = scored(write(tmp_path / "hyp", twice), references=once)
    assert (result.counts[""].scored, result.counts[""].failed) == (0, 1)
    with pytest.raises(ValueError, match="several references for 'u1'"):
        read_predictions(once, references=tmp_path / "hyp")


def test_a_prediction_that_is_null_has_failed_and_is_not_its_reference(tmp_path):
    rows = [{"audio_filepath": "a.wav", "text": "big fog", "pred_text": None}]
    rows.append({"audio_filepath": "b.wav", "text": "cat", "pred_text": "cat"})
    result = scored(write(tmp_path / "nemo.jsonl", "\n".join(map(json.dumps, rows))))
    assert (result.counts[""].scored, result.counts[""].failed) == (1, 1)
    assert value(result, "wer") == pytest.approx(100 * 2 / 3)


def test_fields_can_be_named_and_are_not_guessed(tmp_path):
    path = write(tmp_path / "p.jsonl", '{"said": "big dog", "wanted": "big fog", "text": "x"}\n')
    assert value(scored(path, names=parse_map("text=said,reference=wanted")), "wer") == 50
    path = write(tmp_path / "q.jsonl", '{"pred_text": "a", "response": "b", "reference": "c"}\n')
    (row,) = read_predictions(path).rows
    assert "--map text=pred_text" in row.fault
    with pytest.raises(ValueError, match="not 'sound'"):
        parse_map("sound=x")


ROWS = [{"id": str(number), "text": "big dog", "reference": "big fog", "language": "en"} for number in range(3)]
LINES = [json.dumps(row) for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_last_line_counts_in_every_encoding(tmp_path, encoding):
    assert scored(write(tmp_path / "p.jsonl", "\n".join(LINES).encode(encoding))).counts[""].scored == 3


@pytest.mark.parametrize(
    "bad",
    [
        '{"id": "b", "text": "你好", "reference": "你好"}'.encode("gbk"),
        b"[" * 100_000,
        b'{"id": "b", "text": ',
        b'{"id": "b", "text": "x", "reference": "y", "language": "Klingon"}',
        b'{"id": "b", "text": ["x", "y"], "reference": "y"}',
        b'{"id": "b", "text": "x"}',
    ],
    ids=["gbk", "deep", "torn", "language", "list", "reference"],
)
def test_a_bad_line_is_counted_and_costs_no_other(tmp_path, bad):
    result = scored(write(tmp_path / "p.jsonl", b"\n".join([*map(str.encode, LINES), bad])))
    assert (result.counts[""].scored, result.counts[""].skipped) == (3, 1)
    assert not result.is_complete


def test_strange_values_of_a_row_do_not_end_the_task(tmp_path):
    strange = [
        '{"id": "x", "text": "big dog", "reference": "big fog", "total_s": NaN}',
        '{"id": "y", "text": "half \\ud800", "reference": "half"}',
        '{"id": "z", "text": 12, "reference": "12", "total_s": "soon"}',
    ]
    result = scored(write(tmp_path / "p.jsonl", "\n".join([*LINES, *strange])))
    assert result.counts[""].scored == 6


def test_the_language_is_stated_or_told_by_the_letters(tmp_path):
    chinese = '{"prediction": "今天天气不错", "answer": "今天天气很错"}\n'
    assert value(scored(write(tmp_path / "zh.jsonl", chinese)), "mer") == pytest.approx(100 / 6)
    named = OWN.replace('"en"', '"English"')
    assert value(scored(write(tmp_path / "en.jsonl", named)), "wer") == 50
    hindi = write(tmp_path / "hi.jsonl", '{"id": "a", "text": "जाता है", "reference": "जाती है"}\n')
    with pytest.raises(ValueError, match="give --language"):
        scored(hindi)
    assert value(scored(hindi, language="hi"), "wer") == 50
    with pytest.raises(ValueError, match="no language that is known"):
        scored(hindi, language="Klingon")


def test_a_language_that_is_only_guessed_is_told_once(tmp_path, caplog):
    rows = [{"id": str(n), "text": "er geht den See herum", "reference": "er geht um den See herum"} for n in range(3)]
    path = write(tmp_path / "german.jsonl", "\n".join(map(json.dumps, rows)))
    scored(path)
    (record,) = caplog.records
    assert "german.jsonl has lines without a language, which are taken for 'en'" in record.getMessage()
    caplog.clear()
    assert value(scored(path, language="de"), "wer") == pytest.approx(100 / 6)
    assert not caplog.records


def test_multiple_choice_is_no_transcript(tmp_path):
    choice = {"index": 0, "prediction": "B", "answer": "a dog", "choices": ["a car", "a dog"], "task": "sound"}
    written = {"index": 1, "prediction": "(A)", "answer": "a car", "question": "What is it?\n(A) a car (B) a dog"}
    path = write(tmp_path / "mmau.jsonl", "\n".join(map(json.dumps, (choice, written))))
    result = scored(path)
    assert (result.task, value(result, "accuracy")) == ("own-choices", 100)
    either = {**choice, "answer": ["a dog", "a puppy"]}
    assert value(scored(write(tmp_path / "either.jsonl", json.dumps(either))), "accuracy") == 100
    open_question = {"id": "a", "text": "in Paris", "reference": "Paris", "question": "Where is it?"}
    path = write(tmp_path / "qa.jsonl", json.dumps(open_question))
    with pytest.raises(ValueError, match="--metric"):
        scored(path)
    assert value(scored(path, metric="answers"), "contained") == 100


def test_the_best_of_several_references_counts(tmp_path):
    row = {"id": "a", "text": "it is three o'clock", "reference": ["half past nine", "it is three o'clock"]}
    assert value(scored(write(tmp_path / "p.jsonl", json.dumps(row))), "wer") == 0


def test_an_english_file_has_a_word_error_rate_and_a_mandarin_one_the_mixed_one(tmp_path):
    assert [score.metric for score in scored(write(tmp_path / "en.jsonl", OWN)).scores][:2] == ["wer", "cer"]
    chinese = write(tmp_path / "zh.jsonl", '{"id": "a", "text": "你好", "reference": "你好"}\n')
    assert [score.metric for score in scored(chinese).scores][:2] == ["mer", "cer"]


@pytest.mark.parametrize(
    ("language", "said", "reference"),
    [
        ("th", "กินข้าวแลัว", "กินข้าวแล้ว"),
        ("lo", "ສະບາຍດຶ", "ສະບາຍດີ"),
        ("km", "សួស្តិ", "សួស្តី"),
        ("my", "မင်္ဂလာပ", "မင်္ဂလာပါ"),
        ("bo", "བཀྲ་ཤིས", "བཀྲ་ཤིག"),
        ("wuu", "今朝天气蛮好", "今朝天气蛮坏"),
        ("nan-tw", "今仔日真好", "今仔日真壞"),
        ("hak", "今日天氣好", "今日天氣壞"),
    ],
)
def test_a_language_without_spaces_is_counted_by_its_signs(tmp_path, language, said, reference):
    row = {"id": "a", "text": said, "reference": reference, "language": language}
    first, *_ = scored(write(tmp_path / "p.jsonl", json.dumps(row))).scores
    assert first.metric == "mer"
    assert first.value is not None
    assert 0 < first.value <= 100 / 4


def test_nothing_is_said_of_ids_that_no_task_needs(tmp_path, caplog):
    path = write(tmp_path / "swift.jsonl", MADE_ELSEWHERE["swift.jsonl"])
    file = read_predictions(path)
    tasks = tasks_of(file, language="en")
    _, results, _ = score_predictions(file, "m", tasks, tmp_path, tmp_path / "runs", None)
    assert results[0].counts[""].scored == 1
    assert not caplog.records


def test_two_files_of_one_name_have_two_folders(tmp_path):
    folders = []
    for place in ("x", "y", "x"):
        path = tmp_path / place / "predictions.jsonl"
        path.parent.mkdir(exist_ok=True)
        write(path, OWN.replace('"a"', f'"{place}"'))
        file = read_predictions(path)
        (task,) = tasks_of(file)
        engine = Recorded(file, path.stem, task.name)
        folders.append(run_folder(tmp_path / "runs", engine, InferOptions()))
        list(evaluate([task], tmp_path, engine, folders[-1], InferOptions(recipe=Recipe())))
    assert folders[0] != folders[1]
    assert folders[0] == folders[2]


def test_other_columns_of_the_same_file_are_other_predictions(tmp_path):
    path = write(tmp_path / "p.jsonl", '{"id": "a", "greedy": "big dog", "beam": "big fog", "ref": "big fog"}\n')
    values = [
        value(scored(path, language="en", names=parse_map(f"text={name},reference=ref")), "wer")
        for name in ("greedy", "beam", "greedy")
    ]
    assert values == [50, 0, 50]


def test_speech_that_was_made_again_is_another_prediction(tmp_path):
    row = {"id": "a", "text": "big fog", "reference": "big fog", "speech": "a.wav"}
    path = write(tmp_path / "p.jsonl", json.dumps(row))
    for frames in (800, 1600):
        soundfile.write(tmp_path / "a.wav", np.full(frames, 0.1), 16000)
        scored(path, language="en")
    lengths = {soundfile.info(file).frames for file in (tmp_path / "runs").rglob("*.wav")}
    assert lengths == {800, 1600}
