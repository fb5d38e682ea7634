"""Where the parts of a model run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch

Device = str | torch.device


@dataclass(frozen=True)
class Devices:
    """One device for each part of a model."""

    llm: torch.device
    encoders: torch.device
    detokenizer: torch.device  # with its vocoder

    @classmethod
    def of(cls, wanted: "Device | Mapping[str, Device] | Devices | None") -> Self:
        """Return the wanted devices.

        Args:
            wanted: one for all parts, such as "cuda:0"; or one for each part that is named,
                ``{"llm": "cuda:0", "detokenizer": "cpu"}`` or "llm=cuda:0,detokenizer=cpu". Parts that are not named,
                and all where nothing is wanted, run on CUDA where there is one, else on the CPU.

        Raises:
            ValueError: there is no such part, or one is named twice.
            RuntimeError: the machine has no such device.
        """
        names = [field.name for field in fields(cls)]
        if isinstance(wanted, Devices):
            wanted = vars(wanted)
        if isinstance(wanted, str) and "=" in wanted:
            wanted = _parsed(wanted)
        if not isinstance(wanted, Mapping):
            return cls(*[find_device(wanted)] * len(names))
        if unknown := [name for name in wanted if name not in names]:
            raise ValueError(f"there is no part {unknown[0]!r:.60} of a model; devices are for {', '.join(names)}")
        return cls(**{name: find_device(wanted.get(name)) for name in names})


def _parsed(text: str) -> dict[str, Device]:
    pairs = [entry.partition("=")[::2] for entry in text.split(",")]
    found: dict[str, Device] = {name.strip(): device.strip() for name, device in pairs}
    if len(found) < len(pairs):
        raise ValueError(f"a part has two devices in {text!r:.80}")
    return found


def find_device(device: Device | None) -> torch.device:
    """Return the wanted device, or the best there is.

    Raises:
        RuntimeError: the machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise RuntimeError(f"there is no device {device!r}; use cpu, cuda, or cuda:N") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA device on this machine, or torch was built without it; use the CPU")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(f"there is no device {found}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return found


def default_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of weights on a device, where none is asked for."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32
