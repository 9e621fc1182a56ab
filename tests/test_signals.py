"""signals.py: a signal as a trace on its map, a volume as slices and as an animation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import limelight as ll
from limelight import signals
from limelight.errors import InputError
from tests.grid.transformers import Signal, Volume


def heat_at(place: int, length: int = 100) -> np.ndarray:
    return np.exp(-(((np.arange(length) - place) / 4.0) ** 2)).astype(np.float32)


def colourfulness(picture: Image.Image) -> np.ndarray:
    """How far each column's background is from grey."""
    pixels = np.asarray(picture, dtype=float)
    return np.median(pixels.max(axis=2) - pixels.min(axis=2), axis=0)


@pytest.mark.parametrize("place", [20, 75])
def test_a_trace_is_coloured_where_the_evidence_lies(place):
    picture = signals.trace(np.random.default_rng(0).normal(size=(2, 100)), heat_at(place))
    assert picture.size == (signals.WIDTH, 2 * signals.LANE)
    assert abs(colourfulness(picture).argmax() / signals.WIDTH * 100 - place) < 6
    assert colourfulness(picture)[0] == 0, "without evidence the paper stays white"


def test_a_montage_holds_the_slice_with_the_most_evidence():
    volume, heat = np.zeros((1, 40, 8, 8)), np.zeros((40, 8, 8))
    heat[17] = 1
    drawn = []
    original = signals.contact_sheet
    try:
        signals.contact_sheet = lambda tiles, **look: drawn.extend(tiles) or original(tiles, **look)
        signals.montage(volume, heat)
    finally:
        signals.contact_sheet = original
    captions = [caption for _, caption in drawn]
    assert "slice 18 of 40" in captions
    assert len(captions) <= signals.SLICES


def test_all_slices_share_one_scale():
    volume = np.stack([np.full((1, 8, 8), level, dtype=float) for level in (0.0, 0.5, 1.0)], axis=1)
    found = signals.slices(volume, np.zeros((3, 8, 8)))
    levels = [int(np.asarray(picture).mean()) for picture in found]
    assert levels == [0, 128, 255]


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_explanations_of_signals_and_volumes_draw_themselves(tmp_path):
    signal = ll.explain(Signal(), torch.randn(2, 2, 64))
    assert signal.overlay(1, title="why").width == signals.WIDTH
    assert len(signal.save(tmp_path)) == 3
    volume = ll.explain(Volume(), torch.randn(1, 1, 6, 16, 12))
    assert "<img" in volume._repr_html_()
    path = volume.animation(tmp_path / "why.gif")
    with Image.open(path) as film:
        assert film.n_frames == 6  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match="slices of a volume"):
        signal.animation(tmp_path / "no.gif")
    with pytest.raises(InputError, match="a figure shows pictures"):
        signal.figure()
