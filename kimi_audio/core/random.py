"""Random numbers that follow from a seed and a number, such as that of a step, and from nothing else."""

import torch

_PRIME = 1_000_003  # farther apart than the numbers of one seed go


def generator_of(seed: int, number: int) -> torch.Generator:
    """Return the generator of one numbered thing of a run."""
    return torch.Generator().manual_seed(seed * _PRIME + number)
