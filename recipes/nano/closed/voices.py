"""The synthetic voices that nano hears and speaks, and those it never meets in training."""

import random
from dataclasses import dataclass
from typing import Any, Literal

Engine = Literal["flite", "festival", "espeak-ng"]
Language = Literal["en", "cmn"]
Colour = Literal["plain", "bright", "soft", "strained", "whispered"]  # see colours.py


@dataclass(frozen=True)
class Voice:
    """One voice of a speech engine.

    ``argument`` is the engine's own name of the voice. Rate and pitch are factors of its natural setting, drawn
    from the given ranges; a pitch factor needs ``natural_pitch_hz`` where the engine takes hertz. On the scale of
    espeak-ng a factor of 1.18 raises the pitch by 9 % only, so its range is wider.
    """

    name: str
    engine: Engine
    argument: str
    rate_hz: int
    natural_pitch_hz: float = 0.0
    rates: tuple[float, float] = (0.8, 1.25)
    pitches: tuple[float, float] = (0.85, 1.18)
    reserved: bool = False  # for evaluation only
    language: Language = "en"


@dataclass(frozen=True)
class Delivery:
    """A voice with the rate and pitch of one utterance, how much its pitch moves, and what is done to its sound."""

    voice: Voice
    rate: float = 1.0
    pitch: float = 1.0
    variation: float = 1.0
    colour: Colour = "plain"


FIXED_PITCH = (1.0, 1.0)  # the voice ignores the engine's pitch setting


def _flite(name: str, pitch_hz: float, rate_hz: int = 16_000, **options: Any) -> Voice:
    return Voice(f"flite-{name}", "flite", name, rate_hz, pitch_hz, **options)


def _festival(name: str, pitch_hz: float, rate_hz: int = 16_000, **options: Any) -> Voice:
    return Voice(f"festival-{name}", "festival", name, rate_hz, pitch_hz, **options)


def _espeak(name: str, reserved: bool = False) -> Voice:
    return Voice(f"espeak-{name}", "espeak-ng", name, 22_050, pitches=(0.65, 1.45), reserved=reserved)


# British English is "en" here: espeak-ng silently drops a variant behind "en-gb" and speaks its plain voice.
_ESPEAK_SEEN = """
    en-us en-us+m1 en-us+m3 en-us+f1 en-us+f2 en-us+f3 en-us+f5 en-us+Andrea en-us+Alex en-us+Annie en-us+steph
    en-us+klatt2 en-us+belinda en-us+edward en-us+travis en-us+david en en+m2 en+m7 en+f2 en+Alicia
    en+klatt en+Michael en+linda en+norbert en-gb-scotland en-gb-scotland+m4 en-gb-scotland+f3
    en-gb-x-rp en-gb-x-rp+m5 en-gb-x-rp+f5 en-029 en-029+m8 en-029+f1 en-us-nyc+klatt3 en-gb-x-gbclan+f1
    en-us+adam en+anika en-us+antonio en-us+aunty en+benjamin en-us+boris en-us+caleb en-us+ed en+gustave en-us+grandpa
    en-us+john en+marcelo en-us+max en-us+michel en+miguel en-us+pablo en+paul en-us+pedro en-us+quincy en+rob
    en-us+robert en-us+sandro en+shelby en-us+steph2 en-us+victor en+zac en-us+iven en-us+Denis en+Diogo en-us+Henrique
    en-us+Hugo en+Jacky en-us+Lee en-us+Marco en+Mike en-us+Nguyen en-us+Storm en-us+Andy en-us+klatt5 en-029+pedro
    en-gb-scotland+quincy en-gb-scotland+miguel en-gb-x-rp+Denis en-gb-scotland+Hugo
"""

VOICES: tuple[Voice, ...] = (
    _flite("slt", 172),
    _flite("rms", 100, pitches=FIXED_PITCH),
    _flite("kal", 105, rate_hz=8_000),
    _flite("kal16", 105),
    _festival("kal_diphone", 105),
    _festival("cmu_us_slt_arctic_hts", 172, rate_hz=32_000, pitches=FIXED_PITCH),
    *(_espeak(name) for name in _ESPEAK_SEEN.split()),
    # awb_time, the other voice of this speaker, can say the time of day only and is not used.
    _flite("awb", 130, reserved=True),
    _festival("ked_diphone", 105, reserved=True),
    _espeak("en-us+f4", reserved=True),
    _espeak("en+m6", reserved=True),
    _espeak("en-us+klatt4", reserved=True),
)
# The plain "cmn" voice of espeak-ng 1.51 falls back to English letters; this one reads pinyin with tone digits.
_MANDARIN_SEEN = "m1 m2 m3 m5 m7 f1 f2 f3 f5 Andrea Alex Annie steph linda edward travis david norbert belinda Alicia"
_MANDARIN_RESERVED = "f4 m6 Michael"


def _mandarin(variant: str, reserved: bool = False) -> Voice:
    return Voice(
        f"mandarin-{variant}",
        "espeak-ng",
        f"cmn-latn-pinyin+{variant}",
        22_050,
        rates=(1.0, 1.5),  # espeak-ng speaks single syllables slowly
        pitches=(0.7, 1.35),
        reserved=reserved,
        language="cmn",
    )


MANDARIN_SEEN = tuple(_mandarin(variant) for variant in _MANDARIN_SEEN.split())
MANDARIN_RESERVED = tuple(_mandarin(variant, reserved=True) for variant in _MANDARIN_RESERVED.split())
SEEN = tuple(voice for voice in VOICES if not voice.reserved)
RESERVED = tuple(voice for voice in VOICES if voice.reserved)
ASSISTANT = Delivery(VOICES[0])  # the voice of the spoken replies: the clearest recorded speaker
MANDARIN_ASSISTANT = Delivery(MANDARIN_SEEN[6], 1.15)  # its replies in Mandarin

ENGINE_SHARES: dict[str, float] = {"espeak-ng": 0.6, "flite": 0.3, "festival": 0.1}


def draw_delivery(generator: random.Random, voices: tuple[Voice, ...] = SEEN) -> Delivery:
    """Draw an engine by its share, one of its voices, a rate and a pitch."""
    engines = sorted({voice.engine for voice in voices})
    (engine,) = generator.choices(engines, [ENGINE_SHARES[engine] for engine in engines])
    voice = generator.choice([voice for voice in voices if voice.engine == engine])
    return Delivery(voice, round(generator.uniform(*voice.rates), 3), round(generator.uniform(*voice.pitches), 3))
