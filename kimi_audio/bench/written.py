"""The results as a Markdown page and as pictures."""

from pathlib import Path
from typing import Any

from kimi_audio.core.files import write_whole

Results = dict[str, Any]


def markdown(results: Results) -> str:
    """Return a page of tables."""
    facts = (
        f"{results['device']}, {results['threads']} threads, torch {results['torch']}; steps are {results['steps']}, "
        f"times are {results['clock']}."
    )
    memory = (
        f"{results['read_bytes_per_s'] / 1e9:.1f} GB/s can be read; {results['peak_bytes'] / 1e9:.2f} GB were held."
    )
    tables = _steps(results["lm"]), _batches(results["lm"]), _speech(results)
    return "\n\n".join([f"## {results['model']}", f"{facts} {memory}", *("\n".join(table) for table in tables)]) + "\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _head(*names: object) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _steps(lms: Results) -> list[str]:
    lines = _head(
        "LLM", "weights, GB", "made in, s", "prompt, positions/s", "step at", "ms", "GB/s", "share of reading"
    )
    for name, lm in lms.items():
        rate = lm["prefill_positions"] / lm["prefill_s"]
        facts = name, f"{lm['weights_bytes'] / 1e9:.3f}", f"{lm['made_s']:.2f}", f"{rate:.0f}"
        for step in lm["steps"]:
            read = f"{step['bytes_per_s'] / 1e9:.1f}", f"{step['share']:.0%}"
            lines += [_row(*facts, step["positions"], f"{1000 * step['step_s']:.2f}", *read)]
    return lines


def _batches(lms: Results) -> list[str]:
    rows = {name: [f"{batch['tokens_per_s']:.0f}" for batch in lm["batches"]] for name, lm in lms.items()}
    sizes = [batch["requests"] for lm in lms.values() for batch in lm["batches"]][: len(next(iter(rows.values())))]
    return [*_head("tokens/s of so many requests", *sizes), *(_row(name, *cells) for name, cells in rows.items())]


def _speech(results: Results) -> list[str]:
    made, talk = results["detokenizer"], results["talk"]

    def both(name: str) -> str:
        return " / ".join(f"{1000 * talk[f'{name}_{share}_s']:.0f}" for share in ("p50", "p95")) + " ms"

    rows = {
        f"detokenizer ({made['solver']}, {made['evaluations']} evaluations), s per s of sound": (
            f"{made['real_time_factor']:.3f}"
        ),
        "of it the vocoder": f"{made['vocoder_real_time_factor']:.3f}",
        f"first text, p50 / p95 of {talk['replies']} replies, LLM in {talk['lm']}": both("first_text"),
        "first sound, p50 / p95": both("first_sound"),
        "first sound, CPU time, p50": f"{1000 * talk['first_sound_cpu_p50_s']:.0f} ms",
        "gaps in all replies": f"{talk['gaps_s']:.2f} s",
        "a whole reply, s per s of sound": f"{talk['real_time_factor']:.2f}",
    } | ({"loading the model": f"{results['load_s']:.2f} s"} if "load_s" in results else {})
    return [*_head("speech", ""), *(_row(*pair) for pair in rows.items())]


def draw(results: Results, target: Path) -> None:
    """Write the curves over requests and over positions; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, lm in results["lm"].items():
        left.plot(*_columns(lm["batches"], "requests", "tokens_per_s"), "o-", label=name)
        positions, seconds = _columns(lm["steps"], "positions", "step_s")
        right.plot(positions, [1000 * step_s for step_s in seconds], "o-", label=name)
    left.set(xlabel="requests at once", ylabel="tokens per second", xscale="log", yscale="log")
    right.set(xlabel="positions", ylabel="step, ms", ylim=(0, None))
    left.legend()
    with write_whole(target) as partial:
        figure.savefig(partial, format="png", dpi=150)


def _columns(rows: list[dict[str, float]], *names: str) -> tuple[list[float], ...]:
    return tuple([row[name] for row in rows] for name in names)
