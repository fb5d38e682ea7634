"""Model folders: their layout, how they are found, loaded, described and saved."""

from kimi_audio.checkpoint.describe import Component, MemoryUse, list_components, memory_of
from kimi_audio.checkpoint.find import find_model, find_semantic_tokenizer, find_transformers, is_base_model
from kimi_audio.checkpoint.layout import FLOW, LEXICON, NANO, NANO_FOLDER, SEMANTIC, VOCODER, WHISPER
from kimi_audio.checkpoint.load import (
    check_parts,
    load_acoustic,
    load_acoustic_config,
    load_flow,
    load_lexicon,
    load_lm,
    load_lm_config,
    load_module,
    load_semantic,
    load_settings,
    load_vocoder,
    load_whisper,
    read_config,
)
from kimi_audio.checkpoint.save import released_acoustic, save_model, save_with_detokenizer

__all__ = [
    "FLOW",
    "LEXICON",
    "NANO",
    "NANO_FOLDER",
    "SEMANTIC",
    "VOCODER",
    "WHISPER",
    "Component",
    "MemoryUse",
    "check_parts",
    "find_model",
    "find_semantic_tokenizer",
    "find_transformers",
    "is_base_model",
    "list_components",
    "load_acoustic",
    "load_acoustic_config",
    "load_flow",
    "load_lexicon",
    "load_lm",
    "load_lm_config",
    "load_module",
    "load_semantic",
    "load_settings",
    "load_vocoder",
    "load_whisper",
    "memory_of",
    "read_config",
    "released_acoustic",
    "save_model",
    "save_with_detokenizer",
]
