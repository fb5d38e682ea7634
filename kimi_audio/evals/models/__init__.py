"""Models to evaluate, one file each. The module of a family has ``load(name: str, device: str | None) -> Model``."""

ADAPTERS: dict[str, str] = {"kimi-audio": "kimi_audio.evals.models.kimi_audio"}  # family to module, imported when used
