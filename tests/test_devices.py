"""Where the parts of a model run."""

import pytest
import torch

from kimi_audio import KimiAudio, Message, checkpoint
from kimi_audio.devices import Devices, find_device

CPU, META = torch.device("cpu"), torch.device("meta")


def test_a_device_is_found(monkeypatch):
    assert find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device(None) == torch.device("cpu")
    with pytest.raises(RuntimeError, match="no CUDA device on this machine"):
        find_device("cuda")
    with pytest.raises(RuntimeError, match="there is no device 'quantum'; use cpu, cuda"):
        find_device("quantum")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(RuntimeError, match=r"no device cuda:2: this machine has 2"):
        find_device("cuda:2")


@pytest.mark.parametrize(
    "wanted", ["llm=cpu, detokenizer=meta,encoders=cpu", {"detokenizer": META, "llm": "cpu", "encoders": "cpu"}]
)
def test_each_part_has_a_device(wanted):
    assert Devices.of(wanted) == Devices(CPU, CPU, META)
    assert Devices.of(Devices.of(wanted)) == Devices.of(wanted)
    assert Devices.of("cpu") == Devices(CPU, CPU, CPU)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("lm=cpu", "no part 'lm' of a model; devices are for llm, encoders, detokenizer"),
        ({"voice": "cpu"}, "no part 'voice'"),
        ("llm=cpu,llm=meta", "a part has two devices"),
    ],
)
def test_parts_that_do_not_exist_are_told(wanted, told):
    with pytest.raises(ValueError, match=told):
        Devices.of(wanted)


def places(model: KimiAudio) -> list[set[torch.device]]:
    """Return where the weights are: of the LLM, the encoders, the detokenizer and its vocoder."""
    modules = model.lm, model.semantic, model.acoustic, model.detokenizer.dit, model.detokenizer.vocoder
    return [{weight.device for weight in module.parameters()} for module in modules]


def test_parts_are_loaded_where_told(reference, monkeypatch):
    asked = {}
    for name in ("semantic", "acoustic", "lm", "flow", "vocoder"):
        load = getattr(checkpoint, f"load_{name}")

        def note(folder, device, *rest, name=name, load=load):
            asked[name] = str(device), *rest[:1]
            return load(folder, "cpu")

        monkeypatch.setattr(checkpoint, f"load_{name}", note)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    KimiAudio(reference / "checkpoint", device="llm=cuda:1,detokenizer=cpu")
    bf16, fp32 = torch.bfloat16, torch.float32
    assert asked == {
        "semantic": ("cuda",),
        "acoustic": ("cuda", bf16),
        "lm": ("cuda:1", bf16),
        "flow": ("cpu", fp32),
        "vocoder": ("cpu",),
    }


def test_parts_do_without_each_other(reference):
    """Weights on the meta device hold no numbers, so what works does not need them."""
    question = reference / "audio" / "question.wav"
    model = KimiAudio(reference / "checkpoint", device="cpu").to("llm=cpu,encoders=cpu,detokenizer=meta")
    assert places(model) == [{CPU}, {CPU}, {CPU}, {META}, {META}]
    assert model.device == CPU
    assert model.answer([Message("user", "audio", question)]).finish_reason
    split = KimiAudio(reference / "checkpoint", device="cpu").to({"llm": "meta", "encoders": CPU, "detokenizer": CPU})
    assert places(split) == [{META}, {CPU}, {CPU}, {CPU}, {CPU}]
    assert len(split.convert_voice(question, seed=0, voice=question))
