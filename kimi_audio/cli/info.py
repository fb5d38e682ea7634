"""``kimi-audio info``."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from kimi_audio.cli.command import command
from kimi_audio.cli.options import JsonOption, ModelOption
from kimi_audio.cli.report import Report


class Card(StrEnum):
    """Memory of a graphics card."""

    gb24 = "24gb"
    gb16 = "16gb"
    gb12 = "12gb"


@command()
def info(
    model: ModelOption = "nano",
    profile: Annotated[Card | None, typer.Option(help="Show what fits on a card with so much memory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model is made of and what it can run on; no weights are read."""
    report = Report(as_json)
    if profile is not None:
        _show_profile(report, model, profile)
        return
    facts = _model_facts(model)
    report.result(facts)
    report.line(facts.pop("folder"), style="bold")
    report.components(facts.pop("components"))
    for name, value in facts.items():
        report.field(name.replace("_", " "), ", ".join(value) if isinstance(value, list) else f"{value:,}", width=18)


def _show_profile(report: Report, model: str, card: Card) -> None:
    from kimi_audio.checkpoint import find_model, memory_of
    from kimi_audio.core.numbers import counted

    memory = memory_of(find_model(model))
    card_bytes = int(card.removesuffix("gb")) * 10**9
    rows = []
    for quantize in memory.lm_bytes:
        for speech in (True, False):
            total = memory.total_bytes(quantize, speech=speech)
            slots = memory.num_slots(card_bytes, quantize, speech=speech)
            rows.append(
                {"lm": quantize, "speech": speech, "total_bytes": total, "fits": total <= card_bytes, "slots": slots}
            )
    report.result({"card_bytes": card_bytes} | asdict(memory) | {"profiles": rows})
    parts = {f"audio LLM, {name}": size for name, size in memory.lm_bytes.items()} | {
        "encoders": memory.encoders_bytes,
        "detokenizer": memory.detokenizer_bytes,
        "one full context": memory.cache_bytes,
        "one slot of captured steps": memory.slot_bytes,
        "working memory": memory.working_bytes,
    }
    for name, size in parts.items():
        report.field(name, f"{size / 1e9:8.3f} GB", width=28)
    report.line(f"on a card of {card_bytes / 1e9:.0f} GB, with slots for --steps graphs", style="bold")
    for row in rows:
        name = f"{row['lm']}, {'speech' if row['speech'] else 'text alone'}"
        fits = f"fits, {counted(row['slots'], 'slot')}" if row["fits"] else "does not fit"
        report.field(name, f"{row['total_bytes'] / 1e9:8.3f} GB {fits}", width=28)


def _model_facts(model: str) -> dict[str, Any]:
    import torch

    from kimi_audio.checkpoint import find_model, list_components, load_lm_config
    from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, exact_div
    from kimi_audio.tokenizer.text import TextTokenizer

    folder = find_model(model)
    lm = load_lm_config(folder)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "folder": str(folder),
        "components": [asdict(part) for part in list_components(folder)],
        "text_ids": TextTokenizer.load(folder).vocab_size,
        "audio_codes": lm.num_codes,
        "context_tokens": lm.max_positions,
        "speech_delay_ms": lm.delay_tokens * exact_div(1000 * SAMPLES_PER_TOKEN, INPUT_RATE_HZ),
        "devices": [f"cpu ({torch.get_num_threads()} threads)", *gpus],
    }
