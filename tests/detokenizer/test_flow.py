import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from kimi_audio.core.config import Solver
from kimi_audio.detokenizer.flow import TIMESTEPS, integrate, interpolate, time_grid


def test_time_grid_is_the_official_one():
    times = [time for time, _ in time_grid(30)]
    assert times[:6] == [0, 34, 68, 103, 137, 172]
    assert times[-3:] == [896, 931, 965]
    assert [time for time, _ in time_grid(15)][7] == 499  # exact arithmetic would give 500


@pytest.mark.parametrize("points", [2, 7, 30])
def test_steps_reach_the_end(points: int):
    assert sum(step for _, step in time_grid(points)) == pytest.approx(1, abs=1e-6)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="ode_steps"):
        time_grid(1)


@pytest.mark.parametrize("solver", get_args(Solver))
def test_true_velocity_leads_to_the_mel(solver: Solver):
    mel, noise = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    _, velocity = interpolate(mel, noise, torch.zeros(2, 1, 1))
    torch.testing.assert_close(integrate(lambda x, time: velocity, noise, 10, solver), mel, atol=1e-3, rtol=0)


def test_euler_is_a_power():
    """x' = -x by steps of 1 / n multiplies by 1 - 1 / n each time."""
    x = integrate(lambda x, time: -x, torch.ones(1, 1, 1), 11)
    assert float(x) == pytest.approx(0.9**10, rel=1e-6)


def test_adams_bashforth_follows_its_recurrence():
    """x' = -x: x[k + 1] = (1 - 1.5 h) x[k] + 0.5 h x[k - 1], a sum of powers of the two roots of its polynomial."""
    h, steps = 0.1, 10
    middle, root = (1 - 1.5 * h) / 2, math.sqrt((1 - 1.5 * h) ** 2 / 4 + 0.5 * h)
    large, small = middle + root, middle - root
    share = (1 - h - small) / (large - small)  # so that x[0] = 1, and x[1] = 1 - h as Euler makes it
    x = integrate(lambda x, time: -x, torch.ones(1, 1, 1), steps + 1, "adams-bashforth")
    assert float(x) == pytest.approx(share * large**steps + (1 - share) * small**steps, rel=1e-6)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("adams-bashforth", 2)])
def test_order_of_convergence(solver: Solver, order: int):
    """Half the step divides the error by two to the power of the order."""

    def error(steps: int) -> float:
        x = integrate(lambda x, time: -2 * x, torch.ones(1, 1, 1, dtype=torch.float32), steps + 1, solver)
        return abs(float(x) - math.exp(-2))

    assert math.log2(error(40) / error(80)) == pytest.approx(order, abs=0.1)


def test_time_reaches_the_velocity():
    """x' = t, as the network is told it: steps of equal length add up the times."""
    asked: list[int] = []

    def velocity(x: Tensor, time: int) -> Tensor:
        asked.append(time)
        return torch.full_like(x, time / TIMESTEPS)

    x = integrate(velocity, torch.zeros(1, 1, 1), 6, "adams-bashforth")
    assert asked == [0, 200, 400, 600, 800]
    assert float(x) == pytest.approx(0.48, abs=1e-6)  # the integral up to 1 is 0.5; the first step saw no slope


def test_path_is_straight_from_noise_to_mel():
    mel, noise = torch.randn(1, 6, 4), torch.randn(1, 6, 4)
    start, velocity = interpolate(mel, noise, torch.tensor(0))
    end, _ = interpolate(mel, noise, torch.tensor(1000))
    torch.testing.assert_close(start, noise)
    torch.testing.assert_close(end, start + velocity)
