"""Fine-tuning of the audio LLM: ``kimi-audio train NAME --data conversations.jsonl --out runs/mine``.

Every function returns a full configuration, and the command line changes its fields, as in ``--set loop.steps=500``.
The plain names begin with nano; those ending in ``_7b`` with the released model, whose rates are 30 times lower: the
official fine-tuning takes 1e-5, and adapters are usually given ten times the rate of the weights.
"""

from dataclasses import replace

from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.lora import LoraOptions
from kimi_audio.train.sft import FinetuneConfig

RELEASED = "moonshotai/Kimi-Audio-7B-Instruct"
LAYERS = ("model.layers", "model.mimo_layers")


def sft() -> FinetuneConfig:
    """Train all weights of the LLM on conversations, in text or speech; ``epochs=3`` takes the steps from the data."""
    return FinetuneConfig(
        loop=LoopConfig(
            steps=400,
            peak_lr=3e-4,
            final_lr=3e-5,
            warmup_steps=20,
            betas=(0.9, 0.95),
            weight_decay=0.1,
            best_score="dev_loss",
            sharded_layers=LAYERS,
        ),
        transcribed_samples=16,
    )


def lora() -> FinetuneConfig:
    """Train adapters; the model itself stays as it is."""
    config = sft()
    return replace(config, loop=replace(config.loop, peak_lr=3e-3, final_lr=3e-4, weight_decay=0.0), lora=LoraOptions())


def qlora() -> FinetuneConfig:
    """Train adapters beside layers that are kept at 4 bits."""
    return replace(lora(), lora=LoraOptions(four_bit=True))


def tts() -> FinetuneConfig:
    """Learn to read aloud: requests in text, replies in text and speech."""
    return replace(sft(), transcribed_samples=0)


def speech_to_speech() -> FinetuneConfig:
    """Learn spoken dialogues of any number of turns; every turn of the assistant is learned."""
    return replace(sft(), transcribed_samples=0)


def sft_7b() -> FinetuneConfig:
    """As ``sft``, for the released model: several large GPUs."""
    return _released(sft(), peak_lr=1e-5)


def lora_7b() -> FinetuneConfig:
    """As ``lora``, for the released model: one GPU of 48 GB."""
    return _released(lora(), peak_lr=1e-4)


def qlora_7b() -> FinetuneConfig:
    """As ``qlora``, for the released model: one GPU of 24 GB."""
    return _released(qlora(), peak_lr=1e-4)


def _released(config: FinetuneConfig, peak_lr: float) -> FinetuneConfig:
    loop = replace(config.loop, peak_lr=peak_lr, final_lr=peak_lr / 10, micro_batches=8, checkpoint_layers=True)
    return replace(config, base=RELEASED, loop=loop, row_positions=4096)
