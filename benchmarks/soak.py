"""What a server still holds after a long time of conversations, and what a connection costs that says nothing.

    python -m benchmarks.soak --minutes 60 --plot soak.png    # of nano, with kimi-audio[serve]

Starts ``kimi-audio serve``, lets connections wait in silence, then holds one conversation after the other for so long.
Before and afterwards the server rests; what it takes is read from its ``/metrics``, and has to be the same.
"""

import argparse
import asyncio
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from kimi_audio.checkpoint import NANO, find_model
from kimi_audio.cli.replies import bundled_questions
from kimi_audio.core.files import write_whole
from kimi_audio.serve.load_test import Exchange, Script, Summary, run

REST_S = 20  # so that what is over has been put away
EVERY_S = 15
HELD = {  # what is read: its name in Prometheus, and in the table
    "process_resident_memory_bytes": "memory, MB",
    "kimi_audio_kept_turns_bytes": "of it earlier turns",
    "kimi_audio_kept_conversations_bytes": "and conversations",
    "process_open_fds": "open files",
    "kimi_audio_threads": "threads",
    "kimi_audio_tasks": "tasks",
    "kimi_audio_sessions": "conversations",
    "kimi_audio_jobs": "jobs",
}
CPU = "process_cpu_seconds_total"
Reading = dict[str, float]


@contextmanager
def served() -> Iterator[str]:
    """Start a server; give its address, such as ``127.0.0.1:8123``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kimi_audio.cli", "serve", "--port", str(port), "--sessions", "100"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


async def ready(address: str) -> None:
    """Wait until the server works."""
    async with asyncio.timeout(120):
        while True:
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/readyz")
            except (urllib.error.URLError, ConnectionError):
                await asyncio.sleep(0.5)
            else:
                return


async def read(address: str) -> Reading:
    """Return what the server takes now."""
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/metrics")
    found = dict(re.findall(r"^([a-z_]+) ([0-9.e+]+)$", answer.read().decode(), re.MULTILINE))
    return {name: float(found[name]) for name in (*HELD, CPU)}


async def silent_cost(address: str, count: int, seconds: float) -> float:
    """Return the share of a core in percent that each of ``count`` connections takes which say nothing."""
    url = f"ws://{address}/v1/realtime?model=nano"
    before = await read(address)
    await asyncio.sleep(seconds)
    at_rest_s = (await read(address))[CPU] - before[CPU]
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(connect(url))
        await asyncio.sleep(1)
        before = await read(address)
        await asyncio.sleep(seconds)
        taken_s = (await read(address))[CPU] - before[CPU]
    return 100 * max(0.0, taken_s - at_rest_s) / seconds / count


async def conversations(address: str, minutes: float, clients: int, readings: list[Reading]) -> list[Exchange]:
    """Hold conversations of three turns, ``clients`` at once and each as soon as the ones before are over."""
    script, found = Script(bundled_questions(find_model(NANO))), []
    end_s = asyncio.get_running_loop().time() + 60 * minutes

    async def watch() -> None:
        while True:
            readings.append(await read(address))
            await asyncio.sleep(EVERY_S)

    watching = asyncio.create_task(watch())
    while asyncio.get_running_loop().time() < end_s:
        found += await run(f"ws://{address}/v1/realtime?model=nano", script, clients)
    watching.cancel()
    return found


async def soak(minutes: float, clients: int, silent: int, plot: Path | None) -> None:
    """Measure, and print."""
    print_line, readings = Console(width=120).print, []
    with served() as address:
        await ready(address)
        warm = await run(f"ws://{address}/v1/realtime?model=nano", Script(bundled_questions(find_model(NANO))), clients)
        await asyncio.sleep(REST_S)
        print_line(
            f"a silent connection takes {await silent_cost(address, silent, 30):.3f} % of a core ({silent} of them)"
        )
        await asyncio.sleep(REST_S)
        before = await read(address)
        turns = await conversations(address, minutes, clients, readings)
        await asyncio.sleep(REST_S)
        after = await read(address)
    summary = Summary.of(clients, turns)
    print_line(
        f"{summary.turns} turns after {len(warm)} in {minutes:g} minutes, {summary.failed} failed; first sound p50 "
        f"{summary.first_sound_p50_s:.2f} s, p95 {summary.first_sound_p95_s:.2f} s; "
        f"{100 * (after[CPU] - before[CPU]) / (60 * minutes):.0f} % of a core"
    )
    table = Table("", "before", "a quarter", "half", "at most", "after", box=None, padding=(0, 3, 0, 0))
    quarter, half = readings[len(readings) // 4], readings[len(readings) // 2]  # what grows in the second half goes on
    for name, said in HELD.items():
        unit = 1e6 if name.endswith("bytes") else 1
        values = (before[name], quarter[name], half[name], max(one[name] for one in readings), after[name])
        table.add_row(said, *(f"{value / unit:.0f}" for value in values))
    print_line(table)
    if plot is not None:
        draw(readings, plot)


def draw(readings: list[Reading], target: Path) -> None:
    """Draw the memory and the open files over the time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    minutes = [number * EVERY_S / 60 for number in range(len(readings))]
    for axes, name in zip(
        figure.subplots(2, sharex=True), ("process_resident_memory_bytes", "process_open_fds"), strict=True
    ):
        unit = 1e6 if name.endswith("bytes") else 1
        axes.plot(minutes, [reading[name] / unit for reading in readings])
        axes.set(ylabel=HELD[name], ylim=(0, None))
    figure.supxlabel("minutes")
    with write_whole(target) as partial:
        figure.savefig(partial, format=target.suffix.lstrip(".") or "png")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=1, help="conversations at once")
    parser.add_argument("--silent", type=int, default=50, help="connections that say nothing")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    asyncio.run(soak(options.minutes, options.clients, options.silent, options.plot))


if __name__ == "__main__":
    main()
