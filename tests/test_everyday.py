"""Networks as they are written by hand: in place, squeezed, with a softmax inside or hooks in the forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight import comparison, evaluation
from limelight.checkup import doctor
from limelight.errors import InputError, LayerError, LimelightError, MethodError, MetricError, ModelError, TargetError
from limelight.images import read
from tests.networks import pictures, untouched

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

SIDE = 12


class LeNet(nn.Module):
    """Convolutions, pooling, linear layers; ReLUs are functions, and a skip connection is added in place."""

    classes = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc1, self.fc2 = nn.Linear(4 * (SIDE // 2) ** 2, 8), nn.Linear(8, self.classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        y = self.norm(self.conv2(x))
        y += x
        return F.max_pool2d(F.relu_(y), 2)

    def head(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))

    def forward(self, x: Tensor):
        return self.head(self.features(x))


class NormalisesInPlace(LeNet):
    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))


class Sigmoid(LeNet):
    classes = 1

    def forward(self, x):
        return torch.sigmoid(super().forward(x))


class Squeezed(LeNet):
    """One number an image, and for one image a number alone."""

    classes = 1

    def forward(self, x):
        return super().forward(x).squeeze()


class Softmax(LeNet):
    def forward(self, x):
        return F.softmax(super().forward(x), dim=1)


class Convolutional(LeNet):
    """Ends in a map of one cell."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(4, self.classes, 1)

    def forward(self, x):
        return F.adaptive_max_pool2d(self.last(self.features(x)), 1)


class MaximumAndMore(Convolutional):
    def forward(self, x):
        logits = super().forward(x).flatten(1)
        return {"logits": logits, "twice": 2 * logits}


@dataclass
class Answer:
    logits: Tensor
    features: Tensor


class Structured(LeNet):
    def forward(self, x):
        features = self.features(x)
        return Answer(self.head(features), features)


class InATuple(LeNet):
    def forward(self, x):
        features = self.features(x)
        return self.head(features), features


class KeepsItsFeatures(LeNet):
    def forward(self, x):
        self.kept = self.features(x)
        return self.head(self.kept)


class DetachesItsFeatures(LeNet):
    def forward(self, x):
        return self.head(self.features(x).detach())


class HooksItsFeatures(LeNet):
    """As Grad-CAM is written by hand."""

    guarded = False

    def forward(self, x):
        x = self.features(x)
        if x.requires_grad or not self.guarded:
            x.register_hook(lambda gradient: None)
        return self.head(x)


class WithFacts(LeNet):
    def forward(self, x, facts):
        return torch.cat([super().forward(x), facts], dim=1)


def alone(network: nn.Module, method: str, x: Tensor, target: int, layer: str | None = None) -> Tensor:
    return torch.cat([ll.explain(network, one[None], target, method, layer).raws[0] for one in x])


# ---- in place


@pytest.mark.parametrize("method", ["ablationcam", "smoothgrad", "guidedbackprop"])
def test_the_callers_pictures_stay_where_a_network_normalises_in_place(method):
    network, x = NormalisesInPlace().eval(), pictures(8, SIDE)  # so many that it pays to record the head
    before, layer = x.clone(), "conv2" if method == "ablationcam" else None
    found = ll.explain(network, x, 1, method, layer).raws[0]
    assert torch.equal(x, before)
    if method != "smoothgrad":
        torch.testing.assert_close(found[:2], alone(network, method, x[:2], 1, layer))


def test_so_do_they_with_engines_and_the_doctor():
    network, x = NormalisesInPlace().eval(), pictures(3, SIDE)
    before = x.clone()
    ll.engine("eager", network, size=SIDE).scores(x)
    assert "chance" not in {finding.check for finding in doctor(network, x)}
    assert torch.equal(x, before)


@pytest.mark.parametrize("make", [NormalisesInPlace, MaximumAndMore])
def test_methods_are_compared_on_the_picture_as_it_is(make):
    network = make().train()
    model = ll.load(network, preprocessing=ll.Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3, crop=1.0))
    photo = read((pictures(1, SIDE, seed=3)[0] * 40 + 128).clamp(0, 255).to(torch.uint8))
    with untouched(network):
        (first, *_, again) = comparison.trials(model, photo, comparison.choose("gradcam,hirescam,gradcam,layercam"), 1)
    expected = ll.explain(model, photo, 1, "layercam")
    torch.testing.assert_close(again.explanation.raw, expected.raw)
    assert first.explanation is not None


# ---- outputs


def test_a_number_alone_is_one_images():
    network, x = Squeezed().eval(), pictures(3, SIDE)
    torch.testing.assert_close(ll.explain(network, x).raw, alone(network, "gradcam", x, 0))


def test_a_number_for_several_images_is_not():
    class Loss(LeNet):
        def forward(self, x):
            return super().forward(x).mean()

    with pytest.raises(TargetError, match="squeeze its batch away"):
        ll.explain(Loss().eval(), pictures(3, SIDE), layer="conv2")


def test_a_map_of_one_cell_is_class_scores():
    network, x = Convolutional().eval(), pictures(2, SIDE)
    found = ll.explain(network, x)
    logits = network(x).detach().flatten(1)
    assert [row[0].index for row in found.targets] == logits.argmax(dim=1).tolist()
    torch.testing.assert_close(found.predictions[0][0].probability, float(logits.softmax(dim=1)[0].max()))


