"""Models of the transformers library, as tiny random checkpoints that are built here: nothing is downloaded.

What they say is noise; the tests look at how they are asked, at batches, seeds, limits and errors.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: kimi-audio[eval-transformers]"
)

from tokenizers.pre_tokenizers import ByteLevel  # noqa: E402

from kimi_audio.audio.io import Samples  # noqa: E402
from kimi_audio.evals.contract.types import EvalSample, Options  # noqa: E402
from kimi_audio.evals.models import qwen2_audio, qwen25_omni, whisper  # noqa: E402
from kimi_audio.evals.models.qwen import QwenParts  # noqa: E402
from kimi_audio.evals.models.transformers_model import MAX_NEW_TOKENS, decoding_of  # noqa: E402

SPECIAL = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]"
    "{% for part in message['content'] %}{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}[assistant]"
)
CHUNK_S = 2  # that the tiny models hear
SHORT = {"max_new_tokens": 6}
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1} | {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
AUDIO = {"num_mel_bins": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16} | {
    "d_model": 16,
    "max_source_positions": 50 * CHUNK_S,
}


def byte_vocab():
    return {letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}


def save_qwen_parts(folder):
    tokenizer = transformers.Qwen2Tokenizer(byte_vocab(), [], extra_special_tokens=SPECIAL)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=CHUNK_S).save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def qwen2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen2-audio")
    tokenizer = save_qwen_parts(folder)
    config = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **AUDIO},
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    torch.manual_seed(0)
    transformers.Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def omni_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("omni")
    tokenizer = save_qwen_parts(folder)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    thinker = {
        "audio_config": {**AUDIO, "n_window": 10, "output_dim": 16},
        "vision_config": {**vision, "fullatt_block_indexes": [0]},
        "text_config": {"vocab_size": len(tokenizer), "rope_parameters": rope, **TEXT},
        "audio_token_index": tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        "audio_start_token_id": tokenizer.convert_tokens_to_ids("<|audio_bos|>"),
        "audio_end_token_id": tokenizer.convert_tokens_to_ids("<|audio_eos|>"),
        "vision_start_token_id": -1,  # none: nothing is seen
    }
    config = transformers.Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
    torch.manual_seed(0)
    transformers.Qwen2_5OmniForConditionalGeneration(config).save_pretrained(folder)
    torch.save({}, folder / "spk_dict.pt")
    return folder


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    tokenizer = transformers.WhisperTokenizer(byte_vocab() | {"<|endoftext|>": 256}, [])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|notimestamps|>"]})
    stamps = 50 * CHUNK_S + 1
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=CHUNK_S)
    transformers.WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    size = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "max_target_positions": 32}
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 256)
    config = transformers.WhisperConfig(vocab_size=258 + stamps, **AUDIO, **size, **ends)
    torch.manual_seed(0)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


def sample(name, seconds=0.5, text="What?", clips=1):
    wave = np.sin(np.arange(int(16000 * seconds)) * 0.05 * len(name)).astype(np.float32) * 0.3
    return EvalSample(name, audio=(Samples(wave, 16000),) * clips, text=text)


def texts(model, samples, **decoding):
    return [answer.text for answer in model.generate(samples, Options(decoding=SHORT | decoding))]


@pytest.fixture(scope="module", params=["qwen2", "base", "omni"])
def qwen(request):
    if request.param == "omni":
        return qwen25_omni.load(str(request.getfixturevalue("omni_folder")), "cpu")
    prefix = "base:" if request.param == "base" else ""
    return qwen2_audio.load(prefix + str(request.getfixturevalue("qwen2_folder")), "cpu")


def test_greedy_answers_do_not_depend_on_the_batch(qwen):
    samples = [sample("a", 0.5), sample("bb", 1.5, "A longer question?"), sample("ccc", text="")]
    together = texts(qwen, samples)
    assert len(together) == 3
    assert together == [texts(qwen, [one])[0] for one in samples]


def test_drawn_answers_depend_on_the_sample_and_the_seed_alone(qwen):
    samples = [sample("a"), sample("b")]  # same sound and text, other ids
    state = torch.get_rng_state()
    drawn = texts(qwen, samples, temperature=5.0, max_new_tokens=12)
    assert drawn[0] != drawn[1]
    assert texts(qwen, samples[::-1], temperature=5.0, max_new_tokens=12) == drawn[::-1]
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left as it was"


def test_too_long_audio_is_an_error_and_not_cut(qwen):
    with pytest.raises(ValueError, match=r"2\.5 s, more than the 2 s"):
        texts(qwen, [sample("a", 2.5)])


def test_a_cut_answer_is_told(qwen):
    (answer,) = qwen.generate([sample("a")], Options(decoding={"max_new_tokens": 2, "min_new_tokens": 2}))
    assert answer.finish_reason == "length"


def test_refused(qwen):
    with pytest.raises(ValueError, match="text only"):
        qwen.generate([sample("a")], Options("both"))
    with pytest.raises(ValueError, match="no decoding option 'beam'"):
        texts(qwen, [sample("a")], beam=2)


def test_prompts_of_the_families(qwen2_folder, omni_folder):
    asked = sample("a", text="Q", clips=1)
    heard = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    chat, base = qwen2_audio.load(str(qwen2_folder), "cpu"), qwen2_audio.load(f"base:{qwen2_folder}", "cpu")
    assert chat.prompt(asked, "S") == f"[system]S[user]{heard}Q[assistant]"
    assert chat.prompt(asked, "") == f"[user]{heard}Q[assistant]"
    assert base.prompt(asked, "") == f"{heard}Q"
    assert (chat.family, base.family) == ("qwen2-audio", "qwen2-audio-base")
    omni = qwen25_omni.load(str(omni_folder), "cpu")
    assert omni.prompt(asked, "S") == f"[system]S[user]Q{heard}[assistant]"


def test_every_sound_gets_as_many_places_as_the_encoder_makes_of_it(qwen2_folder):
    parts = QwenParts.load(qwen2_folder)
    wave = sample("a", 1.0).audio[0]
    inputs = parts.inputs(["x<|AUDIO|>y<|AUDIO|>"], [[wave, Samples(wave.array[:8000], 16000)]])
    places = int((inputs["input_ids"] == parts.tokenizer.convert_tokens_to_ids("<|AUDIO|>")).sum())
    assert places == 25 + 12  # 25 a second, of which an odd one is dropped
    with pytest.raises(ValueError, match="1 places for sound and the sample 0"):
        parts.inputs(["say <|AUDIO|>"], [[]])


def test_the_template_of_the_processor_counts(tmp_path):
    save_qwen_parts(tmp_path)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "other"}))
    assert QwenParts.load(tmp_path).chat([], "") == "other"


def test_revisions_follow_the_weights(omni_folder, tmp_path):
    one = qwen25_omni.load(str(omni_folder), "cpu")
    assert f"transformers {transformers.__version__} float32" in one.revision


def test_omni_speaks_with_the_decoding_of_its_thinker(omni_folder):
    """The whole model is too large to be built in a test; what it is asked for is looked at instead."""
    parts = QwenParts.load(omni_folder)
    calls = []

    def generate(input_ids, **given):
        calls.append(given)
        return torch.cat([input_ids, torch.tensor([[65]])], dim=1), torch.full((240,), 0.25)

    settings = SimpleNamespace(do_sample=False, eos_token_id=None)
    thinker = SimpleNamespace(dtype=torch.float32, generation_config=settings)
    stand_in = SimpleNamespace(has_talker=True, device=torch.device("cpu"), thinker=thinker, generate=generate)
    model = qwen25_omni.Qwen25Omni("omni", "r", "qwen2.5-omni", stand_in, parts)
    answers = model.generate([sample("a"), sample("b")], Options("both", decoding={"speaker": "Ethan"}))
    for answer, given in zip(answers, calls, strict=True):
        assert (answer.speech.rate_hz, len(answer.speech.array)) == (24000, 240)
        assert (given["speaker"], given["thinker_max_new_tokens"]) == ("Ethan", MAX_NEW_TOKENS)


def test_whisper_transcribes_a_batch_as_it_does_single_samples(whisper_folder):
    model = whisper.load(str(whisper_folder), "cpu")
    samples = [sample("a"), sample("bb", 1.0)]
    together = texts(model, samples)
    assert together == [texts(model, [one])[0] for one in samples]
    assert (model.family, len(together)) == ("whisper", 2)


def test_whisper_goes_on_beyond_its_window(whisper_folder, monkeypatch):
    model = whisper.load(str(whisper_folder), "cpu")
    model.model.generation_config.no_timestamps_token_id = 257  # released checkpoints state it
    calls, generate = [], model.model.generate
    monkeypatch.setattr(model.model, "generate", lambda **given: calls.append(given) or generate(**given))
    samples = [sample("a", 2.5 * CHUNK_S), sample("bb")]
    together = texts(model, samples)
    assert together == [texts(model, [one])[0] for one in samples]
    assert calls[0]["input_features"].shape[-1] == 250 * CHUNK_S  # all of the sound, at 100 frames a second
    assert together[0]


def test_whisper_refuses_what_it_cannot_do(whisper_folder):
    model = whisper.load(str(whisper_folder), "cpu")
    with pytest.raises(ValueError, match="text only"):
        model.generate([sample("a")], Options("both"))
    with pytest.raises(ValueError, match="one recording per sample, and a has 2"):
        texts(model, [sample("a", clips=2)])


def test_temperature_switches_sampling():
    def decoding(**given):
        return decoding_of("x", Options(decoding=given), {"temperature", "do_sample"})

    assert decoding(temperature=0) == {"do_sample": False}
    assert decoding(temperature=0.5) == {"do_sample": True, "temperature": 0.5}
    assert decoding() == {}


@pytest.mark.parametrize("module", [qwen2_audio, qwen25_omni, whisper])
def test_without_the_library_one_sentence_says_what_to_install(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"transformers is missing: install kimi-audio\[eval-transformers\]"):
        module.load(str(tmp_path), "cpu")
