"""Sixteen kinds of everyday sounds from oscillators and filtered noise; no two renderings are alike."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kimi_audio.core.units import INPUT_RATE_HZ

Generator = np.random.Generator
Render = Callable[[Generator], np.ndarray]


@dataclass(frozen=True)
class SoundEvent:
    """One kind of sound: ``name`` in answers, with its article, and as a sentence; ``single`` if it can be counted."""

    name: str
    phrase: str
    sentence: str
    single: bool
    render: Render


def seconds(duration_s: float) -> np.ndarray:
    """Return the times [T] of the samples of ``duration_s``."""
    return np.arange(round(duration_s * INPUT_RATE_HZ)) / INPUT_RATE_HZ


def band(generator: Generator, count: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return [count] samples of noise between two frequencies, with soft edges and a mean power of 1."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    frequencies_hz = np.fft.rfftfreq(count, 1 / INPUT_RATE_HZ)
    spectrum /= np.sqrt(1 + (low_hz / np.maximum(frequencies_hz, 1)) ** 8) * np.sqrt(
        1 + (frequencies_hz / high_hz) ** 8
    )
    noise = np.fft.irfft(spectrum, count)
    return noise / np.sqrt((noise**2).mean())


def glide(frequencies_hz: np.ndarray, harmonics: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Return a tone of a pitch that changes with time [T], with the strengths of its harmonics."""
    phase = 2 * np.pi * np.cumsum(frequencies_hz) / INPUT_RATE_HZ
    return sum((level * np.sin((k + 1) * phase) for k, level in enumerate(harmonics)), np.zeros_like(phase))


