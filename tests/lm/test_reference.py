"""Parity with the official code: prompts, scores, greedy ids, fine-tuning ids and losses."""

import pytest
import torch
from safetensors.torch import load_file

from kimi_audio.core.sequence import collate
from kimi_audio.lm.generate import generate
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions
from kimi_audio.train.losses import lm_loss

pytestmark = pytest.mark.reference


def test_prompts(cases, template):
    assert cases
    for name, case in cases.items():
        prompt = template.prompt(case["messages"], case["output_type"])
        assert prompt.audio_ids.tolist() == case["audio_ids"], name
        assert prompt.text_ids.tolist() == case["text_ids"], name
        assert prompt.is_continuous.int().tolist() == case["is_continuous"], name


def test_scores(reference, cases, template, lm):
    expected = load_file(reference / "expected" / "llm.safetensors")
    for name, case in cases.items():
        batch = collate([template.prompt(case["messages"], case["output_type"])], lm.config.pad_id)
        with torch.inference_mode():
            output = lm(batch)
        for row, logits in (("text", output.text_logits), ("audio", output.audio_logits)):
            last, mean = expected[f"{name}.{row}_logits_last"], expected[f"{name}.{row}_logits_mean"]
            assert (logits[0, -1] - last).abs().max() < 1e-4 * last.std(), (name, row)
            assert (logits[0].mean(-1) - mean).abs().max() < 1e-4 * last.std(), (name, row)


def options_of(case: dict) -> GenerationOptions:
    given = case.get("sampling") or {}
    rows = {
        row: SamplingOptions(
            repetition_penalty=given.get(f"{row}_repetition_penalty", 1.0),
            repetition_window=given.get(f"{row}_repetition_window_size", window),
        )
        for row, window in (("text", 16), ("audio", 64))
    }
    return GenerationOptions(output_type=case["output_type"], max_new_tokens=case.get("steps") or 40, **rows)


def test_greedy_ids(cases, template, lm, text_tokenizer):
    compared = 0
    for name, case in cases.items():
        if case["greedy_text_tokens"] is None:
            continue
        prompt = template.prompt(case["messages"], case["output_type"])
        (reply,) = generate(lm, [prompt], text_tokenizer.special, options_of(case))
        assert reply.sampled_text_ids == case["greedy_text_tokens"], name
        assert reply.sampled_audio_ids == case["greedy_audio_tokens"], name
        compared += 1
    assert compared


def test_greedy_ids_of_unequal_prompts_in_one_batch(cases, template, lm, text_tokenizer):
    """A batch has one set of options: all prompts run with those of a case, and are compared if these are their own."""
    greedy = {name: case for name, case in cases.items() if case["greedy_text_tokens"] is not None}
    compared = []
    for options in dict.fromkeys(map(options_of, greedy.values())):
        prompts = [template.prompt(case["messages"], options.output_type) for case in greedy.values()]
        assert len({len(prompt) for prompt in prompts}) > 1
        replies = generate(lm, prompts, text_tokenizer.special, options)
        for reply, (name, case) in zip(replies, greedy.items(), strict=True):
            if options_of(case) == options:
                assert reply.sampled_text_ids == case["greedy_text_tokens"], name
                assert reply.sampled_audio_ids == case["greedy_audio_tokens"], name
                compared.append(name)
    assert sorted(compared) == sorted(greedy)


def test_fine_tuning_ids_and_masks(sft_cases, template):
    assert sft_cases
    for case in sft_cases:
        sample = template.training(case["messages"])
        assert sample.audio_ids.tolist() == case["audio_ids"], case["name"]
        assert sample.text_ids.tolist() == case["text_ids"], case["name"]
        assert sample.audio_loss.int().tolist() == case["audio_loss_mask"], case["name"]
        assert sample.text_loss.int().tolist() == case["text_loss_mask"], case["name"]


def test_fine_tuning_losses(sft_cases, template, lm):
    for case in sft_cases:
        batch = collate([template.training(case["messages"])], lm.config.pad_id)
        with torch.no_grad():
            loss = lm_loss(lm, batch)
        assert loss.text.mean.item() == pytest.approx(case["text_loss"], rel=1e-5), case["name"]
        assert loss.audio.mean.item() == pytest.approx(case["audio_loss"], rel=1e-5, abs=1e-9), case["name"]
        assert loss.mean.item() == pytest.approx(case["loss"], rel=1e-5), case["name"]
