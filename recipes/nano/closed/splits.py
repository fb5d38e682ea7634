"""What is kept for evaluation: a fixed tenth of everything that can be said, found by a hash and by nothing else."""

import hashlib

RESERVED_PERCENT = 10


def is_reserved(key: str) -> bool:
    """Tell whether ``key`` belongs to the tenth that no training set may contain.

    The key of a general sentence is its transcript (``text.normalise``). The key of a spoken question is the
    phrasing together with the facts asked about (``QAItem.key``): a reserved question was never heard in training,
    although the same fact was asked in other words. So these sets measure unseen questions, not unseen facts.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < RESERVED_PERCENT
