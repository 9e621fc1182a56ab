"""Files that hold a network whole run only when they are trusted, and give the maps of the network they hold."""

from __future__ import annotations

import os
import pickle
import warnings

import pytest
import torch
from torch import nn

import limelight as ll
from limelight import evaluation
from limelight.errors import FallbackWarning, LayerError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def network() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def patch() -> torch.Tensor:
    """Pictures of one bright patch, whose effect is more than an integer's step."""
    blank = torch.zeros(2, 3, 32, 40)
    blank[:, :, 8:24, 8:24] = 3
    return blank


def native() -> torch.Tensor:
    return ll.explain(network(), images(), target=2).raw


class Crafted:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved(folder, kind: str):
    file = folder / {"export": "net.pt2"}.get(kind, "net.pt")
    if kind == "export":
        batch = torch.export.Dim("batch", min=1, max=64)
        torch.export.save(torch.export.export(network(), (images(),), dynamic_shapes=({0: batch},)), file)
    elif kind == "script":
        torch.jit.trace(network(), images()).save(str(file))
    else:
        torch.save({"epoch": 3, "model": network()} if kind == "checkpoint" else network(), file)
    return file


@pytest.mark.parametrize("kind", ["whole", "checkpoint", "export", pytest.param("script", marks=pytest.mark.slow)])
def test_a_network_saved_whole_gives_its_own_maps_if_trusted(tmp_path, kind):
    file = saved(tmp_path, kind)
    with pytest.raises(ModelError, match=r"refused; .*trust"):
        ll.load(file)
    found = ll.explain(ll.load(file, trust=True), images(), target=2)
    assert found.method == "gradcam"
    assert torch.allclose(found.raw, native(), atol=1e-6)


@pytest.mark.slow
def test_torchscript_is_asked_all_that_other_networks_are():
    script, x = torch.jit.trace(network(), images()[:1]), images()
    for method in ("integratedgradients", "scorecam", "occlusion"):
        found, expected = (ll.explain(each, x, 2, method).raw for each in (script, network()))
        assert torch.allclose(found, expected, atol=1e-5), method
    assert ll.explain(script, x).verdict().support == pytest.approx(ll.explain(network(), x).verdict().support)
    assert len(ll.layers(script, x)) > 3
    assert "nan" not in {finding.check for finding in ll.doctor(script, x)}
    scenes = [evaluation.Scene.of(each, x, 2) for each in (script, network())]
    assert torch.allclose(*(scene.without("mean") for scene in scenes), atol=1e-5)
    assert torch.allclose(ll.engine("eager", script, size=(32, 40)).scores(x), network()(x), atol=1e-5)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.ckpt", "net.pt2"])
def test_a_crafted_file_does_not_run(tmp_path, name):
    ran = tmp_path / "ran"
    file = tmp_path / name
    with file.open("wb") as out:
        if name == "net.pth":
            pickle.dump(Crafted(ran), out)
        else:
            torch.save({"state_dict": {"a": Crafted(ran)}}, out)
    for load in (lambda: ll.load(file), lambda: ll.load("small_cnn", weights=file)):
        with pytest.raises(ModelError) as told:
            load()
        assert "\n" not in str(told.value)
    assert not ran.exists()


def test_weights_alone_are_told_from_a_network(tmp_path):
    torch.save(network().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="weights alone"):
        ll.load(tmp_path / "net.pt")
    with pytest.raises(ModelError, match="no network"):
        ll.load(tmp_path / "net.pt", trust=True)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:900])
    with pytest.raises(ModelError, match="can't be read"):
        ll.load(tmp_path / "cut.pt", trust=True)


class Elsewhere(nn.Module):
    """A network that leaves torch on its way: a session of another runtime."""

    def __init__(self):
        super().__init__()
        self.session = [network()]

    def forward(self, x):
        given = torch.from_numpy(x.numpy().copy())
        return torch.from_numpy(self.session[0](given).detach().numpy())


