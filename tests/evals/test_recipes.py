"""Recipes as data."""

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_fakes import tiny_task
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.contract.prompting import choose_recipe, fingerprint, read_recipe, render_prompt
from kimi_audio.evals.contract.types import EvalSample, Recipe

BASE = Recipe(prompt="{text}", decoding={"temperature": 0.5, "top_k": 3})


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "{text}."},
        {"system": "s"},
        {"output": "both"},
        {"decoding": {"temperature": 0.5}},
        {"max_audio_s": 30},
    ],
)
def test_fingerprint_changes_with_every_field(change):
    assert fingerprint(replace(BASE, **change)) != fingerprint(BASE)


def test_fingerprint_does_not_depend_on_the_order_of_the_decoding():
    assert fingerprint(replace(BASE, decoding={"top_k": 3, "temperature": 0.5})) == fingerprint(BASE)


@given(st.text())
def test_braces_in_a_question_stay_as_they_are(text):
    assert render_prompt(Recipe(prompt="<{{{text}}}>"), EvalSample("a", text=text)) == "<{" + text + "}>"


def test_prompt_takes_fields_of_the_sample():
    sample = EvalSample("a", text="Why?", meta={"language": "zh"})
    assert render_prompt(Recipe(prompt="<|{language}|> {text}"), sample) == "<|zh|> Why?"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        *((prompt, "the prompt wants {.*}, which sample a does not have") for prompt in ("{voice}", "{text.x}", "{}")),
        *((prompt, "the prompt wants {text} in a form of its own") for prompt in ("{text!r}", "{text:>9}")),
        ("{text", "expected '}'"),
    ],
)
def test_prompts_that_cannot_be_made(prompt, message):
    with pytest.raises(ValueError, match=message):
        render_prompt(Recipe(prompt=prompt), EvalSample("a", text="x"))


def test_recipes_by_family():
    task = replace(tiny_task(), recipes={"default": Recipe("d"), "fake": Recipe("f")})
    assert choose_recipe(task, "fake").prompt == "f"
    assert choose_recipe(task, "other", "both") == Recipe("d", output="both")
    with pytest.raises(ValueError, match="no recipe for other"):
        choose_recipe(replace(task, recipes={"fake": Recipe()}), "other")


def test_recipe_files(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text("prompt: 'Say: {text}'\noutput: both\ndecoding: {top_k: 4}\n")
    assert read_recipe(file) == Recipe("Say: {text}", output="both", decoding={"top_k": 4})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt: x\ntemperature: 1", "unknown field 'temperature'"),
        ("output: song", "output must be text or both"),
        ("just text", "is not a recipe"),
        ("a: [", "is not YAML"),
    ],
)
def test_bad_recipe_files(tmp_path, content, message):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_recipe(tmp_path / "recipe.yaml")
