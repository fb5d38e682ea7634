"""Recordings of sound events in a row, and of places: layers of lasting sounds with events of the place in them."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kimi_audio.core.units import INPUT_RATE_HZ
from recipes.nano.closed.sounds import EVENTS, Generator, band, glide, place, seconds, slow_noise

LEVEL_DB = -20.0  # root mean square of the loudest 100 ms of every event
FLOOR_DB = (-65.0, -45.0)  # of the noise below the events
GAPS_S = (0.25, 0.5)  # of silence: three to six tokens
MARGINS_S = (0.1, 0.3)
SCENE_S = (3.0, 4.0)
PEAK = 0.95


@dataclass(frozen=True)
class Clip:
    """A recording without speech: events in a row, or a scene; ``seed`` fixes everything else."""

    seed: str
    events: tuple[str, ...] = ()
    scene: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the encoders can learn to hear in it, see phonemes.py."""
        return (self.scene,) if self.scene else self.events


def render_clip(clip: Clip) -> np.ndarray:
    """Return float32 samples at 16 kHz; the same clip gives the same samples."""
    generator = np.random.default_rng([zlib.crc32(clip.seed.encode()), zlib.crc32(repr(clip.labels).encode())])
    sound = _scene(clip.scene, generator) if clip.scene else _sequence(clip.events, generator)
    return (sound / max(1.0, np.abs(sound).max() / PEAK)).astype(np.float32)


def _sequence(names: tuple[str, ...], generator: Generator) -> np.ndarray:
    pieces = [np.zeros(round(generator.uniform(*MARGINS_S) * INPUT_RATE_HZ))]
    for index, name in enumerate(names):
        if index:
            pieces.append(np.zeros(round(generator.uniform(*GAPS_S) * INPUT_RATE_HZ)))
        pieces.append(_levelled(EVENTS[name].render(generator)) * 10 ** (generator.uniform(-5, 2) / 20))
    pieces.append(np.zeros(round(generator.uniform(*MARGINS_S) * INPUT_RATE_HZ)))
    sound = np.concatenate(pieces)
    floor = 10 ** (generator.uniform(*FLOOR_DB) / 20)
    return sound + floor * generator.standard_normal(len(sound))


def _levelled(sound: np.ndarray) -> np.ndarray:
    """Bring the loudest 100 ms of an event to ``LEVEL_DB``: short and long ones are then equally loud."""
    span = INPUT_RATE_HZ // 10
    energy = np.concatenate([[0.0], np.cumsum(np.pad(sound, (0, span)) ** 2)])
    return sound * 10 ** (LEVEL_DB / 20) / np.sqrt((energy[span:] - energy[:-span]).max() / span)


def _scene(name: str, generator: Generator) -> np.ndarray:
    times_s = seconds(generator.uniform(*SCENE_S))
    sound = SCENES[name](generator, times_s)
    return sound * 10 ** (LEVEL_DB / 20) / np.sqrt((sound**2).mean())


def _scatter(
    into: np.ndarray, generator: Generator, sound: Callable[[], np.ndarray], per_s: float, level: float
) -> None:
    """Add a sound at random times, at least once."""
    length_s = len(into) / INPUT_RATE_HZ
    for _ in range(max(1, generator.poisson(per_s * length_s))):
        piece = sound()
        place(
            level * generator.uniform(0.5, 1) * piece / np.abs(piece).max(), generator.uniform(0, length_s - 0.3), into
        )


