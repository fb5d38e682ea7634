"""A text model becomes a Kimi-Audio: its tokenizer, and what it says next, stay what they were."""

import json

import pytest
import torch

from kimi_audio import GenerationOptions, KimiAudio, Message, checkpoint
from kimi_audio.core.sequence import Inputs
from recipes import mini

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["It's 2 a.m., naïve: 你好 😀 x²  \n\n end", "the quick brown fox", "  12345 apples"]


@pytest.fixture(scope="module")
def text_models(tmp_path_factory):
    """One folder of either layout, as transformers saves them, with a byte-level BPE of a few merges."""
    folders = {}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())[:-5]  # SmolLM2 lacks some bytes, too
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>", "<|im|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    sizes = {
        "vocab_size": 304,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    for name, kind in (("qwen2", "Qwen2"), ("llama", "Llama")):
        folders[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**sizes, tie_word_embeddings=name == "llama")
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.2)
        model.save_pretrained(folders[name])
        tokenizer.save(str(folders[name] / "tokenizer.json"))
    return folders


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_text_is_continued_as_the_text_model_continues_it(text_models, name):
    folder = text_models[name]
    tokenizer, ids = mini.text_tokenizer(folder)
    config = mini.lm_config(folder, tokenizer, num_codes=20, audio_layers=1, features=8)
    lm = mini.audio_lm(folder, config, tokenizer.special.blank, ids).eval()
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    for text in TEXTS:
        ours = tokenizer.encode(text)
        theirs = reference.encode(text).ids
        assert ids[ours].tolist() == theirs
        row = torch.tensor([ours])
        inputs = Inputs(
            audio_ids=torch.full_like(row, tokenizer.special.blank),
            text_ids=row,
            is_continuous=torch.zeros_like(row, dtype=torch.bool),
            features=None,
            positions=torch.arange(len(ours))[None],
        )
        with torch.no_grad():
            scores = lm(inputs).text_logits
            expected = model(torch.tensor([theirs])).logits[..., ids]
        torch.testing.assert_close(scores[..., : len(ids)], expected, rtol=1e-4, atol=1e-4)


def test_the_audio_branch_begins_as_the_last_layers(text_models):
    folder = text_models["qwen2"]
    tokenizer, ids = mini.text_tokenizer(folder)
    config = mini.lm_config(folder, tokenizer, num_codes=20, audio_layers=2, features=8)
    lm = mini.audio_lm(folder, config, tokenizer.special.blank, ids)
    assert config.branch_layer_index == 0
    for copied, source in zip(lm.model.mimo_layers, lm.model.layers[1:], strict=True):
        for name, tensor in copied.state_dict().items():
            assert torch.equal(tensor, source.state_dict()[name])


def test_the_folder_loads_and_answers(text_models, whisper, tmp_path):
    mini.build(tmp_path / "mini", text_models["llama"], whisper, checkpoint.NANO_FOLDER, audio_layers=1)
    model = KimiAudio.from_pretrained(tmp_path / "mini")
    answer = model.answer([Message("user", "text", "hello")], GenerationOptions(max_new_tokens=3))
    assert answer.finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "known are qwen2 and llama"),
        ({"rope_scaling": {"type": "yarn"}}, "rotary positions"),
        ({"head_dim": 64}, "rotary positions or heads"),
    ],
)
def test_other_layouts_are_refused(text_models, tmp_path, change, message):
    values = json.loads((text_models["llama"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    tokenizer, _ = mini.text_tokenizer(text_models["llama"])
    with pytest.raises(ValueError, match=message):
        mini.lm_config(tmp_path, tokenizer, 20, 1, 8)


def test_tokenizers_without_bytes_are_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"▁a": 0}, "merges": []}}))
    with pytest.raises(ValueError, match="byte-level"):
        mini.text_tokenizer(tmp_path)
