"""Single rows in bfloat16, multiplied by a compiled loop."""

import pytest
import torch
from torch import nn

from kimi_audio.nn import row_product as module
from kimi_audio.nn.row_product import Linear, int8_row_product, row_product, suits_int8


def drawn(rows: int, columns: int, bias: bool = True) -> Linear:
    layer = Linear(columns, rows, bias=bias)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(rows))
    return layer.bfloat16()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (40, 66), (7, 1000)])
def test_products_are_those_of_exact_sums(shape: tuple[int, int], bias: bool):
    layer, x = drawn(*shape, bias), torch.randn(1, 1, shape[1]).bfloat16()
    exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    found = row_product(x, layer.weight, layer.bias)
    assert found.shape == (1, 1, shape[0])
    torch.testing.assert_close(found, exact.bfloat16(), atol=1e-3, rtol=2**-7)


def test_what_is_broken_is_seen():
    layer, x = drawn(4, 8), torch.ones(8).bfloat16()
    layer.weight.data[1, 3], layer.weight.data[2, 4] = torch.nan, torch.inf
    assert row_product(x, layer.weight, None).isfinite().tolist() == [True, False, False, True]


def test_the_loop_takes_single_rows_of_large_matrices_where_nothing_is_learned(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(module, "row_product", lambda x, *_: asked.append(x.shape) or x)
    layer, one, two = drawn(512, 256), torch.ones(1, 1, 256).bfloat16(), torch.ones(2, 256).bfloat16()
    layer(one)  # it may be learned
    with torch.no_grad():
        layer(two)
        drawn(64, 256)(one)
        drawn(512, 257)(torch.ones(257).bfloat16())
        layer.float()(one.float())
        layer.bfloat16()
        assert asked == []
        layer(one)
        assert asked == [one.shape]
        monkeypatch.setattr(torch, "get_num_threads", lambda: module.MOST_THREADS + 1)
        layer(one)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        monkeypatch.setattr(module, "can_compile", lambda: False)
        layer(one)
    assert len(asked) == 1


@pytest.mark.parametrize("shape", [(3, 4), (40, 64), (7, 1000)])
def test_products_at_8_bits_are_exact_but_for_the_order_of_sums(shape: tuple[int, int]):
    codes = torch.randint(-128, 128, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    codes[0, :4] = torch.tensor([-128, 127, -1, 1])
    x = torch.randn(1, shape[1]).bfloat16()
    exact = nn.functional.linear(x.double(), codes.double())
    torch.testing.assert_close(int8_row_product(x, codes).double(), exact, atol=2e-2, rtol=1e-5)


def test_small_matrices_and_odd_ones_are_left_to_torch():
    assert suits_int8(torch.zeros(2048, 512, dtype=torch.int8))
    assert not suits_int8(torch.zeros(2595, 256, dtype=torch.int8))  # the heads of nano
    assert not suits_int8(torch.zeros(2048, 514, dtype=torch.int8))
    assert not suits_int8(torch.zeros(512, 2048, dtype=torch.int8).T)
    assert not suits_int8(torch.zeros(2048 * 512 + 2, dtype=torch.int8)[2:].view(2048, 512))
