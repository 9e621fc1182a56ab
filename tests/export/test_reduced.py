"""A graph in fewer bits says what it costs, measured on images that it was not calibrated on."""

from __future__ import annotations

import json

import onnx
import pytest
import torch

import limelight as ll
from limelight.errors import InputError
from tests.export.small import CLASSES, EARLY, SIDE, images, small


@pytest.fixture(scope="module")
def whole():
    return ll.compile(small(), "layercam", EARLY, size=SIDE)


def types(compiled) -> set[int]:
    return {each.data_type for each in compiled.graph.graph.initializer if len(each.dims) > 1}


def test_half_precision(whole, tmp_path):
    half = whole.reduced("float16", images(6, seed=3))
    assert onnx.TensorProto.FLOAT16 in types(half) and onnx.TensorProto.FLOAT not in types(half)
    assert half.fidelity.images == 6 and 0.99 < half.fidelity.map <= 1
    assert half(images(3)).map.dtype == torch.float32  # who runs it need not know
    said = {each.key: each.value for each in onnx.load(half.save(tmp_path / "half.onnx")).metadata_props}
    assert said["limelight.precision"] == "float16"
    assert json.loads(said["limelight.fidelity"])["predictions"] == half.fidelity.predictions


def test_int8_where_the_scores_are_made_and_single_precision_behind(whole):
    eight = whole.reduced("int8", images(20, seed=3))
    assert onnx.TensorProto.INT8 in types(eight)
    assert eight.fidelity.images == 10  # the other ten calibrated
    assert 0.5 < eight.fidelity.map < 1  # it is another graph, and it is this network's
    answer = eight(images(2))
    assert answer.scores.shape == (2, CLASSES) and not answer.map.isnan().any()


def test_int8_asks_for_images(whole):
    with pytest.raises(InputError, match="give at least 8, not 3"):
        whole.reduced("int8", images(3))
    with pytest.raises(InputError, match="there are float16 and int8"):
        whole.reduced("int4", images(3))


def test_a_program_runs_without_limelight(whole, tmp_path):
    program = whole.program()
    assert program.agreement.good
    loaded = torch.export.load(program.save(tmp_path / "small.pt2"), extra_files=(extra := {"limelight.json": ""}))
    scores, classes, raw, shown = loaded.module()(images(3, seed=9))
    own = whole(images(3, seed=9))
    torch.testing.assert_close(shown, own.map, rtol=0, atol=1e-4)
    assert classes.equal(own.classes) and scores.shape == (3, CLASSES) and raw.shape == own.raws[0].shape
    assert json.loads(extra["limelight.json"])["layers"] == [EARLY]