def _street(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """Traffic that passes, a horn, steps."""
    passing = 0.4 + slow_noise(generator, times_s, 0.8)
    out = passing * band(generator, len(times_s), 50, 700)
    _scatter(out, generator, lambda: EVENTS["engine"].render(generator), 0.5, 3.0)
    horn_s = seconds(generator.uniform(0.25, 0.5))
    horn = glide(np.full(len(horn_s), generator.uniform(380, 450)), (1, 0.8, 0.6, 0.4))
    _scatter(out, generator, lambda: horn, 0.4, 2.5)
    _scatter(out, generator, lambda: EVENTS["footsteps"].render(generator), 0.3, 1.0)
    return out


def _kitchen(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """Frying, dishes, and the hum of the refrigerator."""
    out = 0.5 * band(generator, len(times_s), 3000, 7000) * (0.7 + 0.6 * slow_noise(generator, times_s, 12))
    out += 0.4 * glide(np.full(len(times_s), generator.choice([100.0, 120.0])), (1, 0.5, 0.3))

    def dish() -> np.ndarray:
        ring_s = seconds(0.25)
        pitches_hz = generator.uniform(1500, 3800, 3)
        return (np.sin(2 * np.pi * pitches_hz[:, None] * ring_s) * np.exp(-ring_s / 0.05)).sum(0)

    _scatter(out, generator, dish, 2.0, 4.0)
    return out


def _forest(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """Birds, far and near, and leaves in the wind."""
    out = 0.3 * band(generator, len(times_s), 400, 2500) * (0.3 + slow_noise(generator, times_s, 1.5))
    _scatter(out, generator, lambda: EVENTS["bird"].render(generator), 2.0, 2.5)
    low_hz = generator.uniform(500, 650)
    cuckoo = np.concatenate([np.full(2500, low_hz * 1.25), np.full(4000, low_hz)])
    _scatter(out, generator, lambda: glide(cuckoo) * np.hanning(6500) ** 0.5, 0.4, 1.0)
    return out


def _office(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """Typing, the hum of a fan, now and then a phone."""
    out = 0.15 * band(generator, len(times_s), 80, 900)
    out += 0.15 * glide(np.full(len(times_s), generator.uniform(180, 260)))

    def key() -> np.ndarray:
        key_s = seconds(0.04)
        return band(generator, len(key_s), 1500, 5000) * np.exp(-key_s / 0.006)

    _scatter(out, generator, key, 9.0, 2.5)
    if generator.random() < 0.5:
        _scatter(out, generator, lambda: EVENTS["phone"].render(generator), 0.2, 0.8)
    return out


def _station(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """A three-tone chime, wheels over rail joints, a large hall."""
    out = 0.5 * band(generator, len(times_s), 150, 900)
    joint_s, start_s = generator.uniform(0.45, 0.6), generator.uniform(0, 0.5)

    def wheels() -> np.ndarray:
        clack_s = seconds(0.2)
        click = band(generator, len(clack_s), 200, 1500)
        return click * (np.exp(-clack_s / 0.02) + np.roll(np.exp(-clack_s / 0.02), 1700) * (clack_s > 0.106))

    for time_s in np.arange(start_s, times_s[-1], joint_s):
        place(2.0 * wheels(), time_s, out)
    tone_s, base_hz = seconds(0.35), generator.uniform(480, 560)
    tones = [np.sin(2 * np.pi * base_hz * ratio * tone_s) * np.exp(-tone_s / 0.25) for ratio in (1.5, 1.25, 1.0)]
    place(3.0 * np.concatenate(tones), generator.uniform(0.2, times_s[-1] - 1.3), out)
    return out


def _beach(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """Waves that break and draw back, and gulls."""
    wave_s, phase = generator.uniform(1.4, 2.2), generator.uniform(0, 1)
    place_in = (times_s / wave_s + phase) % 1
    swell = np.minimum(place_in / 0.25, ((1 - place_in) / 0.75) ** 2)
    out = (0.15 + swell) * band(generator, len(times_s), 250, 4000)

    def gull() -> np.ndarray:
        call = np.linspace(0, 1, round(generator.uniform(0.25, 0.4) * INPUT_RATE_HZ))
        pitch_hz = generator.uniform(1300, 1700) * (1 + 0.35 * np.sin(np.pi * call))
        return glide(pitch_hz, (1, 0.7, 0.4, 0.2)) * np.sin(np.pi * call)

    _scatter(out, generator, gull, 0.8, 1.5)
    return out


def _factory(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """A press that stamps in time, steam, and machines that whine."""
    out = 0.3 * glide(np.full(len(times_s), generator.uniform(90, 130)), tuple(1 / (k + 1) ** 0.5 for k in range(20)))

    def stamp() -> np.ndarray:
        hit_s = seconds(0.3)
        metal = sum(np.sin(2 * np.pi * f * hit_s) for f in (310, 823, 1370, 2210))
        return (metal + band(generator, len(hit_s), 60, 500)) * np.exp(-hit_s / 0.06)

    gap_s = generator.uniform(0.5, 0.75)
    for time_s in np.arange(generator.uniform(0, gap_s), times_s[-1], gap_s):
        place(1.0 * stamp(), time_s, out)
    steam_s = seconds(generator.uniform(0.3, 0.5))
    _scatter(out, generator, lambda: band(generator, len(steam_s), 4000, 7500) * np.hanning(len(steam_s)), 0.6, 2.0)
    return out


def _concert(generator: Generator, times_s: np.ndarray) -> np.ndarray:
    """A band that plays chords to a beat, and applause."""
    beat_s, out = generator.uniform(0.4, 0.55), np.zeros_like(times_s)
    root_hz = generator.uniform(200, 280)
    chord_s = seconds(2 * beat_s)
    for start_s in np.arange(0, times_s[-1], 2 * beat_s):
        degree = 2 ** (generator.choice([0, 5, 7, 9]) / 12)
        notes = [root_hz * degree * 2 ** (step / 12) for step in (0, 4, 7)]
        chord = sum(glide(np.full(len(chord_s), note), (1, 0.6, 0.4, 0.2)) for note in notes)
        place(0.6 * chord * np.exp(-chord_s / (2 * beat_s)), start_s, out)
    for time_s in np.arange(0, times_s[-1], beat_s):
        place(2.0 * EVENTS["drum"].render(generator), time_s, out)
    _scatter(out, generator, lambda: EVENTS["clap"].render(generator), 8.0, 0.7)
    return out


Scene = Callable[[Generator, np.ndarray], np.ndarray]
SCENES: dict[str, Scene] = {
    "street": _street,
    "kitchen": _kitchen,
    "forest": _forest,
    "office": _office,
    "station": _station,
    "beach": _beach,
    "factory": _factory,
    "concert": _concert,
}
