"""Pre-training on the seven tasks: ``kimi-audio train pretrain --data documents.jsonl --out runs/mine``.

The LLM and the acoustic encoder are trained together; the encoder rests for the first fifth of the steps. Each function
returns a full configuration, and the command line changes its fields, as in ``--set loop.steps=500``.
"""

from dataclasses import replace

from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.pretrain import PretrainConfig

RELEASED_BASE = "moonshotai/Kimi-Audio-7B"  # before it was tuned for instructions


def pretrain() -> PretrainConfig:
    """Go on with the pre-training of nano, or begin it with ``--set from_scratch=true``."""
    return PretrainConfig(
        loop=LoopConfig(
            steps=5000,
            peak_lr=1e-3,
            final_lr=1e-4,
            warmup_steps=50,
            betas=(0.9, 0.95),
            weight_decay=0.1,
            ema_decay=0.999,
            best_score="dev_loss",
            frozen={"acoustic.": 0.2},
            sharded_layers=("lm.model.layers", "lm.model.mimo_layers"),
        )
    )


def pretrain_7b() -> PretrainConfig:
    """Train the released base model with the settings of the technical report, section 4.1: many large GPUs.

    AdamW, a cosine from 2e-5 to 2e-6, 1 % of warm-up, the encoder frozen for the first 20 %. The report says nothing
    of batches: half a million positions make up a step here. Set ``loop.steps`` for one epoch of the data (which the
    log names), and ``loop.warmup_steps`` to a hundredth of it.
    """
    config = pretrain()
    loop = replace(
        config.loop,
        steps=10_000,
        peak_lr=2e-5,
        final_lr=2e-6,
        warmup_steps=100,
        micro_batches=64,
        checkpoint_layers=True,
        ema_decay=None,
    )
    return replace(config, base=RELEASED_BASE, loop=loop, row_positions=8192)
