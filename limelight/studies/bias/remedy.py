"""Taking a bias away from the training pictures, in either of two ways.

``weights`` rebalances: pictures weigh so that a finding goes with no class any more (as in Selvaraju et al. 2017,
section 6.3, where the data were balanced by hand). ``counterparts`` augments: each picture once more, with the finding
taken out where it was and put in where it was not, so that the two say nothing of the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from limelight.errors import InputError

if TYPE_CHECKING:
    from limelight.studies.bias.edits import Pixels
    from limelight.studies.bias.findings import Finding


def weights(finding: Finding, limit: float = 20.0) -> np.ndarray:
    """(n,) weights, 1 on average, under which the finding is as common in its class as in the others.

    n is the number of pictures that were audited, in their order. No picture weighs more than ``limit`` times another
    of its class, so that a few exceptions don't speak for all.
    """
    candidate = finding.candidate
    own = candidate.labels == candidate.label
    found = np.ones(len(own))
    for kind in (own, ~own):
        share = candidate.present[kind].mean()
        if 0 < share < 1:
            ratio = np.clip(share / (1 - share), 1 / limit, limit)  # of what a picture without it weighs to one with it
            found[kind & ~candidate.present] = ratio
        found[kind] *= kind.sum() / found[kind].sum()
    return found


def counterparts(finding: Finding, seed: int = 0) -> Iterator[tuple[int, Pixels]]:
    """Each audited picture's number and its other version: (height, width, 3) uint8.

    A picture that bears the finding comes without it, and one that does not comes with it. Raises InputError for a
    finding that no edit of a picture can take away (a file's metadata).
    """
    candidate, rng = finding.candidate, np.random.default_rng(seed)
    edit = candidate.edit
    if edit is None:
        raise InputError(f"The {finding.name} can't be edited into pictures: save all files alike, or rebalance.")
    for i, bears in enumerate(candidate.present):
        changed, _ = edit.remove(i, rng) if bears else edit.insert(i, rng)
        yield i, changed
