"""Fixtures around the official miniature: its LLM, its tokenizer, its encoded audio."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kimi_audio.chat import ChatTemplate
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer


@pytest.fixture(scope="session")
def lm(reference: Path) -> AudioLM:
    folder = reference / "checkpoint"
    model = AudioLM(LMConfig.from_dict(json.loads((folder / "config.json").read_text())))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tensors = {}
    for shard in set(index["weight_map"].values()):
        tensors |= load_file(folder / shard)
    model.load_state_dict({name: t.float() for name, t in tensors.items() if not name.endswith("inv_freq")})
    return model.eval()


@pytest.fixture(scope="session")
def text_tokenizer(reference: Path) -> TextTokenizer:
    return TextTokenizer.load(reference / "checkpoint")


@pytest.fixture(scope="session")
def template(reference: Path, lm: AudioLM, text_tokenizer: TextTokenizer) -> ChatTemplate:
    expected = load_file(reference / "expected" / "tokenizers.safetensors")

    def encode(content: str) -> AudioTokens:
        name = Path(content).stem
        return AudioTokens(expected[f"{name}.semantic_codes"], expected[f"{name}.acoustic_features"])

    return ChatTemplate.of(lm.config, text_tokenizer, encode)


@pytest.fixture(scope="session")
def cases(reference: Path) -> dict[str, dict]:
    return json.loads((reference / "expected" / "prompts_and_greedy.json").read_text())


@pytest.fixture(scope="session")
def sft_cases(reference: Path) -> list[dict]:
    return json.loads((reference / "expected" / "sft.json").read_text())


@pytest.fixture(scope="session")
def tiny_lm() -> AudioLM:
    """A smaller random model with larger scores, so that ids differ from step to step."""
    sizes = {"num_layers": 3, "num_heads": 4, "num_kv_heads": 2, "num_audio_layers": 2, "branch_layer_index": 1}
    config = LMConfig.tiny(**sizes, initializer_range=0.3)
    model = AudioLM(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    return model.eval()