def test_the_layer_before_a_global_maximum_is_found_among_several_outputs():
    found = ll.explain(MaximumAndMore().eval(), pictures(2, SIDE), 1)
    assert found.layer == "last"


def test_a_verdict_of_a_network_that_answers_with_a_dataclass():
    found, expected = (ll.explain(make().eval(), pictures(2, SIDE), 1).verdict() for make in (Structured, InATuple))
    assert found.record() == expected.record()


# ---- no gradient


@pytest.mark.parametrize("method", ["lrpepsilon", "excitationbackprop", "relevancecam"])
@pytest.mark.parametrize(("make", "gate"), [(Sigmoid, "sigmoid"), (Softmax, "softmax")])
def test_relevance_says_that_it_needs_logits(make, gate, method):
    with pytest.raises(MethodError, match=f"ends in '{gate}'"):
        ll.explain(make().eval(), pictures(1, SIDE), 0, method)


@pytest.mark.parametrize("method", ["integratedgradients", "liftcam", "guidedbackprop", "saliency"])
def test_a_score_that_was_detached_is_told(method):
    with pytest.raises(LimelightError, match=r"does not depend on layer|no ReLU"):
        ll.explain(DetachesItsFeatures().eval(), pictures(1, SIDE), 0, method, "input" if method != "liftcam" else None)


def test_no_layer_is_worth_most_of_a_detached_score():
    with pytest.raises(LayerError, match="does not depend on layer"):
        ll.explain(DetachesItsFeatures().eval(), pictures(1, SIDE), layer="auto")


@pytest.mark.parametrize("method", ["gradcam", "rise"])
def test_a_hook_on_a_tensor_is_told_of(method):
    with pytest.raises(ModelError, match=r"if x\.requires_grad"):
        ll.explain(HooksItsFeatures().eval(), pictures(1, SIDE), 0, method)


def test_a_guarded_hook_on_a_tensor_is_no_matter():
    network, x = HooksItsFeatures().eval(), pictures(1, SIDE)
    network.guarded = True
    torch.testing.assert_close(
        ll.explain(network, x, 0, "fullgrad").raw, ll.explain(LeNet().eval(), x, 0, "fullgrad").raw
    )


# ---- the network


def test_a_network_that_is_not_finished_is_refused_and_left_so():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ModelError, match="LazyLinear"):
        ll.explain(network, pictures(1, SIDE))
    with pytest.raises(ModelError, match="LazyLinear"):
        doctor(network, pictures(1, SIDE))
    assert network[2].has_uninitialized_params()


def test_copies_of_a_network_that_keeps_tensors_with_a_graph():
    network, x = KeepsItsFeatures(), pictures(2, SIDE)
    scene = evaluation.Scene.of(network, x, 1)
    explain = evaluation.explainer("gradcam")
    case = evaluation.Case.of(scene, explain(network, x, 1), explainer=explain)
    assert case.measure("cascading_randomisation").isfinite().all()
    assert len(doctor(network, x)) < 5


def test_other_inputs_stand_beside_deeplifts_reference():
    network, x = WithFacts().eval(), pictures(3, SIDE)
    facts = torch.tensor([[1.0], [2.0], [-1.0]])
    found = ll.explain(network, (x, facts), 1, "deeplift").raws[0]
    plain = ll.explain(LeNet().eval(), x, 1, "deeplift").raws[0]
    torch.testing.assert_close(found, plain)


# ---- calls


def test_the_layers_that_are_worth_most_are_the_same_for_every_batch():
    network, x = LeNet().eval(), pictures(4, SIDE, seed=5)
    first = ll.explain(network, x[:1], 1, layer="auto")
    found = ll.explain(network, x, 1, layer="auto", batch_size=1)
    torch.testing.assert_close(found.raw, ll.explain(network, x, 1, layer=list(first.layers)).raw)


def test_maps_on_another_grid_than_the_explainers_are_told():
    network, x = Convolutional().eval(), pictures(2, SIDE)
    scene = evaluation.Scene.of(network, x, 1)
    case = evaluation.Case.of(scene, ll.explain(network, x, 1).maps[:, 0], explainer=evaluation.explainer("gradcam"))
    with pytest.raises(MetricError, match="raw maps"):
        case.measure("max_sensitivity")


def test_an_engines_name_comes_first():
    with pytest.raises(InputError, match="name comes first"):
        ll.engine(LeNet(), "auto")  # pyright: ignore[reportArgumentType]


def test_the_doctor_looks_for_the_method_first():
    with pytest.raises(MethodError, match="nosuch"):
        doctor(LeNet().eval(), method="nosuch")


def test_a_network_of_one_size_is_not_compiled_for_any():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match="fixes the size"):
        ll.compile(LeNet().eval(), size=SIDE, any_size=True)


def test_an_engine_is_made_before_images_could_settle_a_layer():
    with pytest.raises(LayerError, match="before it sees any"):
        ll.engine("eager", LeNet().eval(), layer="auto", size=SIDE)


@pytest.mark.parametrize("target", [1, ll.top(2)])
def test_one_output_is_told_from_two_classes(target):
    with pytest.raises(TargetError, match="one output, class 0"):
        ll.explain(Sigmoid().eval(), pictures(1, SIDE), target)
