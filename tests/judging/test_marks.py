"""What a map marks: the right share of the picture, ties broken by nearness, nothing of a map's scale."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.judging.marks import CELLS, blurred, cells_of, centred, kept_and_taken, marked, says_nothing


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.1, 0.25, 0.5]), side=st.integers(4, 20))
def test_as_large_a_share_is_marked_as_asked(seed, share, side):
    """Also of a map that is mostly zero, whose ties would otherwise mark all or nothing."""
    heat = torch.rand(side, side, generator=torch.Generator().manual_seed(seed))
    heat = heat * (heat > 0.8)
    heat[0, 0] = 1.0
    (mask,) = marked(cells_of(heat), (48, 64), (share,))
    assert mask.float().mean().item() == pytest.approx(share, abs=0.05)


def test_ties_go_to_what_is_near():
    heat = torch.zeros(8, 8)
    heat[1, 1] = 1.0
    (mask,) = marked(cells_of(heat), (64, 64), (0.25,))
    assert mask[:24, :24].float().mean() > 0.9
    assert not mask[40:].any() and not mask[:, 40:].any()


def test_a_finer_map_is_averaged_and_a_scale_does_not_matter():
    heat = torch.rand(90, 120)
    cells = cells_of(heat)
    assert cells.shape == (CELLS, CELLS)
    assert torch.allclose(cells, cells_of(heat * 37))
    assert cells_of(torch.rand(5, 7)).shape == (5, 7)


def test_what_speaks_against_the_target_is_left_out():
    assert says_nothing(cells_of(-torch.rand(4, 4)))
    assert says_nothing(cells_of(torch.ones(4, 4)))
    assert not says_nothing(centred(torch.zeros(4, 4)))


def test_kept_and_taken_complete_each_other():
    image = torch.rand(1, 3, 32, 32)
    masks = marked(centred(torch.zeros(7, 7)), (32, 32), (0.25, 0.5))
    pictures = kept_and_taken(image, masks)
    assert pictures.shape == (4, 3, 32, 32)
    kept, taken = pictures[:2], pictures[2:]
    assert torch.allclose(kept + taken, (image + blurred(image)).expand(2, -1, -1, -1))
    assert torch.equal(kept[0][:, masks[0]], image[0][:, masks[0]])
