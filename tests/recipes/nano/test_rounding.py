"""Matrices at 4 bits that are rounded for what enters them."""

import torch
from torch import Tensor, nn

from kimi_audio.core.quantized import Int4, quantise_int4
from recipes.nano.rounding import measured, rounded


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]))


def test_inputs_that_go_together_make_up_for_each_others_errors():
    weight, inputs = drawn(48, 64), drawn(500, 8) @ drawn(8, 64) + 0.1 * drawn(501, 64)[:500]

    def error(matrix: Int4) -> float:
        return float((inputs @ (matrix.dequantised() - weight).T).norm() / (inputs @ weight.T).norm())

    found = rounded(weight, inputs.double().T @ inputs.double())
    assert found.shape == weight.shape
    assert error(found) < 0.6 * error(quantise_int4(weight))


def test_inputs_that_have_nothing_to_do_with_each_other_change_nothing():
    weight = drawn(16, 96)
    found, plain = rounded(weight, torch.eye(96, dtype=torch.float64)), quantise_int4(weight)
    assert torch.equal(found.codes, plain.codes)
    assert torch.equal(found.groups, plain.groups)


def test_an_input_that_is_never_there_is_no_obstacle():
    moments = torch.zeros(32, 32, dtype=torch.float64)
    assert torch.isfinite(rounded(drawn(16, 32), moments).dequantised()).all()


def test_what_enters_a_layer_is_measured_as_long_as_it_is_asked_for():
    layers, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), drawn(2, 5, 4)
    with measured(layers, ["0.weight"]) as moments:
        layers(x)
        layers(x[:1])
    layers(x)
    rows = torch.cat((x, x[:1])).flatten(0, 1).double()
    torch.testing.assert_close(moments, {"0.weight": rows.T @ rows})
