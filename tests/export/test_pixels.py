"""A graph of pixels prepares a photograph, and lays its map on it, as limelight does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import limelight as ll
from limelight.export.graph import Nodes
from limelight.export.pixels import PIXELS, _prepare
from limelight.export.to_onnx import OPSET, session
from limelight.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {
    "bicubic": Preprocessing((64, 64), MEAN, STD),
    "bilinear": Preprocessing((64, 64), MEAN, STD, "bilinear"),
    "not square": Preprocessing((64, 48), MEAN, STD, crop=0.9),
    "squash": Preprocessing((64, 64), MEAN, STD, crop=1.0, crop_mode="squash"),
    "border": Preprocessing((64, 64), MEAN, STD, crop=0.9, crop_mode="border"),
    "grey": Preprocessing((50, 50), (0.5,), (0.5,)),
}
SIZES = [(100, 130), (50, 80), (10, 900), (93, 64), (700, 9)]


def photograph(height: int, width: int) -> torch.Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("fit", ["crop", "whole", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_input_is_that_of_the_preprocessing(kind, fit):
    """Enlarged, reduced, very long; and the box that the map belongs to.

    To the bit, but that single precision may round a sum to the next level where a side is reduced more than tenfold.
    """
    own = KINDS[kind]
    running = session(preparing(own, fit))
    for height, width in SIZES:
        pixels = photograph(height, width)
        wanted, view = own(pixels, fit)
        image, box = running.run(["image", "box"], {PIXELS: pixels.permute(1, 2, 0).numpy()})
        off = (torch.from_numpy(image[0]) - wanted).abs() * 255 * torch.tensor(own.std)[:, None, None]
        assert off.max() < 1.01
        assert (off > 1e-3).double().mean() <= (1e-3 if max(height, width) > 640 else 0)
        y0, x0, y1, x1 = box
        assert (x0, y0, x1, y1) == pytest.approx(view.box, abs=1e-9)


def preparing(own: Preprocessing, fit):
    from onnx import TensorProto, helper

    nodes = Nodes("test")
    _, (start, end) = _prepare(nodes, own, fit)
    nodes.Concat(*(nodes.Unsqueeze(edge, np.array([0])) for edge in (*start, *end)), axis=0, out="box")
    given = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["height", "width", 3])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, own.channels, *own.size])
    box = helper.make_tensor_value_info("box", TensorProto.DOUBLE, [4])
    graph = helper.make_graph(nodes.made, "prepare", [given], [image, box])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def test_the_map_is_the_one_that_explain_lays_on_the_photograph(asking, of_pixels):
    running = session(str(of_pixels))
    for size in [(90, 120), (64, 64), (40, 300)]:
        pixels = photograph(*size)
        for given in (-1, 2):
            explained = ll.explain(
                asking.model, pixels.permute(1, 2, 0).numpy(), target=None if given < 0 else given, layer="layer3"
            )
            feed = {PIXELS: pixels.permute(1, 2, 0).numpy(), "class_index": np.array([given])}
            classes, found = running.run(["classes", "map"], feed)
            assert found.shape == (1, *size)
            assert classes.tolist() == [explained.targets[0][0].index]
            np.testing.assert_allclose(found[0], np.asarray(explained.heat()), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_several_maps_and_several_layers_on_one_photograph():
    from tests.tiny import tiny

    compiled = ll.compile(tiny(), layer=["layer2", "layer3"], target=ll.top(2), fusion="max", batch=1)
    pixels = photograph(70, 90)
    explained = ll.explain(
        compiled.model, pixels.permute(1, 2, 0).numpy(), target=ll.top(2), layer=["layer2", "layer3"], fusion="max"
    )
    (found,) = session(compiled.from_pixels()).run(["map"], {PIXELS: pixels.permute(1, 2, 0).numpy()})
    assert found.shape == (1, 2, 70, 90)
    for rank in (0, 1):
        np.testing.assert_allclose(found[0, rank], np.asarray(explained.heat(0, rank)), rtol=0, atol=1e-4)
