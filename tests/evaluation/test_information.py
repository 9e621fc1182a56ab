"""Performance information curves: the curve written out, and what must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limelight.evaluation import Case, Scene, get
from limelight.evaluation.information import information_curve, webp_bytes
from tests.evaluation.worlds import Quadrant, noise


def test_the_area_is_that_of_the_rising_line_through_the_points():
    answers = torch.tensor([0.0, 0.3, 0.2, 0.8, 1.0])
    lengths = torch.tensor([100, 150, 200, 250, 500]).double()
    x, y = (lengths - 100).numpy() / 400, [0, 0.3, 0.3, 0.8, 1]
    expected = np.trapezoid(np.interp(np.linspace(0, 1, 1001), x, y), dx=1 / 1000)
    assert float(information_curve(answers, lengths)) == pytest.approx(expected, abs=1e-6)


def test_knowing_at_once_gives_one_and_only_at_the_end_gives_nothing():
    lengths = torch.arange(10, 21).double()
    ends = torch.zeros(11)
    ends[-1] = 1
    assert float(information_curve(1 - 0 * ends, lengths)) == pytest.approx(1)
    assert float(information_curve(ends, lengths)) < 0.06
    assert float(information_curve(ends, lengths * 0)) == 0


def test_more_of_a_picture_takes_more_bytes():
    x = torch.rand(1, 3, 40, 40)
    half, flat = x.clone(), x * 0 + 0.5
    half[..., 20:] = 0.5
    sizes = [float(webp_bytes(each, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))[0]) for each in (flat, half, x)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.1 * sizes[2]


@pytest.mark.parametrize("name", ["sic", "aic"])
def test_the_object_that_decides_is_known_sooner_through_its_own_map(name):
    x = 0.1 * noise(side=16)
    x[:, :, 2:6, 2:6] += 2
    x[:, :, 8:, 8:] += torch.rand(3, 3, 8, 8)
    network = Quadrant()
    network.forward = lambda x: Quadrant.forward(network, x) - torch.tensor([0.5, -0.5])
    scene = Scene.of(network, x, 0)
    right, wrong = torch.zeros(2, 3, 2, 2)
    right[:, 0, 0] = wrong[:, 1, 1] = 1
    values = [Case.of(scene, maps).measure(get(name)(baseline="zero")) for maps in (right, wrong)]
    assert (values[0] > values[1] + 0.1).all()
