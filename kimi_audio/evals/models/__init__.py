"""Models to evaluate, one file each. The module of a family has ``load(name: str, device: str | None) -> Model``."""

# Family to module, imported when used.
ADAPTERS: dict[str, str] = {
    "kimi-audio": "kimi_audio.evals.models.kimi_audio",
    "openai": "kimi_audio.evals.models.openai_audio",
    "qwen2-audio": "kimi_audio.evals.models.qwen2_audio",
    "qwen2.5-omni": "kimi_audio.evals.models.qwen25_omni",
    "whisper": "kimi_audio.evals.models.whisper",
    "subprocess": "kimi_audio.evals.models.subprocess_model",
}
