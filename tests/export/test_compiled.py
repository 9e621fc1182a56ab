"""What ``compile`` gives answers as the network does, for any batch; what it can't do is said in a line."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import InputError, LimelightWarning, MethodError, MissingExtra, ModelError, TargetError
from limelight.export import to_onnx
from limelight.export.compiled import compile
from limelight.export.lower import lower
from limelight.methods import get
from limelight.step import step_of
from limelight.targets import Top
from tests.export.small import CLASSES, EARLY, LATE, SIDE, images, small


@pytest.fixture(scope="module")
def early():
    """Strides, a max-pooling and an average pooling lie behind the layer."""
    return compile(small(), "layercam", EARLY, size=SIDE)


def test_a_graph_answers_as_the_network_does_for_any_batch(early):
    assert early.agreement.map < 1e-4
    for count in (1, 2, 7):
        x = images(count, seed=5)
        explained = ll.explain(small(), x, method="layercam", layer=EARLY)
        answer = early(x)
        assert answer.classes.tolist() == [best[0].index for best in explained.predictions]
        torch.testing.assert_close(answer.raws[0], explained.raws[0][:, 0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(answer.map, explained.maps[:, 0], rtol=0, atol=1e-4)


def test_a_file_is_whole_checked_and_says_what_it_is(early, tmp_path):
    import onnx

    path = early.save(tmp_path / "deep" / "small.onnx")

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [each.name for each in model.graph.input] == ["image"]
    assert [each.name for each in model.graph.output] == ["scores", "classes", "raw", "map"]
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["limelight.method"] == "layercam"
    assert json.loads(said["limelight.layers"]) == [EARLY]
    assert json.loads(said["limelight.agreement"])["images"] == 5
    assert b"/work" not in path.read_bytes() and b".py" not in path.read_bytes()  # nothing of this machine
    assert [each.name for each in tmp_path.joinpath("deep").iterdir()] == ["small.onnx"]


def test_what_does_not_fit_is_refused_in_a_line(early):
    with pytest.raises(InputError, match=r"\(1, 3, 9, 9\): this was compiled for \(batch, 3, 24, 24\)"):
        early(torch.zeros(1, 3, 9, 9))
    with pytest.raises(TargetError, match="compile with target=GIVEN"):
        early(images(1), [0])
    with pytest.raises(InputError, match="without preprocessing"):
        early.from_pixels()


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_a_class_that_is_given(asking):
    x = torch.randn(1, 3, 64, 64)
    for given in (-1, 0, 3):
        explained = ll.explain(asking.model, x, target=None if given < 0 else given, layer="layer3")
        answer = asking(x, [given])
        torch.testing.assert_close(answer.raws[0], explained.raws[0][:, 0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(answer.map, explained.maps[:, 0], rtol=0, atol=1e-4)
    with pytest.raises(TargetError, match="0 classes for 1 images"):
        asking(x)
    with pytest.raises(InputError, match="compiled for"):
        asking(torch.randn(2, 3, 64, 64), [0, 1])


@pytest.mark.parametrize(
    ("method", "layer", "target"),
    [
        ("gradcampp", EARLY, None),
        ("finercam", LATE, None),
        ("eigencam", LATE, None),
        ("gradcam", [EARLY, LATE], ll.counter(ll.probability(2))),
        ("hirescam", LATE, Top(3)),
    ],
)
def test_a_recorded_graph_is_free_of_its_batch(method, layer, target):
    """As torch runs it: what an exporter makes of it is another matter, and is measured in docs/export.md."""
    step = step_of(small(), images(1), get(method), layer, target)
    graph = lower(step, images(2))
    for count in (1, 5):
        for found, want in zip(graph(images(count)), step(images(count)).named.values(), strict=True):
            torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)


class Unexportable(nn.Module):
    """Ends in an operation that ONNX has no form for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 3)

    def forward(self, x):
        return torch.special.bessel_j0(self.conv(x)).mean((2, 3)).detach() + self.conv(x).mean((2, 3))


class Branching(nn.Module):
    """Does something else where a value is large, so it is no one graph."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 3)

    def forward(self, x):
        x = self.conv(x)
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class FixedBatch(nn.Module):
    """Takes the number of images for a constant."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 3)

    def forward(self, x):
        return self.conv(x).reshape(len(x), CLASSES, -1).mean(2)


def test_the_operation_that_has_no_form_is_named():
    with pytest.raises(ModelError, match=r"Unexportable can't be exported to ONNX: .*bessel_j0"):
        compile(Unexportable(), size=SIDE)


def test_a_network_that_is_no_one_graph_is_refused():
    with pytest.raises(ModelError, match="Branching can't be recorded as one graph"):
        compile(Branching(), size=SIDE)


@pytest.mark.slow
def test_a_network_that_fixes_its_batch_gets_a_graph_of_one_image_and_says_so():
    with pytest.warns(LimelightWarning, match="the graph takes one"):
        compiled = compile(FixedBatch(), size=SIDE)
    assert compiled.input_shape == (1, 3, SIDE, SIDE)


def test_a_graph_that_answers_otherwise_is_refused(early, monkeypatch):
    """Shown by tampering with what the exporter gave: one weight of the convolution after the layer is turned round."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(early.graph)
    weight = next(each for each in model.graph.initializer if list(each.dims) == [8, 2, 3, 3])
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(to_onnx, "to_onnx", lambda *args, **how: model)
    with pytest.raises(ModelError, match="does not answer as the network does: maps within"):
        compile(small(), "layercam", EARLY, size=SIDE)


def test_what_is_asked_wrongly_is_told_before_anything_is_recorded(monkeypatch):
    with pytest.raises(InputError, match="say the input's size"):
        compile(small())
    with pytest.raises(ModelError, match=r"network.cpu\(\).float\(\)"):
        compile(small().double(), size=SIDE)
    with pytest.raises(MethodError, match="can be compiled"):
        compile(small(), "rise", size=SIDE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"limelight\[export\]"):
        compile(small(), size=SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "gradcampp", "xgradcam", "eigencam", "eigengradcam", "finercam"])
def test_every_kind_of_method_in_onnx_runtime(method):
    for layer in (EARLY, LATE):
        compiled = compile(small(), method, layer, size=SIDE)
        assert compiled.agreement.map < 1e-4


def pooled() -> nn.Module:
    """The small network with a head for any size."""
    network = small()
    network.bins, network.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(12, CLASSES)
    return network.eval()


@pytest.mark.slow
def test_a_graph_of_any_size():
    network = pooled()
    compiled = compile(network, layer=LATE, size=SIDE, any_size=True)
    assert compiled.input_shape == (None, 3, None, None) and compiled.input_size is None
    x = torch.randn(2, 3, 40, 64)
    torch.testing.assert_close(compiled(x).map, ll.explain(network, x, layer=LATE).maps[:, 0], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_fixes_its_size_is_refused_in_a_line():
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        compile(small(), layer=LATE, size=SIDE, any_size=True)
