"""Speech from the engines espeak-ng, flite and festival, which run as programs of their own."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soundfile
import soxr

from recipes.nano.closed.colours import colour
from recipes.nano.closed.pinyin import to_engine
from recipes.nano.closed.voices import Delivery, Voice

ESPEAK_WORDS_PER_MINUTE = 165
ESPEAK_PITCH = 50  # of 0 to 99
FLITE_PITCH_STD_HZ = 18.0
FESTIVAL_PITCH_STD_HZ = 14.0
LEVEL_DB = -23.0  # root mean square of the whole utterance, relative to full scale
PEAK = 0.95
SILENCE_DB = -40.0  # below the loudest frame
MARGIN_S = 0.1  # silence kept at either end
FRAME_S = 0.01


def synthesise(text: str, voice: Voice, rate: float = 1.0, pitch: float = 1.0) -> tuple[np.ndarray, int]:
    """Speak ``text``.

    Returns:
        Float32 mono samples, trimmed and of equal level, and the sample rate of the engine's voice.

    Raises:
        ValueError: the speech engine is not installed, or it made no sound.
    """
    return synthesise_all([(text, Delivery(voice, rate, pitch))])[0]


def synthesise_all(requests: Sequence[tuple[str, Delivery]]) -> list[tuple[np.ndarray, int]]:
    """Speak several texts; those for festival share one process, because it starts slowly."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.wav" for index in range(len(requests))]
        script = []
        for path, (text, delivery) in zip(paths, requests, strict=True):
            if delivery.voice.engine == "festival":
                script.append(_festival_command(text, delivery, path))
            elif delivery.voice.engine == "flite":
                _run(_flite_command(text, delivery, path))
            else:
                _run(_espeak_command(delivery, path), _espeak_text(text, delivery))
        if script:
            _run(["festival", "--pipe"], "\n".join(script))
        return [
            (_finished(_read(path, request), request[1]), request[1].voice.rate_hz)
            for path, request in zip(paths, requests, strict=True)
        ]


def _finished(samples: np.ndarray, delivery: Delivery) -> np.ndarray:
    return colour(finish(samples, delivery.voice.rate_hz), delivery.voice.rate_hz, delivery.colour)


def _run(command: list[str], text: str = "") -> None:
    try:
        # No shell, and texts reach the engines as input or as one argument.
        subprocess.run(  # noqa: S603
            command, input=text, text=True, check=True, capture_output=True, timeout=120
        )
    except FileNotFoundError:
        raise ValueError(f"the speech engine {command[0]} is not installed; run `make speech-tools`") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"the speech engine {command[0]} failed: {error.stderr.strip()}") from None


def _read(path: Path, request: tuple[str, Delivery]) -> np.ndarray:
    text, delivery = request
    if not path.exists():
        raise ValueError(f"the voice {delivery.voice.name} made no sound for {text!r}; run `make speech-tools`")
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if rate_hz != delivery.voice.rate_hz:  # festival takes another voice where one is missing
        raise ValueError(f"the voice {delivery.voice.name} is not installed; run `make speech-tools`")
    return samples


def _flite_command(text: str, delivery: Delivery, path: Path) -> list[str]:
    command = ["flite", "-voice", delivery.voice.argument]
    if delivery.rate != 1:
        command += ["--setf", f"duration_stretch={1 / delivery.rate:.3f}"]
    if delivery.pitch != 1:
        command += ["--setf", f"int_f0_target_mean={delivery.voice.natural_pitch_hz * delivery.pitch:.1f}"]
    if delivery.variation != 1:
        command += ["--setf", f"int_f0_target_stddev={FLITE_PITCH_STD_HZ * delivery.variation:.1f}"]
    return [*command, "-t", text, "-o", str(path)]


def _espeak_command(delivery: Delivery, path: Path) -> list[str]:
    rate = round(ESPEAK_WORDS_PER_MINUTE * delivery.rate)
    pitch = min(99, round(ESPEAK_PITCH * delivery.pitch))
    command = [
        "espeak-ng",
        "-v",
        delivery.voice.argument,
        "-s",
        str(rate),
        "-p",
        str(pitch),
        "-w",
        str(path),
        "--stdin",
    ]
    return command if delivery.variation == 1 else [*command, "-m"]


def _espeak_text(text: str, delivery: Delivery) -> str:
    if delivery.voice.language == "cmn":
        text = to_engine(text)
    if delivery.variation == 1:
        return text
    # Only markup can change how much the pitch moves.
    return f'<prosody range="{round(100 * delivery.variation)}%">{escape(text)}</prosody>'


def _festival_command(text: str, delivery: Delivery, path: Path) -> str:
    voice, quoted = delivery.voice, text.replace("\\", " ").replace('"', " ")
    if voice.argument.endswith("_hts"):
        # Selecting the voice again restores its parameters.
        prosody = f'(set! hts_engine_params (append hts_engine_params \'(("-r" {delivery.rate:.3f}))))'
    else:
        prosody = (
            f"(Parameter.set 'Duration_Stretch {1 / delivery.rate:.3f}) "
            f"(set! int_lr_params '((target_f0_mean {voice.natural_pitch_hz * delivery.pitch:.1f}) "
            f"(target_f0_std {FESTIVAL_PITCH_STD_HZ * delivery.variation:g}) (model_f0_mean 170) (model_f0_std 34)))"
        )
    return f'(voice_{voice.argument}) {prosody} (utt.save.wave (utt.synth (Utterance Text "{quoted}")) "{path}" \'riff)'


def finish(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Trim silent ends down to ``MARGIN_S`` and bring the speech to ``LEVEL_DB``, its peaks within ``PEAK``."""
    frame = round(FRAME_S * rate_hz)
    count = len(samples) // frame
    power = (samples[: count * frame].reshape(count, frame) ** 2).mean(1)
    if not count or power.max() == 0:
        raise ValueError("the speech engine made only silence")
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    margin = round(MARGIN_S * rate_hz)
    samples = samples[max(0, loud[0] * frame - margin) : (loud[-1] + 1) * frame + margin]
    gain = 10 ** (LEVEL_DB / 20) / np.sqrt((samples**2).mean())
    return samples * min(gain, PEAK / np.abs(samples).max())


def resample(samples: np.ndarray, rate_hz: int, target_hz: int) -> np.ndarray:
    """Return float32 samples at ``target_hz``."""
    return samples if rate_hz == target_hz else soxr.resample(samples, rate_hz, target_hz)
