"""When each token of a transcript is said, from where the LLM looks while it writes it.

The LLM has no cross-attention and was taught no times; but to write a word it has to look at the sound of it, so some
of its heads walk along the audio from left to right. Which heads do differs from checkpoint to checkpoint. They are
found for each transcript anew: those along whose attention the best walk from left to right collects the most. This is
the method of Whisper's word times, with the choice of heads made from the data instead of a table.

Shapes: T positions, H heads, R rows (one per token, and one for the end of the text), N audio tokens of 80 ms.
"""

import numpy as np
import torch
from torch import Tensor

from kimi_audio.core.sequence import Sequence
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.lm.attention_maps import attention_maps
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.transcript.timed_text import Word
from kimi_audio.transcript.timed_words import words_of

NUM_HEADS = 6
TOKEN_S = SAMPLES_PER_TOKEN / INPUT_RATE_HZ


def word_times(lm: AudioLM, tokenizer: TextTokenizer, prompt: Sequence, text: str) -> list[Word]:
    """Return the words of a transcript with their times, in seconds from the beginning of the audio.

    Args:
        lm: the LLM that wrote it.
        tokenizer: of its text.
        prompt: [T] what it was asked; all its continuous positions are the audio.
        text: what it wrote.
    """
    ids = tokenizer.encode(text)
    columns = prompt.is_continuous.nonzero()[:, 0]
    room = lm.config.max_positions - len(prompt)
    if not ids or not len(columns) or len(ids) > room:
        return []
    rows = torch.arange(len(prompt) - 1, len(prompt) + len(ids))  # a position writes what comes after it
    maps = attention_maps(lm, _continued(prompt, ids, tokenizer.special.blank), rows, columns)
    stream = tokenizer.decode_stream()
    return words_of([stream.push(id_) for id_ in ids], [TOKEN_S * start for start in token_starts(maps)])


def _continued(prompt: Sequence, text_ids: list[int], blank_id: int) -> Sequence:
    """Return the prompt with a reply in text."""
    more = torch.tensor(text_ids)
    return Sequence(
        torch.cat([prompt.audio_ids, torch.full_like(more, blank_id)]),
        torch.cat([prompt.text_ids, more]),
        torch.cat([prompt.is_continuous, torch.zeros_like(more, dtype=torch.bool)]),
        prompt.features,
    )


def token_starts(maps: Tensor) -> list[int]:
    """Return, for every row, the audio token at which it begins: [R] numbers that never fall.

    Args:
        maps: [H, R, N] attention of the position that writes a token onto the audio.
    """
    standard = standardised(maps)
    chosen = walk_scores(standard).topk(min(NUM_HEADS, len(standard))).indices
    return starts_of_path(standard[chosen].mean(0).numpy())


def standardised(maps: Tensor) -> Tensor:
    """Return [H, R, N] maps in which an audio token that all rows look at equally stands for nothing."""
    shares = maps / maps.sum(-1, keepdim=True).clamp_min(1e-9)
    spread, centre = torch.std_mean(shares, dim=1, keepdim=True, correction=0)
    return (shares - centre) / (spread + 1e-3)


def walk_scores(maps: Tensor) -> Tensor:
    """Return [H]: what the best walk through each map that never goes left collects, per row."""
    best = maps[:, 0]
    for row in range(1, maps.shape[1]):
        best = maps[:, row] + best.cummax(-1).values
    return best.amax(-1) / maps.shape[1]


def starts_of_path(scores: np.ndarray) -> list[int]:
    """Return where each row of scores [R, N] begins on the best path by dynamic time warping.

    A path begins with the first row and the first column, ends with the last of both, and at every step goes on by a
    column, by a row, or by both.
    """
    rows, columns = scores.shape
    total = np.full((rows + 1, columns + 1), -np.inf)
    total[0, 0] = 0.0
    came = np.zeros((rows + 1, columns + 1), np.int8)
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            before = total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]
            came[row, column] = int(np.argmax(before))
            total[row, column] = scores[row - 1, column - 1] + before[came[row, column]]
    starts = [0] * rows
    row, column = rows, columns
    while row > 0 and column > 0:
        starts[row - 1] = column - 1
        step = came[row, column]
        row, column = row - (step != 2), column - (step != 1)
    return starts
