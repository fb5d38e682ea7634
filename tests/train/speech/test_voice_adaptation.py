"""A new voice for a miniature model, and what is said about it."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from kimi_audio import KimiAudio, checkpoint
from kimi_audio.cli.own_voice import table
from kimi_audio.core.config import VocoderConfig
from kimi_audio.data.recordings import Recording, read_recordings
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.flow_stage import ONE_SPEAKER
from kimi_audio.train.speech.vocoder_stage import VocoderStage
from kimi_audio.train.speech.voice_adaptation import (
    OwnVoiceConfig,
    VoicePrint,
    _prepare,
    hold_out,
    train_own_voice,
    voice_print,
)

SMALL = {"upsample_initial_channel": 32, "upsample_rates": (8, 6, 5, 2), "upsample_kernel_sizes": (16, 12, 9, 4)}
SMALL |= {"resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1,),)}
LOOP = LoopConfig(steps=2, peak_lr=1e-3, warmup_steps=1, bf16=False, log_every_steps=1)
CONFIG = OwnVoiceConfig(
    held_out=2,
    min_total_s=2.0,
    flow=LOOP,
    flow_stage=replace(ONE_SPEAKER, batch_frames=100),
    vocoder=LOOP,
    vocoder_stage=VocoderStage(batch_size=1, segment_frames=8),
)


@pytest.fixture(scope="module")
def base(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model with a vocoder of one residual block per stage."""
    folder = tmp_path_factory.mktemp("base")
    source = reference / "checkpoint"
    dit, flow_config = checkpoint.load_flow(source)
    config = replace(checkpoint.load_vocoder(source)[1], **SMALL)
    torch.manual_seed(0)
    checkpoint.save_with_detokenizer(folder, source, dit=dit, flow_config=flow_config, vocoder=BigVGAN(config))
    return folder


def harmonic(pitch_hz: float, seconds: float, rate_hz: int, tilt: float = 1.0) -> np.ndarray:
    phase = 2 * np.pi * pitch_hz * np.arange(int(seconds * rate_hz)) / rate_hz
    return np.sum([0.2 / k**tilt * np.sin(k * phase) for k in range(1, 12)], axis=0).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six recordings of five sentences."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    lines = []
    for number, text in enumerate(["One.", "Two.", "Three.", "Four.", "Five.", "one"]):
        soundfile.write(folder / f"{number}.wav", harmonic(150 + 10 * number, 0.8, 22_050), 22_050)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": text}))
    (folder / "list.jsonl").write_text("\n".join(lines))
    return folder / "list.jsonl"


def tensors(folder: Path) -> dict[str, Tensor]:
    modules = {"flow": checkpoint.load_flow(folder)[0], "vocoder": checkpoint.load_vocoder(folder)[0]}
    modules |= {"lm": checkpoint.load_lm(folder), "acoustic": checkpoint.load_acoustic(folder)}
    modules["semantic"] = checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(folder))
    return {f"{part}.{name}": value for part, module in modules.items() for name, value in module.state_dict().items()}


