"""``kimi-audio info``."""

from dataclasses import asdict
from typing import Any

from kimi_audio.cli.command import command
from kimi_audio.cli.options import JsonOption, ModelOption
from kimi_audio.cli.report import Report


@command()
def info(model: ModelOption = "nano", as_json: JsonOption = False) -> None:
    """Show what a model is made of and what it can run on; no weights are read."""
    report = Report(as_json)
    facts = _model_facts(model)
    report.result(facts)
    report.line(facts.pop("folder"), style="bold")
    report.components(facts.pop("components"))
    for name, value in facts.items():
        report.field(name.replace("_", " "), ", ".join(value) if isinstance(value, list) else f"{value:,}", width=18)


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
