"""Models to evaluate, one file each. The module of a family has ``load(name: str, device: str | None) -> Model``."""

ADAPTERS: dict[str, str] = {}  # family to module