class Kernel(nn.Module):
    """One whose last part keeps no graph."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return self.body(x).detach()


def integers() -> nn.Module:
    quantization = pytest.importorskip("torch.ao.quantization")
    engines = torch.backends.quantized.supported_engines
    if "x86" not in engines:
        pytest.skip("torch has no integer kernels for this processor")
    torch.backends.quantized.engine = "x86"
    with_stubs = nn.Sequential(quantization.QuantStub(), network(), quantization.DeQuantStub()).eval()
    with_stubs.qconfig = quantization.get_default_qconfig("x86")
    ready = quantization.prepare(with_stubs)
    ready(patch())
    return quantization.convert(ready)


@pytest.mark.parametrize("make", [Elsewhere, Kernel, integers])
def test_a_network_without_a_graph_is_explained_without_gradients_and_says_so(make):
    sealed = make().eval()
    with pytest.warns(FallbackWarning, match="Occlusion"):
        found = ll.explain(sealed, patch(), target=2)
    assert found.method == "occlusion"
    native = sealed if make is integers else network()
    assert torch.allclose(found.raw, ll.explain(native, patch(), target=2, method="occlusion").raw, atol=1e-5)
    assert found.raw.abs().max() > 0


def test_a_layer_that_was_named_is_not_replaced():
    with pytest.raises(LayerError, match="method without gradients"):
        ll.explain(Kernel().eval(), images(), target=2, layer="body.0")


def test_half_precision_and_fake_quantisation_keep_the_map():
    half = ll.explain(network().bfloat16(), images().bfloat16(), target=2).raw.float()
    assert torch.allclose(half, native(), atol=0.05 * float(native().abs().max()))
    quantization = pytest.importorskip("torch.ao.quantization")
    aware = network().train()
    aware.qconfig = quantization.get_default_qat_qconfig("x86")
    aware = quantization.prepare_qat(aware)
    aware(images())
    aware.apply(quantization.disable_observer)
    found = ll.explain(aware.eval(), images(), target=2)
    assert found.method == "gradcam"
    assert torch.allclose(found.raw, native(), atol=0.1 * float(native().abs().max()))


@pytest.mark.slow  # importing peft takes most of it
def test_a_lora_wrapped_network_gives_its_base_s_map():
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(network(), peft.LoraConfig(target_modules=r"0\.2|3", r=2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        assert torch.allclose(ll.explain(wrapped, images(), target=2).raw, native(), atol=1e-6)


KERAS = """
import json, os
os.environ["KERAS_BACKEND"] = "torch"
import keras, torch
import limelight as ll

inputs = keras.Input((32, 40, 3))
x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="first")(inputs)
x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(x)
outputs = keras.layers.Dense(5, name="head")(keras.layers.GlobalAveragePooling2D()(x))
model = keras.Model(inputs, outputs)
images = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
found = ll.explain(model, images, target=2)
inside = keras.Model(inputs, x)(images.movedim(1, -1)).detach()
weights = model.get_layer("head").kernel.value.detach()[:, 2] / inside[0, ..., 0].numel()
truth = torch.einsum("bhwc,c->bhw", inside, weights)
ends = keras.layers.Flatten(), keras.layers.Dense(3)
sequential = keras.Sequential([keras.Input((32, 40, 3)), model.layers[1], *ends])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.pool, self.last = model.layers[1:3], keras.layers.GlobalAveragePooling2D(), model.layers[-1]

    def call(self, x):
        for layer in self.body:
            x = layer(x)
        return self.last(self.pool(x))


inner = keras.Sequential([keras.Input((32, 40, 3)), *model.layers[1:3]], name="inner")
outer = keras.Sequential([keras.Input((32, 40, 3)), inner, *model.layers[3:]])
without_graph = Subclassed()
without_graph(images.movedim(1, -1))
alike = ll.explain(without_graph, images, target=2)
print(json.dumps({
    "subclassed": alike.layer,
    "same": bool(torch.allclose(alike.raw, found.raw, atol=1e-6)),
    "nested": [each.name for each in ll.layers(outer, images)],
    "its_names": [each.name for each in ll.layers(without_graph, images)],
    "layer": found.layer,
    "off": float((found.raw[:, 0] - truth).abs().max() / truth.abs().max()),
    "names": [each.name for each in ll.layers(model, images)],
    "sequential": ll.explain(sequential, images, target=1).layer,
}))
"""


@pytest.mark.slow  # importing Keras takes as long as all the others
def test_a_keras_network_is_seen_through_its_layers(tmp_path):
    import json
    import subprocess
    import sys
    from importlib.util import find_spec

    if find_spec("keras") is None:
        pytest.skip("keras is not installed")
    done = subprocess.run([sys.executable, "-c", KERAS], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["layer"] == "second"
    assert told["off"] < 1e-5
    assert told["names"] == ["first", "second"]
    assert told["sequential"] == "first"
    assert told["subclassed"] == "second" and told["same"]
    assert told["nested"] == ["inner.first", "inner.second"]
    assert told["its_names"] == ["first", "second"]
