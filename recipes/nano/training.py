"""How nano learns: ``kimi-audio train recipes/nano/training.py:begin --data heard.jsonl --data natural.jsonl …``.

``begin`` starts from random weights of the sizes of a base (``--set base=FOLDER``), ``further`` goes on from a model,
and ``talking`` from one that hears well and answers badly. ``hearing`` goes on with the text row alone, and
``speaking`` with the codes alone, of a model that is forked (``recipes.nano.fork``); ``acoustic`` trains the encoder in
front of the LLM, ``together`` both, and ``missed`` what it was found not to know. All are fine-tunings as any other.
"""

from dataclasses import replace

from kimi_audio.train.hiding import Hiding
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.sft import FinetuneConfig

# Of all positions, whatever the sizes of the files. Of what is heard, people and natural voices are met more often than
# their number would have it.
FIRST_SHARES = {
    "heard.jsonl": 0.36,
    "natural.jsonl": 0.24,
    "aloud.jsonl": 0.19,
    "natural-aloud.jsonl": 0.06,
    "talks.jsonl": 0.15,
}
SHARES = {
    "heard.jsonl": 0.24,
    "natural.jsonl": 0.18,
    "aloud.jsonl": 0.17,
    "natural-aloud.jsonl": 0.06,
    "talks.jsonl": 0.15,
    "tasks.jsonl": 0.2,
}
# A dictionary is learned by heart, so a fact has to be met many times; prose teaches what cannot be heard: *bought*
# fresh bread, not *boat*. With a quarter for what is heard, hearing got worse.
TALKING_SHARES = {
    "heard.jsonl": 0.22,
    "natural.jsonl": 0.17,
    "aloud.jsonl": 0.1,
    "natural-aloud.jsonl": 0.03,
    "talks.jsonl": 0.12,
    "tasks.jsonl": 0.06,
    "typed.jsonl": 0.02,
    "facts.jsonl": 0.15,
    "prose.jsonl": 0.13,
}

# Of what is read aloud, the text is written all the same; without it, the branch has nothing to read. Most of what is
# heard is heard from people and natural voices, whom it is to understand; sums have to be met several times each.
HEARING_SHARES = {
    "heard.jsonl": 0.05,
    "natural.jsonl": 0.26,
    "aloud.jsonl": 0.005,
    "natural-aloud.jsonl": 0.01,
    "talks.jsonl": 0.06,
    "natural-talks.jsonl": 0.18,
    "tasks.jsonl": 0.08,
    "typed.jsonl": 0.04,
    "facts.jsonl": 0.17,
    "numbers.jsonl": 0.04,
    "tables.jsonl": 0.09,
    "prose.jsonl": 0.015,
}
# What the LLM has met, it knows by heart, and that teaches an encoder little: most recordings are new to both.
ACOUSTIC_SHARES = {
    "heard.jsonl": 0.4,
    "natural.jsonl": 0.35,
    "talks.jsonl": 0.05,
    "natural-talks.jsonl": 0.09,
    "tasks.jsonl": 0.11,
}
# Nearly half is heard; two thirds of the conversations have transcripts in them, as a model that transcribes first
# reads them, so what is typed in other words helps with what is said in such.
TOGETHER_SHARES = {
    "heard.jsonl": 0.12,
    "natural.jsonl": 0.31,
    "aloud.jsonl": 0.005,
    "natural-aloud.jsonl": 0.005,
    "talks.jsonl": 0.02,
    "talks-transcribed.jsonl": 0.03,
    "natural-talks.jsonl": 0.06,
    "natural-talks-transcribed.jsonl": 0.11,
    "tasks.jsonl": 0.07,
    "typed.jsonl": 0.02,
    "facts.jsonl": 0.09,
    "reworded.jsonl": 0.115,
    "numbers.jsonl": 0.02,
    "tables.jsonl": 0.015,
    "prose.jsonl": 0.01,
}
# What a model was found not to know, above all, and enough of the rest that nothing of it is lost.
MISSED_SHARES = {
    "missed.jsonl": 0.18,
    "facts.jsonl": 0.24,
    "reworded.jsonl": 0.22,
    "heard.jsonl": 0.03,
    "natural.jsonl": 0.13,
    "natural-talks-transcribed.jsonl": 0.09,
    "tasks.jsonl": 0.05,
    "typed.jsonl": 0.02,
    "numbers.jsonl": 0.04,
}
# The natural voices have read less than the synthetic one, and are learned by heart when they are met much more often.
SPEAKING_SHARES = {"aloud.jsonl": 0.35, "natural-aloud.jsonl": 0.3, "talks.jsonl": 0.25, "tasks.jsonl": 0.1}
BRANCH = ("model.mimo_layers", "model.mimo_norm", "mimo_output")  # only the codes depend on it
BELOW = ("model.embed_tokens", "model.layers.0.")  # what the branch of a fork begins with
OTHERS = ("model.embed_tokens", "model.vq_adaptor", "model.layers", "model.norm", "lm_head")
GPU_SHARES = {
    "heard.jsonl": 0.18,
    "natural.jsonl": 0.12,
    "aloud.jsonl": 0.15,
    "natural-aloud.jsonl": 0.05,
    "talks.jsonl": 0.28,
    "tasks.jsonl": 0.22,
}