def slow_noise(generator: Generator, times_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return a random curve [T] between 0 and 1 that turns about ``rate_hz`` times a second."""
    knots = generator.uniform(0, 1, int(times_s[-1] * rate_hz) + 3)
    return np.interp(times_s * rate_hz, np.arange(len(knots)), knots)


def place(sound: np.ndarray, start_s: float, into: np.ndarray) -> None:
    """Add a sound to a recording, cut at its end."""
    start = round(start_s * INPUT_RATE_HZ)
    into[start : start + len(sound)] += sound[: max(0, len(into) - start)]


def _repeated(sound: Callable[[], np.ndarray], times_s: list[float], duration_s: float) -> np.ndarray:
    out = np.zeros(round(duration_s * INPUT_RATE_HZ))
    for time_s in times_s:
        place(sound(), time_s, out)
    return out


def bell(generator: Generator) -> np.ndarray:
    """A church bell: partials that are not harmonic and die away one after the other."""
    times_s, pitch_hz = seconds(generator.uniform(0.8, 1.2)), generator.uniform(380, 620)
    partials = ((0.5, 0.5, 0.5), (1, 1, 0.4), (1.19, 0.7, 0.3), (1.5, 0.4, 0.25), (2, 0.7, 0.2), (2.74, 0.4, 0.12))
    return sum(
        (a * np.sin(2 * np.pi * f * pitch_hz * times_s + f) * np.exp(-times_s / d) for f, a, d in partials),
        np.zeros_like(times_s),
    )


def alarm(generator: Generator) -> np.ndarray:
    """An alarm clock: groups of high, hard beeps."""
    pitch_hz, beep_s, count = generator.uniform(1900, 2600), generator.uniform(0.07, 0.1), int(generator.integers(5, 8))
    times_s = seconds(beep_s)
    beep = np.sign(np.sin(2 * np.pi * pitch_hz * times_s)) * np.hanning(len(times_s)) ** 0.2
    return _repeated(lambda: beep, [i * beep_s * 1.9 for i in range(count)], count * beep_s * 1.9)


def knock(generator: Generator) -> np.ndarray:
    """Three quick knocks on a wooden door."""
    pitch_hz, gap_s = generator.uniform(170, 260), generator.uniform(0.13, 0.2)

    def one() -> np.ndarray:
        times_s = seconds(0.12)
        wood = np.sin(2 * np.pi * pitch_hz * times_s) + 0.6 * np.sin(2 * np.pi * 2.7 * pitch_hz * times_s)
        hit = band(generator, len(times_s), 300, 1200) * np.exp(-times_s / 0.006)
        return wood * np.exp(-times_s / 0.025) + 0.5 * hit

    return _repeated(one, [0, gap_s, 2 * gap_s], 2 * gap_s + 0.14)


def footsteps(generator: Generator) -> np.ndarray:
    """Four to five steps on gravel: each a heel and a grinding sole."""
    count, gap_s = int(generator.integers(4, 6)), generator.uniform(0.28, 0.36)
    low_hz = generator.uniform(1000, 1500)

    def one() -> np.ndarray:
        times_s = seconds(0.2)
        grind = band(generator, len(times_s), low_hz, 4000) * np.exp(-(((times_s - 0.09) / 0.04) ** 2))
        heel = band(generator, len(times_s), 60, 250) * np.exp(-times_s / 0.03)
        return heel + 0.7 * grind * generator.uniform(0.7, 1)

    return _repeated(one, [i * gap_s for i in range(count)], count * gap_s)


def bark(generator: Generator) -> np.ndarray:
    """One bark: a harsh voice that rises and falls quickly."""
    times_s = seconds(generator.uniform(0.2, 0.28))
    place_in = times_s / times_s[-1]
    pitch_hz = generator.uniform(330, 480) * (1 + 0.5 * np.sin(np.pi * place_in**0.7) - 0.3 * place_in)
    voice = glide(pitch_hz, (1, 0.9, 0.8, 0.5, 0.3, 0.2)) + 0.5 * band(generator, len(times_s), 500, 2500)
    return voice * np.sin(np.pi * place_in**0.5) ** 2


def bird(generator: Generator) -> np.ndarray:
    """A chirping bird: three to five quick sweeps, high up."""
    count, length_s = int(generator.integers(3, 6)), generator.uniform(0.07, 0.1)
    top_hz, depth = generator.uniform(4000, 5500), generator.uniform(0.25, 0.45)

    def one() -> np.ndarray:
        place_in = np.linspace(0, 1, round(length_s * INPUT_RATE_HZ))
        return glide(top_hz * (1 - depth * place_in)) * np.sin(np.pi * place_in)

    return _repeated(one, [i * length_s * 1.25 for i in range(count)], count * length_s * 1.25)


def siren(generator: Generator) -> np.ndarray:
    """A siren that howls up and down."""
    times_s = seconds(generator.uniform(1.5, 2.0))
    low_hz, span_hz, rate_hz = generator.uniform(550, 700), generator.uniform(500, 700), generator.uniform(1.0, 1.6)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * times_s + generator.uniform(0, 6))
    return glide(low_hz + span_hz * swing, (1, 0.5, 0.3, 0.15)) * _fade(times_s)


def rain(generator: Generator) -> np.ndarray:
    """Rain: hiss, and drops that click in it."""
    times_s = seconds(generator.uniform(1.4, 2.0))
    hiss = band(generator, len(times_s), 2500, 7000)
    drops = np.zeros_like(times_s)
    for _ in range(int(times_s[-1] * generator.uniform(25, 40))):
        length = seconds(0.02)
        drop = np.sin(2 * np.pi * generator.uniform(1500, 5000) * length) * np.exp(-length / 0.004)
        place(generator.uniform(1, 4) * drop, generator.uniform(0, times_s[-1]), drops)
    return (0.8 * hiss + drops) * _fade(times_s)


def wind(generator: Generator) -> np.ndarray:
    """Wind: low noise that swells, with a howl that wanders."""
    times_s = seconds(generator.uniform(1.5, 2.0))
    gusts = 0.25 + slow_noise(generator, times_s, 2.0)
    howl_hz = 300 + 250 * slow_noise(generator, times_s, 2.0)
    howl = glide(howl_hz) * np.convolve(generator.standard_normal(len(times_s)), np.ones(200) / 14, "same")
    return gusts * (band(generator, len(times_s), 60, 450) + 0.9 * howl) * _fade(times_s)


def engine(generator: Generator) -> np.ndarray:
    """A running engine: a low buzz of many harmonics with uneven strokes."""
    times_s = seconds(generator.uniform(1.3, 1.9))
    pitch_hz = generator.uniform(55, 85) * (1 + generator.uniform(-0.1, 0.3) * times_s / times_s[-1])
    buzz = glide(pitch_hz, tuple(1 / (k + 1) ** 0.7 for k in range(16)))
    strokes = 1 + 0.5 * glide(pitch_hz / 4)
    return (buzz * strokes + 0.3 * band(generator, len(times_s), 100, 1500)) * _fade(times_s)


def clap(generator: Generator) -> np.ndarray:
    """One clap of hands: a few bursts of noise within some milliseconds."""
    times_s, low_hz = seconds(0.15), generator.uniform(900, 1300)
    out = np.zeros_like(times_s)
    for start_s in (0.0, 0.008, 0.017):
        burst = band(generator, len(times_s), low_hz, low_hz * 2.6) * np.exp(-times_s / 0.004)
        place(burst, start_s + generator.uniform(0, 0.003), out)
    return out + 0.5 * band(generator, len(times_s), low_hz, low_hz * 2.6) * np.exp(-times_s / 0.03) * (times_s > 0.02)


def glass(generator: Generator) -> np.ndarray:
    """Breaking glass: a bright crash and splinters that ring."""
    times_s = seconds(generator.uniform(0.6, 0.8))
    out = 0.9 * band(generator, len(times_s), 3000, 7500) * np.exp(-times_s / 0.05)
    for _ in range(int(generator.integers(14, 22))):
        ring_s = seconds(0.15)
        ring = np.sin(2 * np.pi * generator.uniform(2800, 7000) * ring_s) * np.exp(
            -ring_s / generator.uniform(0.01, 0.04)
        )
        place(generator.uniform(0.3, 1.0) * ring, generator.exponential(0.13), out)
    return out


def phone(generator: Generator) -> np.ndarray:
    """One ring of an old telephone: two tones beaten by the clapper."""
    times_s = seconds(generator.uniform(0.6, 0.75))
    pitch_hz, beat_hz = generator.uniform(1150, 1450), generator.uniform(18, 24)
    tones = np.sin(2 * np.pi * pitch_hz * times_s) + np.sin(2 * np.pi * 1.28 * pitch_hz * times_s)
    return tones * (0.35 + 0.65 * (np.sin(2 * np.pi * beat_hz * times_s) > 0)) * _fade(times_s)


def clock(generator: Generator) -> np.ndarray:
    """A ticking clock: dry clicks, tick and tock in turn."""
    gap_s, pitch_hz = generator.uniform(0.24, 0.3), generator.uniform(2600, 3400)
    sounds = iter(range(100))

    def one() -> np.ndarray:
        times_s, factor = seconds(0.03), 1.0 if next(sounds) % 2 else 0.75
        return np.sin(2 * np.pi * factor * pitch_hz * times_s) * np.exp(-times_s / 0.004)

    count = int(generator.integers(5, 8))
    return _repeated(one, [i * gap_s for i in range(count)], (count - 1) * gap_s + 0.05)


def whistle(generator: Generator) -> np.ndarray:
    """A referee's whistle: a trilling high tone with breath."""
    times_s = seconds(generator.uniform(0.4, 0.55))
    pitch_hz = generator.uniform(2700, 3200) * (1 + 0.03 * np.sin(2 * np.pi * generator.uniform(28, 38) * times_s))
    return (glide(pitch_hz) + 0.15 * band(generator, len(times_s), 2000, 6000)) * _fade(times_s)


def drum(generator: Generator) -> np.ndarray:
    """One beat of a large drum: a low tone that sinks."""
    times_s, pitch_hz = seconds(0.4), generator.uniform(65, 100)
    skin = glide(pitch_hz * (1 + 0.9 * np.exp(-times_s / 0.03))) * np.exp(-times_s / 0.12)
    return skin + 0.25 * band(generator, len(times_s), 100, 700) * np.exp(-times_s / 0.01)


def _fade(times_s: np.ndarray) -> np.ndarray:
    """Return gains [T] that rise and fall over 30 ms."""
    return np.clip(np.minimum(times_s, times_s[-1] - times_s) / 0.03, 0, 1)


EVENTS: dict[str, SoundEvent] = {
    event.name: event
    for event in (
        SoundEvent("bell", "a bell", "a bell rings", True, bell),
        SoundEvent("alarm", "an alarm", "an alarm beeps", False, alarm),
        SoundEvent("knock", "a knock", "there is a knock", False, knock),
        SoundEvent("footsteps", "footsteps", "footsteps pass", False, footsteps),
        SoundEvent("dog", "a dog", "a dog barks", True, bark),
        SoundEvent("bird", "a bird", "a bird sings", True, bird),
        SoundEvent("siren", "a siren", "a siren howls", False, siren),
        SoundEvent("rain", "rain", "rain falls", False, rain),
        SoundEvent("wind", "wind", "wind blows", False, wind),
        SoundEvent("engine", "an engine", "an engine runs", False, engine),
        SoundEvent("clap", "a clap", "there is a clap", True, clap),
        SoundEvent("glass", "breaking glass", "glass breaks", True, glass),
        SoundEvent("phone", "a phone", "a phone rings", True, phone),
        SoundEvent("clock", "a clock", "a clock ticks", False, clock),
        SoundEvent("whistle", "a whistle", "a whistle blows", True, whistle),
        SoundEvent("drum", "a drum", "a drum beats", True, drum),
    )
}
