"""Mosaics: what is where, and what can't be made."""

from __future__ import annotations

import pytest
import torch

from limelight.errors import MetricError
from limelight.evaluation.localisation import focus
from limelight.evaluation.mosaics import mosaics

CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
X = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 3, 4, 5)


@pytest.mark.parametrize("own", [1, 2])
def test_every_tile_is_where_it_is_said_to_be_and_the_mask_marks_the_class(own):
    made = mosaics(X, CLASSES, own)
    assert made.images.shape == (6, 3, 8, 10)
    for i in range(6):
        corners = [made.images[i, 0, y, x] for y in (0, 7) for x in (0, 9)]
        assert [int(c) for c in corners] == made.tiles[i].tolist()
        marked = [bool(made.masks[i, y, x]) for y in (0, 7) for x in (0, 9)]
        assert marked == [int(CLASSES[t]) == int(CLASSES[i]) for t in made.tiles[i]]
        assert i in made.tiles[i].tolist()
        assert sum(marked) == own
        assert len(set(made.tiles[i].tolist())) == 4


def test_by_chance_focus_is_the_share_of_the_tiles():
    made = mosaics(X, CLASSES, 2)
    torch.testing.assert_close(focus(torch.ones(6, 8, 10), made.masks), torch.full((6,), 0.5))


def test_what_can_not_be_made_is_told():
    with pytest.raises(MetricError, match="takes 2 more of class 0 and 1 of others, and there are 1 and 4"):
        mosaics(X, CLASSES, 3)
    with pytest.raises(MetricError, match="1 to 3 show its class"):
        mosaics(X, CLASSES, 4)
