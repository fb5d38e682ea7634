"""Times of tokens from where the LLM looks."""

import numpy as np
import pytest
import torch

from kimi_audio.transcript.alignment import standardised, starts_of_path, token_starts, walk_scores


def walking(starts: list[int], columns: int, sharpness: float = 5.0) -> torch.Tensor:
    """Return a map [R, N] whose rows look at the sound of their token, which lasts until the next one begins."""
    ends = [*starts[1:], columns]
    rows = torch.zeros(len(starts), columns)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        rows[row, start:end] = sharpness
    return rows.softmax(-1)


def test_a_head_that_walks_tells_where_tokens_begin():
    starts = [0, 3, 4, 9, 15]
    assert token_starts(walking(starts, 20)[None]) == starts


def test_heads_that_walk_are_found_among_others():
    noise = torch.rand(40, 5, 20, generator=torch.Generator().manual_seed(0)).mul(4).softmax(-1)
    starts = [0, 3, 8, 9, 15]
    fixed = torch.zeros(5, 20)
    fixed[:, 7] = 9.0  # a head that always looks at the same place tells nothing
    back = walking(starts, 20).flip(0)  # nor does one that walks backwards
    fixed, walks = fixed.softmax(-1).expand(10, -1, -1), walking(starts, 20).expand(6, -1, -1)
    maps = torch.cat([noise, fixed, back[None], walks])
    assert token_starts(maps) == starts
    scores = walk_scores(standardised(maps))
    assert set(scores.topk(6).indices.tolist()) == set(range(51, 57))


def test_what_all_rows_look_at_counts_for_nothing():
    sink = torch.zeros(3, 6)
    sink[:, 0] = 3.0
    starts = [0, 2, 4]
    scores = walking(starts, 6) + sink.softmax(-1)
    assert token_starts(scores[None]) == starts


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (4, 4), (9, 3), (3, 9)])
def test_paths_never_go_back(rows: int, columns: int):
    scores = np.random.default_rng(rows * 10 + columns).standard_normal((rows, columns))
    starts = starts_of_path(scores)
    assert len(starts) == rows
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] < columns