def begin() -> FinetuneConfig:
    """Learn to hear, to read aloud and to talk, from nothing."""
    return FinetuneConfig(
        loop=LoopConfig(
            steps=1000,
            peak_lr=4e-3,  # of the matrices; tables take a quarter of it
            final_lr=1e-4,
            warmup_steps=40,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            muon=True,
            rates={"model.embed_tokens": 0.25, "lm_head": 0.25, "mimo_output": 0.25},
            checkpoint_every_steps=100,
            log_every_steps=20,
        ),
        from_scratch=True,
        row_positions=256,
        rows=12,
        weights=FIRST_SHARES,
        held_out=0.01,
        scored_samples=96,
        transcribed_samples=0,
        evaluate_every_steps=250,
        hiding=Hiding(heard=0.8, text=0.08, codes=0.1),
        text_smoothing=0.1,
        heard_weight=0.3,
    )


def further() -> FinetuneConfig:
    """Go on from a model with all tasks, in rows that hold conversations of three turns."""
    config = begin()
    loop = replace(config.loop, peak_lr=2e-3)
    return replace(config, from_scratch=False, loop=loop, weights=SHARES, row_positions=384, rows=8)


def talking() -> FinetuneConfig:
    """Go on with answers above all: every fact has to be met many times."""
    config = further()
    loop = replace(config.loop, peak_lr=1.5e-3, final_lr=1e-5)  # calm steps: all tasks together are noisy
    return replace(config, loop=loop, weights=TALKING_SHARES)


def hearing() -> FinetuneConfig:
    """Go on with the text row alone, above what the branch of a fork begins with, so that it speaks as before.

    At 5e-3 with twice the decay of weights and half as many facts, what was known by heart was lost: docs/LOG.md.
    """
    config = talking()
    frozen = dict.fromkeys((*BELOW, *BRANCH), 1.0)
    # What the last batches leave is to a good part noise, so the weights are an average.
    loop = replace(config.loop, steps=1400, peak_lr=3e-3, micro_batches=2, frozen=frozen, ema_decay=0.996)
    return replace(config, loop=loop, weights=HEARING_SHARES, audio_weight=0.0)


def speaking() -> FinetuneConfig:
    """Go on with the codes alone: nothing moves that the text is made of."""
    config = talking()
    frozen = dict.fromkeys(OTHERS, 1.0)
    loop = replace(config.loop, steps=450, warmup_steps=15, weight_decay=0.02, micro_batches=2, frozen=frozen)
    return replace(config, loop=loop, weights=SPEAKING_SHARES, heard_weight=0.0)


def acoustic() -> FinetuneConfig:
    """Let the acoustic encoder learn alone, for an LLM that stays as it is."""
    config = hearing()
    loop = replace(
        config.loop,
        steps=560,
        peak_lr=2e-4,
        warmup_steps=20,
        weight_decay=0.0,
        muon=False,
        rates={},
        frozen={"lm.": 1.0, "acoustic.embed_positions": 1.0},
        ema_decay=0.98,
    )
    return replace(config, loop=loop, weights=ACOUSTIC_SHARES, train_encoder=True, hiding=Hiding(text=0.08))


def together() -> FinetuneConfig:
    """Go on as ``hearing``, and let the acoustic encoder learn with the LLM."""
    config = hearing()
    frozen = {f"lm.{name}": share for name, share in config.loop.frozen.items()} | {"acoustic.embed_positions": 1.0}
    rates = {f"lm.{name}": rate for name, rate in config.loop.rates.items()} | {"acoustic.": 0.1}
    loop = replace(config.loop, steps=700, peak_lr=2e-3, warmup_steps=20, frozen=frozen, rates=rates, ema_decay=0.99)
    return replace(config, loop=loop, weights=TOGETHER_SHARES, train_encoder=True)


def missed() -> FinetuneConfig:
    """Go on with what the model was found not to know (``recipes.nano.missed``); the encoder stays as it is."""
    config = together()
    frozen = {**config.loop.frozen, "acoustic.": 1.0}
    loop = replace(config.loop, steps=120, peak_lr=1.2e-3, warmup_steps=10, frozen=frozen, ema_decay=0.98)
    return replace(config, loop=loop, weights=MISSED_SHARES)


def on_gpu() -> FinetuneConfig:
    """Learn everything in rows of which a CPU would take an hour for a hundred steps."""
    config = further()
    loop = replace(config.loop, peak_lr=3e-3, warmup_steps=100, checkpoint_every_steps=1000, loading_processes=10)
    return replace(config, loop=loop, weights=GPU_SHARES, rows=64, evaluate_every_steps=1000)
