"""A new voice for a model: from ten minutes of one speaker to a model folder that answers in that voice.

What a model says is codes, and codes hold little of a voice: it comes from flow matching and vocoder, which alone are
trained further, on the codes and the sound of the recordings (third stage of the report, section 4.3). Hearing and
thinking stay as they are. Sentences that are held back judge the result.

Shapes: L samples, T mel frames, M mel bins.
"""

import hashlib
import json
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from kimi_audio import checkpoint
from kimi_audio.assistant import KimiAudio
from kimi_audio.audio.mel import vocoder_log_mel
from kimi_audio.audio.prosody import measure
from kimi_audio.core.config import VocoderConfig
from kimi_audio.core.files import write_json
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.core.words import word_errors
from kimi_audio.data.recordings import Recording, read_recordings, store_speech, words_of
from kimi_audio.data.shards import content_key
from kimi_audio.data.split import Split
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.runs import weights_digest
from kimi_audio.train.speech.flow_stage import (
    ONE_SPEAKER,
    FlowExample,
    FlowStage,
    flow_example,
    held_out_loss,
    train_flow,
)
from kimi_audio.train.speech.vocoder_stage import VocoderStage, held_out_mel, train_vocoder

WORK = "own_voice_run"  # what a run keeps beside the model, so that it can go on; may be deleted after
REPORT = "own_voice.json"
DB_PER_NEPER = 20 / math.log(10)
SOUNDING_DB = 40.0  # frames so much below the loudest one are pauses


@dataclass(frozen=True, kw_only=True)
class OwnVoiceConfig:
    """How a voice is learnt; the default takes about ten minutes with nano on two free cores.

    Args:
        held_out: how many different sentences judge the result instead of being learnt from.
        min_total_s: fewest seconds of recordings.
        flow: schedule of flow matching, whose rates ``flow_stage`` lowers.
        flow_stage: batches of flow matching.
        vocoder: schedule of the vocoder.
        vocoder_stage: batches of the vocoder.
        seed: of the choice of what is held out.
    """

    held_out: int = 8
    min_total_s: float = 60.0
    flow: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=200, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=20, weight_decay=0.0, muon=True
        )
    )
    flow_stage: FlowStage = ONE_SPEAKER
    vocoder: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=200, peak_lr=5e-4, final_lr=5e-5, warmup_steps=20, betas=(0.8, 0.99), clip_norm=10.0
        )
    )
    vocoder_stage: VocoderStage = field(default_factory=lambda: VocoderStage(batch_size=8))
    seed: int = 0


@dataclass(frozen=True)
class Likeness:
    """How sound compares with the recordings that were learnt from, and how well it is understood.

    Attributes:
        timbre_db: mean difference of the average spectrum, mel band by mel band, levels made equal.
        pitch_semitones: difference of the median pitch.
        words_heard: share of the words of the transcripts that the model's own recogniser hears.

    Timbre and pitch are None where nothing sounds or nothing is voiced.
    """

    timbre_db: float | None
    pitch_semitones: float | None
    words_heard: float


@dataclass(frozen=True)
class VoiceScores:
    """What the held-back sentences say of one model.

    Attributes:
        flow_loss: error of the velocity.
        vocoder_mel: distance of the vocoder's renderings of recorded mels, see ``spectral_losses``.
        mel_distance: mean difference of the natural-log mel of a sentence from that of its recording, when it is made
            again from the recording's codes.
        made_again: those sentences.
        read_aloud: the same texts, spoken by the whole model.
    """

    flow_loss: float
    vocoder_mel: float
    mel_distance: float
    made_again: Likeness
    read_aloud: Likeness


@dataclass(frozen=True)
class VoiceReport:
    """The base model, the new one, and the held-back recordings themselves, which are the best that can be reached."""

    training_s: float
    sentences: int
    before: VoiceScores
    after: VoiceScores
    recorded: Likeness


