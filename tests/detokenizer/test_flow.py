import pytest
import torch

from kimi_audio.detokenizer.flow import integrate, interpolate, time_grid


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


def test_true_velocity_leads_to_the_mel():
    mel, noise = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    _, velocity = interpolate(mel, noise, torch.zeros(2, 1, 1))
    torch.testing.assert_close(integrate(lambda x, time: velocity, noise, 10), mel, atol=1e-3, rtol=0)


def test_path_is_straight_from_noise_to_mel():
    mel, noise = torch.randn(1, 6, 4), torch.randn(1, 6, 4)
    start, velocity = interpolate(mel, noise, torch.tensor(0))
    end, _ = interpolate(mel, noise, torch.tensor(1000))
    torch.testing.assert_close(start, noise)
    torch.testing.assert_close(end, start + velocity)
