"""The machine: its clock, what it can read, and how much memory was taken."""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

READ_BYTES = {"cpu": 2**28}  # more than caches hold
READ_BYTES_ELSEWHERE = 2**31


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of some work: CPU seconds on the CPU, which other programs hardly change, else by a clock.

    The work is done once before, to warm up.
    """
    found = []
    for _ in range(repeats + 1):
        begin = now_s(device)
        work()
        found.append(now_s(device) - begin)
    return statistics.median(found[1:])


def now_s(device: torch.device) -> float:
    """Return the CPU time of this process, or the time once a device has done its work."""
    if device.type == "cpu":
        return time.process_time()
    torch.get_device_module(device).synchronize(device)
    return time.perf_counter()


def read_bytes_per_s(device: torch.device, repeats: int = 5) -> float:
    """Return how fast memory is read when nothing else is done: a product of a long vector with itself."""
    size = READ_BYTES.get(device.type, READ_BYTES_ELSEWHERE)
    vector = torch.ones(size // 4, device=device)
    return size / seconds(lambda: vector.dot(vector), device, repeats)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that was held on a device; on the CPU, by this process."""
    if device.type == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return torch.get_device_module(device).max_memory_allocated(device)


def describe(device: torch.device) -> dict[str, str | int]:
    """Return what figures of this machine depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    name = processor or platform.processor() or platform.machine()
    if device.type != "cpu":
        name = torch.get_device_module(device).get_device_name(device)
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "clock": "CPU time" if device.type == "cpu" else "wall clock",
    }
