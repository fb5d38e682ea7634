"""Flow matching (Lipman et al., 2023) along straight lines from Gaussian noise to a normalised log-mel.

Shapes: B batch, T frames, M mel bins. Time runs from 0 (noise) to 1 (mel); networks see it as an integer in 0 ... 999.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kimi_audio.core.config import Solver

TIMESTEPS = 1000
SIGMA_MIN = 1e-4  # the noise that remains at time 1


def time_grid(points: int) -> list[tuple[int, float]]:
    """Return the integer time and the step size of each of the ``points - 1`` steps.

    Time accumulates in float32, as in the solver of the official package; exact fractions would truncate to other
    integers for some numbers of points (499 instead of 500 in the middle of 15).
    """
    if points < 2:
        raise ValueError(f"ode_steps must be at least 2 grid points, not {points}")
    span = torch.linspace(0, 1, points, device="cpu")
    time, steps = span[0], []
    for target in span[1:]:
        step = target - time
        steps.append((int(TIMESTEPS * time), float(step)))
        time = time + step
    return steps


def integrate(
    velocity: Callable[[Tensor, int], Tensor], noise: Tensor, points: int, solver: Solver = "euler"
) -> Tensor:
    """Follow the velocity from the noise to the mel; the state stays in float32, and each step asks for one velocity.

    Args:
        velocity: maps the state [B, T, M] and the integer time to its change per unit of time [B, T, M].
        noise: the start [B, T, M].
        points: grid points of time, so ``points - 1`` steps.
        solver: "euler", of first order, as in the official package; or "adams-bashforth", of second order, which
            continues the velocity along the line through the last two. Its first step is Euler's.
    """
    x, last = noise.float(), None
    for time, step in time_grid(points):
        now = velocity(x, time)
        slope = now if last is None or solver == "euler" else 1.5 * now - 0.5 * last
        x, last = x + step * slope, now
    return x


def interpolate(mel: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Return a point on the way from the noise to the mel, and the velocity there, which is what training predicts.

    Args:
        mel: normalised log-mel [B, T, M].
        noise: standard normal [B, T, M].
        time: integers in 0 ... 999, broadcastable to the mel, for example [B, 1, 1].
    """
    fraction = time / TIMESTEPS
    return fraction * mel + (1 - (1 - SIGMA_MIN) * fraction) * noise, mel - (1 - SIGMA_MIN) * noise
