"""The audit of early stopping: which trials run on where the rule would end them, so that the rule can be judged."""

from __future__ import annotations

import hashlib


def is_audited(seed: int, arm: str, number: int, share: float) -> bool:
    """Whether a trial is audited: a draw of its own for every trial, independent of the sampler's.

    The draw is the trial's, whatever the share: who is audited at a small share also is at a larger one, so that an
    amended share takes no trial out.

    Args:
        seed: Seed of the search.
        arm: Name of the arm, so that arms do not draw alike.
        number: 0-based number of the trial within the arm.
        share: Probability in 0..1.
    """
    digest = hashlib.sha256(f"audit/{seed}/{arm}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
