"""The layout of a model folder: the released one.

```
config.json, model.safetensors.index.json + shards | model.safetensors      audio LLM
tiktoken.model, tokenizer_config.json                                       text tokenizer
generation_config.json, lexicon.txt                                         how it is best used; not in the release
whisper-large-v3/{config.json, model.safetensors}                           acoustic encoder
glm-4-voice-tokenizer/{config.json, model.safetensors}                      semantic tokenizer (see below)
audio_detokenizer/{config.yaml, model.safetensors | model.pt}               flow matching
vocoder/{config.json, model.safetensors | model.pt}                         BigVGAN
```

The release keeps the semantic tokenizer in a hub repository of its own; it is looked for inside the folder, beside it,
and on the hub.
"""

from pathlib import Path

from kimi_audio.core.weights import INDEX, WEIGHTS

NANO = "nano"
NANO_FOLDER = Path(__file__).parents[1] / "nano"
WHISPER = "whisper-large-v3"
ENCODER = "model.encoder."  # before the names of the acoustic encoder in its file
SEMANTIC = "glm-4-voice-tokenizer"
FLOW = "audio_detokenizer"
VOCODER = "vocoder"
SEMANTIC_HUB_ID = "THUDM/glm-4-voice-tokenizer"
SEMANTIC_REVISION = "a5f2404e63c84e92f5238908e1706316324ebafa"  # other weights would give other codes
LEXICON = "lexicon.txt"  # words in lower case, one a line; no model has to have it
SPEECH_MODEL = "speech_model."  # prefix of the flow-matching network in the release

SMALL_FILES = [
    "config.json",
    "generation_config.json",
    LEXICON,
    "tiktoken.model",
    "tokenizer_config.json",
    f"{WHISPER}/config.json",
]
FILES = [  # "*" in a pattern also matches "/"
    *SMALL_FILES,
    "model*.safetensors",
    INDEX,
    f"{WHISPER}/{WEIGHTS}",
    f"{SEMANTIC}/config.json",
    f"{SEMANTIC}/{WEIGHTS}",
]
DETOKENIZER_FILES = [f"{FLOW}/config.yaml", f"{FLOW}/model.*", f"{VOCODER}/config.json", f"{VOCODER}/model.*"]
