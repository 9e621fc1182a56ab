"""models/from_onnx.py: an ONNX file is a network like any other, equal to what ONNX Runtime makes of it."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import FallbackWarning, LayerError, LimelightError, ModelError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
runtime = pytest.importorskip("onnxruntime")


class Network(nn.Module):
    """Batch norm, a residual, channels last, GELU, a mean over axes: what exporters turn into operators."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.norm, self.wide, self.back = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        x = x + self.back(nn.functional.gelu(self.wide(self.norm(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module", params=[17, 18, 20], ids="opset {}".format)
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    network, path = Network().eval(), tmp_path_factory.mktemp("onnx") / "net.onnx"
    how = {"dynamo": False, "opset_version": 17} if request.param == 17 else {"opset_version": request.param}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, 3, 16, 16),), str(path), verbose=False, **how)
    return network, path


def test_it_answers_as_onnx_runtime_does(exported):
    path = exported[1]
    loaded = ll.load(str(path))
    x = torch.randn(1, 3, 16, 16)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    own = loaded.network(x).detach().numpy()
    assert np.abs(own - expected).max() < 1e-4 and not loaded.network.training
    assert loaded.num_classes == 5


def test_its_maps_are_those_of_the_network_that_it_was_made_from(exported):
    network, path = exported
    x = torch.randn(1, 3, 16, 16)
    loaded = ll.load(path)
    explanation = ll.explain(loaded, x, target=2, method="hirescam")
    assert explanation.raw.shape == (1, 1, 8, 8)
    named = dict(loaded.network.named_modules())
    relu = next(name for name, module in named.items() if isinstance(module, nn.ReLU))
    own = ll.explain(loaded, x, target=2, layer=relu, method="hirescam")
    reference = ll.explain(network, x, target=2, layer="stem", method="hirescam")
    torch.testing.assert_close(own.raw, reference.raw, rtol=1e-4, atol=1e-5)
    assert relu in {node.name for node in onnx.load(str(path)).graph.node} or "Relu" in relu or "relu" in relu


# ---- files that are none


def said(path) -> str:
    with pytest.raises(ModelError) as error:
        ll.load(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_truncated_file(exported, tmp_path):
    whole = exported[1].read_bytes()
    path = tmp_path / "half.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    assert "can't be read as an ONNX file" in said(path)
    path.write_bytes(b"")
    assert "half.onnx" in said(path)


def test_an_operator_that_is_not_known(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("x", "y")]
    for domain, name in (("", "Det"), ("my.own", "Wobble")):
        node = helper.make_node(name, ["x"], ["y"], domain=domain)
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), str(path))
        told = said(path)
        assert f"the operator {name}" in told and "can't be converted" in told


def test_an_operator_without_older_words(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("x", "y")]
    node = helper.make_node("Gelu", ["x"], ["y"], approximate="tanh")
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )
    path = tmp_path / "tanh.onnx"
    onnx.save(model, str(path))
    assert "operator Gelu as operator set 20 has it" in said(path) and "opset_version=17" in said(path)


class Bomb:
    """What a pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".pth"])
def test_a_file_crafted_to_run_code_runs_none(tmp_path, suffix):
    mark, path = tmp_path / "ran", tmp_path / f"crafted{suffix}"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError) as error:
        ll.load("resnet18", weights=str(path)) if suffix != ".onnx" else ll.load(str(path))
    assert not mark.exists() and "\n" not in str(error.value)


def test_other_weights_or_classes_are_refused(exported):
    for options in ({"weights": "random"}, {"num_classes": 3}):
        with pytest.raises(ModelError, match="keeps its weights and classes"):
            ll.load(str(exported[1]), **options)
    assert "There is no file" in said("/nowhere/net.onnx")


# ---- a session, which can only be run


@pytest.fixture(scope="module", params=[1, None], ids=["one at a time", "any number"])
def session(request, tmp_path_factory):
    torch.manual_seed(0)
    network, path = Network().eval(), tmp_path_factory.mktemp("session") / "net.onnx"
    axes = None if request.param else {"x": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.randn(1, 3, 16, 16),), str(path), input_names=["x"], dynamic_axes=axes, dynamo=False
        )
    return network, runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_a_session_is_explained_by_what_only_runs_it_and_says_so(session):
    network, running = session
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with pytest.warns(FallbackWarning, match="Session keeps no graph .* explained by Occlusion"):
        found = ll.explain(running, x)
    truth = ll.explain(network, x, method="occlusion")
    assert found.method == "occlusion" and found.targets == truth.targets
    torch.testing.assert_close(found.raw, truth.raw, rtol=1e-3, atol=1e-5)
    assert float(truth.raw.abs().amax()) > 0
    with pytest.raises(LayerError, match="calls no module that could be looked at"):
        found.verdict()


def test_a_loaded_session_takes_photographs_and_a_method_without_gradients_needs_no_warning(session):
    network, running = session
    known = {"preprocessing": ll.Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3), "labels": list("abcde")}
    photo = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    found, truth = (
        ll.explain(ll.load(each, **known), photo, target="c", method=ll.methods.get("rise")(samples=40))
        for each in (running, network)
    )
    torch.testing.assert_close(found.raw, truth.raw, rtol=1e-3, atol=1e-5)


def test_what_a_session_can_t_run_or_has_no_layers_for_is_one_clear_line(session):
    running = session[1]
    for wrong in (torch.randn(1, 3, 16), torch.randn(1, 4, 16, 16), (torch.randn(1, 3, 16, 16), torch.randn(1, 2))):
        with pytest.raises(LimelightError) as error:
            ll.explain(running, wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(LayerError, match="method without gradients"):
        ll.explain(running, torch.randn(1, 3, 16, 16), layer="input")
