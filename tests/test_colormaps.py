"""Colour maps: order and evenness of lightness, for every kind of eye."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from limelight import colormaps
from limelight.errors import InputError

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
EYES = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def cielab(colours: np.ndarray, eye: str = "usual") -> np.ndarray:
    """``(n, 3)`` CIELAB of uint8 sRGB as this eye sees it: another space than the one the maps are made in."""
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    xyz = seen @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    ratio = xyz / [0.9505, 1.0, 1.089]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])


@pytest.mark.parametrize("name", colormaps.NAMES)
def test_a_map_is_256_colours_nobody_can_change(name):
    colours = colormaps.colormap(name)
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        colours[0] = 0


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", colormaps.SEQUENTIAL)
def test_more_is_lighter_for_every_eye(name, eye):
    """Sixteen steps are each clearly lighter than the last, so the order of values never depends on hue."""
    steps = np.diff(cielab(colormaps.colormap(name)[::17], eye)[:, 0])
    assert steps.min() > 1.5


@pytest.mark.parametrize("name", colormaps.SEQUENTIAL)
def test_lightness_climbs_evenly(name):
    """No plateau and no jump: equal differences in value are about equal differences in lightness."""
    lightness = cielab(colormaps.colormap(name))[:, 0]
    straight = np.linspace(lightness[0], lightness[-1], 256)
    assert lightness[-1] - lightness[0] > 60
    assert np.abs(lightness - straight).max() < 4
    assert np.diff(lightness).min() > -0.5  # eight bits are not enough for a strict climb


@pytest.mark.parametrize("name", colormaps.NAMES)
def test_no_step_stands_out(name):
    """A band that stands out would be read as an edge in the evidence."""
    steps = np.linalg.norm(np.diff(cielab(colormaps.colormap(name)[::5]), axis=0), axis=1)
    assert steps.max() < 2.5 * np.median(steps)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", colormaps.DIVERGING)
def test_a_diverging_map_has_a_pale_middle_and_two_sides_apart(name, eye):
    lab = cielab(colormaps.colormap(name), eye)
    assert np.all(np.diff(lab[:128:8, 0]) > 0) and np.all(np.diff(lab[128::8, 0]) < 0)
    assert abs(lab[0, 0] - lab[-1, 0]) < 15  # neither side shouts
    assert np.linalg.norm(lab[::-1] - lab, axis=1)[:64].min() > 25  # for and against are never confused


def test_the_middle_of_a_diverging_map_is_neutral():
    middle = colormaps.colormap("tide")[127:129].astype(int)
    assert np.ptp(middle, axis=1).max() < 8


def test_matplotlib_names_work_where_it_is_installed():
    matplotlib = pytest.importorskip("matplotlib")
    jet = matplotlib.colormaps["jet"](np.arange(256), bytes=True)[:, :3]
    np.testing.assert_array_equal(colormaps.colormap("jet"), jet)


def test_an_unknown_name_is_told_with_what_is_near():
    with pytest.raises(InputError, match=r"'limelite'.*Did you mean 'limelight'.*lagoon"):
        colormaps.colormap("limelite")


def test_our_maps_need_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    colormaps.colormap.cache_clear()
    assert colormaps.colormap("limelight").shape == (256, 3)
    with pytest.raises(InputError, match=r"limelight\[plot\]"):
        colormaps.colormap("viridis")