def train_own_voice(
    data: Path,
    out: Path,
    base: str | Path = checkpoint.NANO,
    config: OwnVoiceConfig | None = None,
    judge: Path | None = None,
) -> VoiceReport:
    """Teach a model a voice and write the model folder; a run that was stopped goes on.

    Args:
        data: a JSONL file or folder of recordings with transcripts, see ``data.recordings``.
        out: receives the model, the report and, under ``own_voice_run``, what resuming needs.
        base: the model to start from.
        config: how.
        judge: recordings of the same speaker that judge the result; by default some of ``data`` are held back.

    Returns:
        The report, which is also written to ``own_voice.json``.

    Raises:
        ValueError: recordings cannot be used or are too few, there is no such base model, or ``out`` holds a run of
            other recordings or another base.
    """
    config = config or OwnVoiceConfig()
    base_folder = checkpoint.find_model(base)
    if out.resolve() == base_folder.resolve():
        raise ValueError(f"{out} is the base model itself; write to another folder")
    semantic_folder = checkpoint.find_semantic_tokenizer(base_folder)
    checkpoint.check_parts(base_folder, semantic_folder, TextTokenizer.load(base_folder))
    recordings = read_recordings(data)
    held = None if judge is None else read_recordings(judge)
    training, judging = _prepare(recordings, held, out / WORK, base_folder, config)
    dit, flow_config = checkpoint.load_flow(base_folder)
    vocoder, vocoder_config = checkpoint.load_vocoder(base_folder)
    semantic = checkpoint.load_semantic(semantic_folder)
    examples = voice_examples(training, semantic, vocoder_config)
    held_examples = voice_examples(judging, semantic, vocoder_config)
    flow_run, vocoder_run = out / WORK / "flow", out / WORK / "vocoder"
    dit = train_flow(flow_config, config.flow, config.flow_stage, examples, held_examples, flow_run, dit)
    stage = config.vocoder_stage
    vocoder = train_vocoder(vocoder_config, config.vocoder, stage, [training], [judging], vocoder_run, start=vocoder)
    checkpoint.save_with_detokenizer(out, base_folder, dit=dit, flow_config=flow_config, vocoder=vocoder)
    scored = _Judge(training, judging, held_examples, config, vocoder_config)
    model = KimiAudio(base_folder, device="cpu")
    recorded, before = scored.recorded(model), scored.scores(model)
    del model  # both at once may not fit
    after = scored.scores(KimiAudio(out, device="cpu"))
    report = VoiceReport(training.duration_s, len(judging), before, after, recorded)
    write_json(out / REPORT, asdict(report))
    return report


def _prepare(
    recordings: list[Recording], held: list[Recording] | None, work: Path, base: Path, config: OwnVoiceConfig
) -> tuple[Split, Split]:
    """Return what is learnt from and what is held back, stored in ``work``; a run goes on with the same alone."""
    own = {
        "recordings": _fingerprint(recordings),
        **({} if held is None else {"judge": _fingerprint(held)}),
        "base": str(base.resolve()),
        "held_out": config.held_out,
        "seed": config.seed,
        "contents": _contents([*recordings, *(held or [])]),
        "base weights": weights_digest(base),
    }
    note = work / "run.json"
    if note.exists():
        known = json.loads(note.read_text("utf-8"))
        newer = {"contents", "base weights"} - known.keys()  # than the run
        if known != {name: value for name, value in own.items() if name not in newer}:
            raise ValueError(f"{work} was begun with other recordings or settings; write to another folder")
        return Split(work / "learnt"), Split(work / "held-out")
    if held is None:
        recordings, held = hold_out(recordings, config.held_out, config.seed)
    else:
        _check_apart(recordings, held)
    training, judging = store_speech(recordings, work / "learnt"), store_speech(held, work / "held-out")
    if training.duration_s < config.min_total_s:
        raise ValueError(
            f"{training.duration_s:.0f} s of recordings remain to learn from; at least {config.min_total_s:.0f} s are "
            "needed, ten minutes are good"
        )
    write_json(note, own)
    return training, judging


def _fingerprint(recordings: Sequence[Recording]) -> str:
    said = sorted((str(recording.path.resolve()), recording.text) for recording in recordings)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _contents(recordings: Sequence[Recording]) -> str:
    """Return what tells the sound of recordings from that of others at the same places."""
    paths = sorted({recording.path.resolve() for recording in recordings})
    keys = [content_key(path).hex() if path.is_file() else "" for path in paths]
    return hashlib.sha256(repr(keys).encode()).hexdigest()


def _check_apart(learnt: Sequence[Recording], held: Sequence[Recording]) -> None:
    known = {_sentence(recording) for recording in learnt}
    both = [recording.place for recording in held if _sentence(recording) in known]
    if both:
        raise ValueError(f"{len(both)} sentences that judge are also learnt from, such as that of {both[0]}")


def _sentence(recording: Recording) -> str:
    return " ".join(words_of(recording.text))


def hold_out(recordings: Sequence[Recording], sentences: int, seed: int) -> tuple[list[Recording], list[Recording]]:
    """Return (learnt from, held back): all recordings of so many randomly chosen sentences are held back.

    Raises:
        ValueError: there are not twice as many different sentences.
    """
    texts = sorted({_sentence(recording) for recording in recordings})
    if len(texts) < 2 * sentences:
        raise ValueError(
            f"the recordings hold {len(texts)} different sentences; at least {2 * sentences} are needed, "
            f"of which {sentences} judge the result"
        )
    chosen = set(random.Random(seed).sample(texts, sentences))  # noqa: S311 (no secrets)
    learnt, held = [], []
    for recording in recordings:
        (held if _sentence(recording) in chosen else learnt).append(recording)
    return learnt, held


