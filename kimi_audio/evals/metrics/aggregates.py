"""Averages over benchmarks as they are published. Every formula is stated; nothing is rounded.

Scores have the units of the published tables: AlpacaEval, CommonEval and WildVoice are judge ratings from 1 to 5,
everything else is per cent.
"""

from collections.abc import Mapping
from statistics import fmean

VOICEBENCH_RATED = ("alpacaeval", "commoneval", "wildvoice")
VOICEBENCH_7 = ("alpacaeval", "commoneval", "sd-qa", "mmsu", "openbookqa", "ifeval", "advbench")
VOICEBENCH_9 = (*VOICEBENCH_7, "wildvoice", "bbh")
CONVERSATION = ("speed", "accent", "emotion", "empathy", "style")
# What one point of OpenAudioBench's raw scores is worth: ratings to 10, shares, and ratings to 5.
OPENAUDIOBENCH_SCALE = {
    "alpaca_eval": 10.0,
    "llama_questions": 100.0,
    "reasoning_qa": 20.0,
    "trivia_qa": 100.0,
    "web_questions": 100.0,
}


def voicebench_average(scores: Mapping[str, float]) -> float:
    """Average 7 tests, ratings times 20: Table 6 of the Kimi-Audio report, and VoiceBench's board of early 2025."""
    return fmean(_rescaled(scores, VOICEBENCH_7))


def voicebench_overall(scores: Mapping[str, float]) -> float:
    """Average 9 tests, ratings times 20: VoiceBench's board today."""
    return fmean(_rescaled(scores, VOICEBENCH_9))


def voicebench_overall_2024(
    *,
    alpacaeval: float,
    commoneval: float,
    sdqa_panda: float,
    sdqa_gpt: float,
    openbookqa: float,
    ifeval_prompt: float,
    ifeval_instruction: float,
    advbench: float,
) -> float:
    """Average 6 tests as VoiceBench did in 2024: SD-QA and IFEval are means of two scores, no MMSU."""
    return fmean(
        (
            20 * alpacaeval,
            20 * commoneval,
            (sdqa_panda + sdqa_gpt) / 2,
            openbookqa,
            (ifeval_instruction + ifeval_prompt) / 2,
            advbench,
        )
    )


def openaudiobench_scaled(raw: Mapping[str, float]) -> dict[str, float]:
    """Return raw scores (mean ratings, or shares of right answers from 0 to 1) as the points of the published table."""
    unknown = sorted(set(raw) - set(OPENAUDIOBENCH_SCALE))
    if unknown:
        raise ValueError(f"OpenAudioBench has no test {unknown[0]}; it has {', '.join(OPENAUDIOBENCH_SCALE)}")
    return {name: OPENAUDIOBENCH_SCALE[name] * score for name, score in raw.items()}


def conversation_average(ratings: Mapping[str, float]) -> float:
    """Average the five human ratings of speech conversation: Table 7 of the Kimi-Audio report."""
    return fmean(_chosen(ratings, CONVERSATION))


def _rescaled(scores: Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    values = _chosen(scores, names)
    return [20 * value if name in VOICEBENCH_RATED else value for name, value in zip(names, values, strict=True)]


def _chosen(scores: Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    missing = [name for name in names if name not in scores]
    if missing:
        raise ValueError(f"this average needs {', '.join(missing)}, too: an average of other tests is not comparable")
    return [scores[name] for name in names]
