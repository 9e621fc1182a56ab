"""Whatever runs the network, the answer is the network's; what can't run it is refused, or passed over and told."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.engines import choosing, making
from limelight.engines.engine import Engine
from limelight.errors import InputError, MissingExtra, ModelError, TargetError
from tests.export.small import CLASSES, EARLY, SIDE, images, small
from tests.networks import untouched

LACKING = "onnx, onnxscript or onnxruntime is not installed: pip install 'limelight[export]'"
pytest.importorskip("onnxscript", reason=LACKING)
pytest.importorskip("onnxruntime", reason=LACKING)


def question(network: nn.Module | None = None, **how):
    asked = {"method": "layercam", "layer": EARLY, "target": None, "size": SIDE, "fusion": "mean", **how}
    return making.Question(ll.load(network or small()), **asked)


@pytest.fixture(scope="module")
def shared():
    """One question, so that its graph is made once."""
    return question(target=ll.GIVEN)


def answers_as_the_network(engine: Engine):
    for count in (1, 5):
        x, classes = images(count, seed=7), torch.arange(count) % CLASSES
        found = engine(x, classes)
        for i in range(count):
            explained = ll.explain(small(), x[i : i + 1], int(classes[i]), "layercam", EARLY)
            torch.testing.assert_close(found.raws[0][i], explained.raws[0][0, 0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(found.map[i], explained.maps[0, 0], rtol=0, atol=1e-4)
        assert found.classes.equal(classes)


def test_the_network_itself(shared):
    answers_as_the_network(making.eager(shared))


def test_onnx_runtime(shared):
    answers_as_the_network(making.onnx(shared))


def test_openvino(shared):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'limelight[openvino]'")
    answers_as_the_network(making.openvino(shared))


@pytest.mark.slow
def test_torch_compile(shared):
    engine = making.compiled(shared)
    answers_as_the_network(engine)
    scores_as_the_network(engine)


def scores_as_the_network(engine: Engine):
    for count in (1, 3):
        x = images(count, seed=8)
        torch.testing.assert_close(engine.scores(x), small()(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="this engine takes"):
        engine.scores(x[0])


def test_the_class_scores_alone(shared):
    scores_as_the_network(making.eager(shared))
    scores_as_the_network(making.onnx(shared))


def test_in_bfloat16_the_network_stays_and_its_answers_are_near():
    asked = question(target=0, precision="bfloat16")
    network, x = asked.model.network, images(5, seed=7)
    with untouched(network):
        engine = making.eager(asked)
        found, scores = engine(x), engine.scores(x)
    own = making.eager(question(target=0))(x)
    assert engine.agreement.rank >= 0.98 and engine.said == "eager in bfloat16"
    assert found.map.dtype == scores.dtype == torch.float32
    assert 0 < (found.scores - own.scores).abs().max() < 0.05 * own.scores.abs().max()
    torch.testing.assert_close(scores, found.scores)
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compile", "openvino"])
def test_other_engines_in_bfloat16(name):
    engine = making.MAKERS[name](question(target=0, precision="bfloat16"))
    x = images(5, seed=7)
    own = making.eager(question(target=0))(x)
    for scores in (engine(x).scores, engine.scores(x)):
        assert 0 < (scores - own.scores).abs().max() < 0.05 * own.scores.abs().max()


def test_what_has_no_such_precision_is_refused(monkeypatch):
    with pytest.raises(ModelError, match="ONNX Runtime has no bfloat16 on a CPU"):
        making.onnx(question(target=0, precision="bfloat16"))
    with pytest.raises(InputError, match="no precision is called 'half'; there are float32 and bfloat16"):
        ll.engine("eager", small(), size=SIDE, precision="half")


def test_auto_takes_the_fastest_and_says_what_the_others_took(shared, monkeypatch):
    monkeypatch.setattr(choosing, "timed", lambda engines, batch: dict.fromkeys(engines, 2.0) | {"onnx": 1.0})
    chosen = choosing._fastest(shared, 2)
    assert chosen.name == "onnx" and chosen.said.startswith("onnx (eager takes 2 times as long; openvino ")
    assert [trial.name for trial in chosen.trials] == ["eager", "onnx", "openvino"]


def test_a_trial_takes_time():
    assert min(choosing.timed({"a": lambda x: x + 1, "b": lambda x: x}, (torch.zeros(2),)).values()) > 0


class Bessel(nn.Module):
    """Ends in an operation that ONNX has no form for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 3)

    def forward(self, x):
        x = self.conv(x)
        return torch.special.bessel_j0(x).mean((2, 3)).detach() + x.mean((2, 3))


def test_what_can_not_be_exported_runs_as_it_is_and_the_operation_is_named():
    asked = question(Bessel(), layer=None)
    chosen = choosing._fastest(asked, 2)
    assert chosen.name == "eager" and "bessel_j0 has no ONNX form" in chosen.said
    assert chosen(images(2)).raws[0].shape == (2, 22, 22)
    with pytest.raises(ModelError, match="bessel_j0"):
        making.onnx(asked)


def test_a_library_that_is_missing_is_named(monkeypatch, shared):
    real, libraries = importlib.util.find_spec, ("openvino", "onnxruntime", "onnx", "onnxscript")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *of: None if name in libraries else real(name, *of))
    with pytest.raises(MissingExtra, match=r"limelight\[openvino\]"):
        making.openvino(shared)
    chosen = ll.engine("auto", small(), "layercam", EARLY, size=SIDE)
    assert chosen.name == "eager" and "is not installed: pip install" in chosen.said


def test_an_engine_that_answers_otherwise_is_refused(shared):
    other = copy.deepcopy(small())
    other.down[0].weight.data[0] *= -1
    wrong = making.eager(question(other, target=ll.GIVEN))
    with pytest.raises(ModelError, match="onnx does not answer as Small does: maps within"):
        making._shown(Engine("onnx", shared.step, wrong.run, (SIDE, SIDE)), shared)


def test_without_a_compiler_torch_compile_says_so(monkeypatch, shared):
    def broken(graph, dynamic):
        def run(*batch):
            raise RuntimeError("No working C++ compiler found in ...")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ModelError, match="can't build Small: it needs a C\\+\\+ compiler"):
        making.compiled(shared)


def test_more_images_than_it_takes_at_once_are_given_in_turn(shared):
    whole = making.eager(shared)
    seen = []

    def run(*batch):
        seen.append(len(batch[0]))
        return whole.run(*batch)

    engine = Engine("eager", shared.step, run, batch=2)
    x, classes = images(5), torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(engine(x, classes).map, whole(x, classes).map)
    assert seen == [2, 2, 1]


def test_what_does_not_fit_is_refused_in_a_line(shared):
    engine = making.onnx(shared)
    with pytest.raises(InputError, match=r"\(1, 3, 9, 9\): this engine takes \(batch, channels, 24 x 24\)"):
        engine(torch.zeros(1, 3, 9, 9), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(TargetError, match="one class index an image"):
        engine(images(2))
    with pytest.raises(InputError, match=r"no engine is called 'onxx'; there are eager, .* Did you mean 'onnx'"):
        ll.engine("onxx", small())
    with pytest.raises(ModelError, match="CPU in single precision"):
        ll.engine("onnx", small().double(), size=SIDE)
