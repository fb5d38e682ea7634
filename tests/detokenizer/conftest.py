"""The detokenizer of the reference folder, and its expected numbers."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from kimi_audio.core.config import FlowConfig, VocoderConfig
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN, from_released


@pytest.fixture(scope="session")
def expected(reference: Path) -> dict[str, Tensor]:
    return load_file(reference / "expected" / "detokenizer.safetensors")


@pytest.fixture(scope="session")
def vocoder_config(reference: Path) -> VocoderConfig:
    return VocoderConfig.from_dict(json.loads((reference / "checkpoint/vocoder/config.json").read_text()))


@pytest.fixture(scope="session")
def flow_config(reference: Path) -> FlowConfig:
    return FlowConfig.from_dict(yaml.safe_load((reference / "checkpoint/audio_detokenizer/config.yaml").read_text()))


@pytest.fixture(scope="session")
def released_vocoder(reference: Path) -> dict[str, Tensor]:
    return torch.load(reference / "checkpoint/vocoder/model.pt", weights_only=True)["generator"]


@pytest.fixture(scope="session")
def vocoder(vocoder_config: VocoderConfig, released_vocoder: dict[str, Tensor]) -> BigVGAN:
    """The reference values come from the plain PyTorch activation, hence its edges."""
    model = BigVGAN(vocoder_config, edges="activated")
    model.load_state_dict(from_released(released_vocoder))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def dit(reference: Path, flow_config: FlowConfig) -> DiT:
    released = torch.load(reference / "checkpoint/audio_detokenizer/model.pt", weights_only=True)["state_dict"]
    prefix = "speech_model."
    model = DiT(flow_config.dit)
    model.load_state_dict({n.removeprefix(prefix): t for n, t in released.items() if n.startswith(prefix)})
    return model.eval().requires_grad_(False)
