"""Published averages, reproduced from their published columns."""

import pytest

from kimi_audio.evals.metrics.aggregates import (
    CONVERSATION,
    VOICEBENCH_7,
    conversation_average,
    openaudiobench_scaled,
    voicebench_average,
    voicebench_overall,
    voicebench_overall_2024,
)

# AlpacaEval, CommonEval, SD-QA, MMSU, OpenBookQA, IFEval, AdvBench, published average.
REPORT_TABLE_6 = {
    "Qwen2-Audio-chat": (3.69, 3.40, 35.35, 35.43, 49.01, 22.57, 98.85, 54.72),
    "Baichuan-chat": (4.00, 3.39, 49.64, 48.80, 63.30, 41.32, 86.73, 62.51),
    "GLM-4-Voice": (4.06, 3.48, 43.31, 40.11, 52.97, 24.91, 88.08, 57.17),
    "Step-Audio-chat": (3.99, 2.99, 46.84, 28.72, 31.87, 29.19, 65.77, 48.86),
    "Qwen2.5-Omni": (4.33, 3.84, 57.41, 56.38, 79.12, 53.88, 99.62, 72.83),
    "Kimi-Audio": (4.46, 3.97, 63.12, 62.17, 83.52, 61.10, 100.00, 76.93),
}
VOICEBENCH_BOARD = {  # the board of early 2025
    "Whisper-v3-large+GPT-4o": (4.80, 4.47, 75.77, 81.69, 92.97, 76.51, 98.27, 87.23),
    "GPT-4o-Audio": (4.78, 4.49, 75.50, 80.25, 89.23, 76.02, 98.65, 86.42),
    "GPT-4o-mini-Audio": (4.75, 4.24, 67.36, 72.90, 84.84, 72.90, 98.27, 82.30),
    "Qwen2.5-Omni-7B": (4.49, 3.93, 55.71, 61.32, 81.10, 52.87, 99.42, 74.12),
    "Qwen2-Audio": (3.74, 3.43, 35.71, 35.72, 49.45, 26.33, 96.73, 55.35),
    "GLM-4-Voice": (3.97, 3.42, 36.98, 39.75, 53.41, 25.92, 88.08, 55.99),
    "Step-Audio": (4.13, 3.09, 44.21, 28.33, 33.85, 27.96, 69.62, 49.77),
    "Moshi": (2.01, 1.60, 15.64, 24.04, 25.93, 10.12, 44.23, 27.47),
}
REPORT_TABLE_7 = {  # speed, accent, emotion, empathy, style, published average
    "GPT-4o": (4.21, 3.65, 4.05, 3.87, 4.54, 4.06),
    "Step-Audio-chat": (3.25, 2.87, 3.33, 3.05, 4.14, 3.33),
    "GLM-4-Voice": (3.83, 3.51, 3.77, 3.07, 4.04, 3.65),
    "GPT-4o-mini": (3.15, 2.71, 4.24, 3.16, 4.01, 3.45),
    "Kimi-Audio": (4.30, 3.45, 4.27, 3.39, 4.09, 3.90),
}


@pytest.mark.parametrize(("model", "row"), REPORT_TABLE_6.items())
def test_the_averages_of_the_report(model, row):
    *columns, published = row
    assert round(voicebench_average(dict(zip(VOICEBENCH_7, columns, strict=True))), 2) == published


@pytest.mark.parametrize(("model", "row"), VOICEBENCH_BOARD.items())
def test_the_averages_of_the_board(model, row):
    *columns, published = row
    average = voicebench_average(dict(zip(VOICEBENCH_7, columns, strict=True)))
    # The ratings behind the board have more digits: each may move the average by 20 * 0.005 / 7.
    assert average == pytest.approx(published, abs=0.005 + 2 * 20 * 0.005 / 7 + 5 * 0.005 / 7)


def test_the_overall_of_nine():
    scores = dict(zip(VOICEBENCH_7, REPORT_TABLE_6["Kimi-Audio"], strict=False))
    assert round(voicebench_overall(scores | {"wildvoice": 4.20, "bbh": 69.70}), 2) == 76.91


def test_the_formula_of_2024():
    overall = voicebench_overall_2024(
        alpacaeval=4.0,
        commoneval=3.0,
        sdqa_panda=30,
        sdqa_gpt=50,
        openbookqa=60,
        ifeval_prompt=10,
        ifeval_instruction=30,
        advbench=90,
    )
    assert overall == pytest.approx((80 + 60 + 40 + 60 + 20 + 90) / 6)


@pytest.mark.parametrize(("model", "row"), REPORT_TABLE_7.items())
def test_the_human_ratings(model, row):
    *columns, published = row
    average = conversation_average(dict(zip(CONVERSATION, columns, strict=True)))
    # GLM-4-Voice is published as 3.65, and its rounded columns give 3.644: within what rounding explains.
    assert average == pytest.approx(published, abs=0.01)


def test_openaudiobench_points():
    raw = {"alpaca_eval": 7.573, "llama_questions": 0.7933, "reasoning_qa": 2.901, "trivia_qa": 0.621}
    expected = {"alpaca_eval": 75.73, "llama_questions": 79.33, "reasoning_qa": 58.02, "trivia_qa": 62.10}
    assert openaudiobench_scaled(raw) == pytest.approx(expected)
    with pytest.raises(ValueError, match="has no test mmlu"):
        openaudiobench_scaled({"mmlu": 1.0})


def test_an_average_of_too_few_tests_is_refused():
    with pytest.raises(ValueError, match="needs sd-qa, mmsu, openbookqa, ifeval, advbench, too"):
        voicebench_average({"alpacaeval": 4.0, "commoneval": 4.0})