def voice_examples(split: Split, semantic: SemanticTokenizer, config: VocoderConfig) -> list[FlowExample]:
    """Return codes and mels of all utterances of a split with sound at both rates."""
    examples = []
    for utterance in track(split.utterances, f"codes of {split.folder.name}"):
        codes = semantic.encode_wav(torch.from_numpy(split.samples(utterance))).tolist()
        examples.append(flow_example(codes, torch.from_numpy(split.samples(utterance, OUTPUT_RATE_HZ)), config))
    return examples


# ---------------------------------------------------------------------------------------------------------------------
# Judging


@dataclass(frozen=True)
class VoicePrint:
    """What a voice sounds like on average: spectrum [M] in dB around its mean, and median pitch; None without sound."""

    spectrum_db: Tensor | None
    pitch_hz: float | None

    def timbre_db(self, other: "VoicePrint") -> float | None:
        """Return the mean difference of the spectra."""
        if self.spectrum_db is None or other.spectrum_db is None:
            return None
        return float((self.spectrum_db - other.spectrum_db).abs().mean())

    def pitch_semitones(self, other: "VoicePrint") -> float | None:
        """Return the distance of the pitches."""
        if not self.pitch_hz or not other.pitch_hz:
            return None
        return abs(12 * math.log2(self.pitch_hz / other.pitch_hz))


def voice_print(wavs: Sequence[Tensor], config: VocoderConfig) -> VoicePrint:
    """Describe the voice of recordings [L] at 24 kHz, their pauses left out."""
    audible = [wav for wav in wavs if len(wav) >= config.n_fft]
    if not audible:
        return VoicePrint(None, None)
    mels = torch.cat([vocoder_log_mel(wav, config) for wav in audible])  # [T, M]
    level = mels.exp().mean(1).log() * DB_PER_NEPER
    spectrum = mels[level > level.max() - SOUNDING_DB].mean(0) * DB_PER_NEPER
    voiced = [pitch_hz for wav in audible if (pitch_hz := _pitch_hz(wav))]
    return VoicePrint(spectrum - spectrum.mean(), statistics.median(voiced) if voiced else None)


def _pitch_hz(wav: Tensor) -> float:
    try:
        return measure(wav.numpy(), OUTPUT_RATE_HZ).pitch_hz
    except ValueError:  # nothing was said
        return 0.0


class _Judge:
    """The held-back sentences."""

    def __init__(
        self,
        training: Split,
        judging: Split,
        examples: Sequence[FlowExample],
        config: OwnVoiceConfig,
        vocoder_config: VocoderConfig,
    ) -> None:
        self.judging, self.examples, self.config, self.vocoder_config = judging, examples, config, vocoder_config
        self.voice = voice_print(_sounds(training), vocoder_config)

    def scores(self, model: KimiAudio) -> VoiceScores:
        """Judge a model."""
        assert model.detokenizer is not None
        again, aloud = [], []
        for number, example in enumerate(track(self.examples, f"judging {model.folder.name}")):
            again.append(model.synthesise(example.codes.tolist(), seed=number))
            aloud.append(model.speak(self.judging.utterances[number].text, seed=number))
        distances = []
        for wav, example in zip(again, self.examples, strict=True):
            mel = vocoder_log_mel(wav, self.vocoder_config)[: len(example.log_mel)]
            distances.append(float((mel - example.log_mel[: len(mel)]).abs().mean()))
        made = model.detokenizer
        return VoiceScores(
            flow_loss=held_out_loss(made.dit, made.flow_config, self.config.flow_stage, self.examples),
            vocoder_mel=held_out_mel(made.vocoder, self.config.vocoder_stage, self.judging),
            mel_distance=statistics.mean(distances),
            made_again=self._likeness(model, again),
            read_aloud=self._likeness(model, aloud),
        )

    def recorded(self, model: KimiAudio) -> Likeness:
        """Judge the recordings themselves."""
        return self._likeness(model, _sounds(self.judging))

    def _likeness(self, model: KimiAudio, wavs: Sequence[Tensor]) -> Likeness:
        """Compare one sound per held-back sentence with the voice and with the transcripts."""
        own = voice_print(wavs, self.vocoder_config)
        errors = words = 0
        for utterance, wav in zip(self.judging.utterances, wavs, strict=True):
            reference = words_of(utterance.text)
            heard = words_of(model.transcribe((wav, OUTPUT_RATE_HZ))) if len(wav) else []
            errors += min(len(reference), word_errors(reference, heard))
            words += len(reference)
        return Likeness(own.timbre_db(self.voice), own.pitch_semitones(self.voice), 1 - errors / words)


def _sounds(split: Split) -> list[Tensor]:
    return [torch.from_numpy(split.samples(utterance, OUTPUT_RATE_HZ)) for utterance in split.utterances]
