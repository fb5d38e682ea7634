"""How much memory is free."""

from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device, or None where there is no portable way to ask."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