@pytest.fixture
def _short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature says and hears nothing sensible, and takes long to."""
    monkeypatch.setattr(KimiAudio, "speak", lambda self, text, seed: self.synthesise([1, 2, 3, 4, 5, 6], seed=seed))
    monkeypatch.setattr(KimiAudio, "transcribe", lambda self, source: "one two")


@pytest.mark.usefixtures("_short_replies")
def test_recordings_become_a_model_that_differs_in_its_voice_alone(base: Path, data: Path, tmp_path: Path):
    out = tmp_path / "mine"
    report = train_own_voice(data, out, base, CONFIG)
    old, new = tensors(base), tensors(out)
    changed = {name.split(".")[0] for name, value in new.items() if not torch.equal(value, old[name])}
    assert new.keys() == old.keys()
    assert changed == {"flow", "vocoder"}
    assert (out / "glm-4-voice-tokenizer" / "config.json").exists()  # wherever the base model had it

    written = json.loads((out / "own_voice.json").read_text())
    assert written["after"]["flow_loss"] == report.after.flow_loss != report.before.flow_loss
    assert report.recorded.pitch_semitones is not None
    assert report.recorded.pitch_semitones < 3
    assert 0 <= report.recorded.words_heard <= 1
    assert table(report).row_count == 9

    # Again: nothing is left to train, and the result is the same.
    train_own_voice(data, out, base, CONFIG)
    again = tensors(out)
    assert all(torch.equal(value, new[name]) for name, value in again.items())
    # Other recordings do not go on with it.
    with data.open("a") as lines:
        lines.write('\n{"audio": "5.wav", "text": "Six."}')
    with pytest.raises(ValueError, match="begun with other recordings or settings"):
        train_own_voice(data, out, base, CONFIG)


@pytest.mark.usefixtures("_short_replies")
def test_other_recordings_may_judge(base: Path, data: Path, tmp_path: Path):
    judge = data.with_name("judge.jsonl")
    judge.write_text('{"audio": "0.wav", "text": "Seven."}')
    report = train_own_voice(data, tmp_path / "mine", base, CONFIG, judge)
    assert report.sentences == 1
    assert report.training_s == pytest.approx(6 * 0.8, rel=0.01)
    judge.write_text('{"audio": "0.wav", "text": "Eight."}')
    with pytest.raises(ValueError, match="begun with other recordings or settings"):
        train_own_voice(data, tmp_path / "mine", base, CONFIG, judge)
    judge.write_text('{"audio": "0.wav", "text": "ONE!"}')
    with pytest.raises(ValueError, match="1 sentences that judge are also learnt from, such as that of line 1"):
        train_own_voice(data, tmp_path / "other", base, CONFIG, judge)


def test_a_run_does_not_go_on_with_replaced_recordings_or_weights(base: Path, data: Path, tmp_path: Path):
    copy = tmp_path / "base"
    shutil.copytree(base, copy)

    def prepare() -> None:
        _prepare(read_recordings(data), None, tmp_path / "work", copy, CONFIG)

    prepare()
    prepare()
    recording, weights = data.with_name("2.wav"), sorted(copy.glob("*.safetensors"))[0]
    for path in (recording, weights):
        content = path.read_bytes()
        path.write_bytes(content[:2000] + bytes(byte ^ 255 for byte in content[2000:2064]) + content[2064:])
        with pytest.raises(ValueError, match="begun with other recordings or settings"):
            prepare()
        path.write_bytes(content)
    note = tmp_path / "work" / "run.json"
    known = json.loads(note.read_text())
    note.write_text(json.dumps({name: known[name] for name in known.keys() - {"contents", "base weights"}}))  # older
    prepare()


def test_too_little_to_learn_from_is_said_before_training(base: Path, data: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"\d s of recordings remain to learn from; at least 60 s are needed"):
        train_own_voice(data, tmp_path / "mine", base, replace(CONFIG, min_total_s=60.0))
    with pytest.raises(ValueError, match="hold 5 different sentences; at least 8 are needed, of which 4 judge"):
        train_own_voice(data, tmp_path / "mine", base, replace(CONFIG, held_out=4))
    assert not (tmp_path / "mine" / "config.json").exists()


def test_the_base_model_is_not_overwritten(base: Path, data: Path):
    with pytest.raises(ValueError, match="is the base model itself"):
        train_own_voice(data, base, base, CONFIG)
    dit, flow_config = checkpoint.load_flow(base)
    vocoder, _ = checkpoint.load_vocoder(base)
    with pytest.raises(ValueError, match="is the base model itself"):
        checkpoint.save_with_detokenizer(base, base, dit=dit, flow_config=flow_config, vocoder=vocoder)
    assert (base / "config.json").exists()


def test_small_models_stay_small(reference: Path, base: Path, tmp_path: Path):
    dit, flow_config = checkpoint.load_flow(base)
    vocoder, _ = checkpoint.load_vocoder(base)
    parts = {"dit": dit, "flow_config": flow_config, "vocoder": vocoder}
    small = tmp_path / "small"
    checkpoint.save_model(
        small,
        lm=checkpoint.load_lm(base),
        text_tokenizer=TextTokenizer.load(base),
        acoustic=checkpoint.load_acoustic(base),
        semantic=checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(base)),
        int8=True,
        **parts,
    )
    (small / "lexicon.txt").write_text("boat\n")
    checkpoint.save_with_detokenizer(tmp_path / "derived", small, **parts)
    assert (tmp_path / "derived" / "lexicon.txt").exists()
    with pytest.raises(ValueError, match="holds a model in shards"):
        checkpoint.save_with_detokenizer(base, small, **parts)
    for name in ("model.safetensors", "audio_detokenizer/model.safetensors", "vocoder/model.safetensors"):
        assert (tmp_path / "derived" / name).stat().st_size == (small / name).stat().st_size
    assert (small / "model.safetensors").read_bytes() == (tmp_path / "derived" / "model.safetensors").read_bytes()


# ---------------------------------------------------------------------------------------------------------------------
# Holding out


def test_held_back_sentences_are_never_learnt_in_any_recording():
    texts = ["a b", "c", "A b!", "d", "e", "f", "C.", "g"]
    recordings = [Recording(Path(str(n)), text, str(n)) for n, text in enumerate(texts)]
    for seed in range(10):
        learnt, held = hold_out(recordings, 2, seed)
        assert len(learnt) + len(held) == len(recordings)
        sentences = [{item.text.lower().strip("!.") for item in part} for part in (learnt, held)]
        assert not sentences[0] & sentences[1]
        assert len(sentences[1]) == 2
        assert hold_out(recordings, 2, seed) == (learnt, held)
    assert len({str(hold_out(recordings, 2, seed)[1]) for seed in range(10)}) > 1


# ---------------------------------------------------------------------------------------------------------------------
# Voice prints


@pytest.fixture(scope="module")
def mel(reference: Path) -> VocoderConfig:
    return checkpoint.load_vocoder(reference / "checkpoint")[1]


def described(mel: VocoderConfig, pitch_hz: float, tilt: float = 1.0, gain: float = 1.0) -> VoicePrint:
    breath = 0.003 * np.random.default_rng(0).standard_normal(24_000)  # no band is empty in a voice
    voice = (gain * (harmonic(pitch_hz, 1.0, 24_000, tilt) + breath)).astype(np.float32)
    return voice_print([torch.from_numpy(np.concatenate([voice, np.zeros(12_000, np.float32)]))], mel)


def test_pitch_is_compared_in_semitones(mel: VocoderConfig):
    low, high = described(mel, 120), described(mel, 240)
    assert low.pitch_semitones(high) == pytest.approx(12, abs=0.3)
    assert low.pitch_semitones(low) == 0


def test_timbre_ignores_level_and_pauses_but_not_the_spectrum(mel: VocoderConfig):
    voice, quieter, brighter = described(mel, 150), described(mel, 150, gain=0.5), described(mel, 150, tilt=0.3)
    near, far = voice.timbre_db(quieter), voice.timbre_db(brighter)
    assert near is not None
    assert far is not None
    assert near < 0.5
    assert far > 2


def test_what_does_not_sound_has_no_voice(mel: VocoderConfig):
    voice, nothing = described(mel, 150), voice_print([torch.zeros(10)], mel)
    assert nothing == VoicePrint(None, None)
    assert voice.timbre_db(nothing) is None
    assert voice.pitch_semitones(nothing) is None
    noise = voice_print([torch.randn(24_000, generator=torch.Generator().manual_seed(0))], mel)
    assert noise.pitch_hz is None or not math.isclose(noise.pitch_hz, 150, rel_tol=0.02)
