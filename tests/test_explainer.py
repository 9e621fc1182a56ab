"""explainer.py: one call, from images to an explanation, and one clear line where that can't be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import (
    InputError,
    LayerError,
    MethodError,
    ModelError,
    SharedLayerWarning,
    TargetError,
    ZeroMapWarning,
)
from limelight.models import Model
from tests.networks import (
    CLASSES,
    DictOutputs,
    Plain,
    Twice,
    full_autograd,
    grad_cam,
    logits,
    pictures,
    spelt,
)

LABELS = ("tabby", "espresso", "rocket", "beagle", "crane")
pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")


def loaded(network: nn.Module, size: int = 12) -> Model:
    return Model(network, ll.Preprocessing((size, size), (0.5,) * 3, (0.25,) * 3), LABELS, "small", "random", CLASSES)


def photo(height: int = 30, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


# ---- right


@pytest.mark.parametrize("layer", ["stem", "stem.0", "cut", "head.1"])
@pytest.mark.parametrize("target", [0, 3])
def test_grad_cam_equals_full_back_propagation_by_hand(layer, target):
    network, x = Plain().double(), pictures(3, dtype=torch.float64)
    (activations,), (gradients,), _ = full_autograd(network, [layer], x, lambda out: out[:, target])
    explanation = ll.explain(network, x, target=target, layer=layer)
    torch.testing.assert_close(explanation.raw[:, 0], grad_cam(activations, gradients), rtol=1e-9, atol=1e-12)


def test_cam_is_grad_cam_times_the_number_of_cells():
    """For global average pooling and one linear layer (Selvaraju et al. 2017, section 3.1)."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    network, x = network.double(), pictures(dtype=torch.float64)
    for target in (None, 2, ll.counter(2), ll.top(3)):
        by_cam = ll.explain(network, x, target, "cam", "1").raw
        torch.testing.assert_close(by_cam, ll.explain(network, x, target, "gradcam", "1").raw * 100)


def test_cam_refuses_another_head():
    with pytest.raises(MethodError, match="'cut' of this Plain has none; use gradcam"):
        ll.explain(Plain(), pictures(), method="cam", layer="cut")


# ---- targets, scores, predictions


def test_scores_probabilities_and_predictions_are_the_networks():
    network, x = Plain().eval(), pictures(3)
    with torch.no_grad():
        expected = network(x)
    explanation = ll.explain(network, x, target=ll.top(2), layer="cut")
    best = expected.topk(2)
    torch.testing.assert_close(explanation.scores, best.values)
    torch.testing.assert_close(explanation.probabilities, expected.softmax(1).gather(1, best.indices))
    assert [[t.index for t in row] for row in explanation.targets] == best.indices.tolist()
    for row, predictions in zip(expected.softmax(1), explanation.predictions, strict=True):
        assert [p.index for p in predictions] == row.argsort(descending=True)[:5].tolist()
        assert [p.probability for p in predictions] == pytest.approx(row.sort(descending=True).values[:5].tolist())


def test_labels_name_targets_and_predictions():
    explanation = ll.explain(loaded(Plain()), photo(), target=ll.each("Espresso", 2), layer="cut")
    assert [target.label for target in explanation.targets[0]] == ["espresso", "rocket"]
    assert {p.label for p in explanation.predictions[0]} == set(LABELS)


def test_every_target_of_an_image_shares_one_forward_pass():
    ran = []

    class Counted(Plain):
        def forward(self, x):
            ran.append(len(x))
            return super().forward(x)

    ll.explain(Counted(), pictures(), target=ll.each(0, 1, ll.counter(2), ll.probability(3)), layer="cut")
    assert ran == [2]


def test_several_targets_have_the_maps_of_each_alone():
    network, x = Plain(), pictures()
    targets = [0, ll.counter(2), ll.probability(3), lambda out: out[:, 1] - out[:, 2]]
    together = ll.explain(network, x, target=ll.each(*targets), layer="cut")
    for j, target in enumerate(targets):
        torch.testing.assert_close(together.raw[:, j], ll.explain(network, x, target=target, layer="cut").raw[:, 0])


def test_counter_negates_the_raw_map():
    network, x = Plain(), pictures()
    against = ll.explain(network, x, target=ll.counter(3), layer="cut").raw
    torch.testing.assert_close(against, -ll.explain(network, x, target=3, layer="cut").raw)


def test_a_list_gives_each_image_its_own_target_across_batches():
    network, x, targets = Plain(), pictures(5), [0, 1, 2, 3, 4]
    for batch_size in (1, 2, 16):
        explanation = ll.explain(network, x, targets, layer="cut", batch_size=batch_size)
        assert [row[0].index for row in explanation.targets] == targets
        for i, target in enumerate(targets):
            torch.testing.assert_close(explanation[i].raw, ll.explain(network, x[i : i + 1], target, layer="cut").raw)


def test_outputs_without_class_scores_are_explained_by_a_callable():
    class Depth(Plain):
        def forward(self, x):
            return {"depth": self.features(x).mean(1)}

    explanation = ll.explain(Depth(), pictures(), lambda out: out["depth"].mean((1, 2)), layer="stem")
    assert explanation.predictions == [[], []]
    assert explanation.probabilities.isnan().all()
    assert explanation.raw.abs().sum() > 0
    with pytest.raises(TargetError, match=r"keys \['depth'\].*callable"):
        ll.explain(Depth(), pictures(), layer="stem")


def test_dictionary_outputs_are_classified():
    network, x = DictOutputs(), pictures()
    explanation = ll.explain(network, x, layer="cut")
    expected = logits(network.eval()(x)).argmax(1).tolist()
    assert [row[0].index for row in explanation.targets] == expected


# ---- layers and methods


def test_the_default_layer_is_the_last_with_a_grid():
    explanation = ll.explain(Plain(), pictures())
    assert explanation.layer == "head.2"
    assert explanation.raw.shape == (2, 1, 4, 4)


def test_several_layers_have_the_maps_of_each_alone():
    network, x = Plain(), pictures()
    both = ll.explain(network, x, layer=["cut", "stem"])
    assert both.layers == ("cut", "stem")
    assert both.layer == "cut+stem"
    for raw, layer in zip(both.raws, both.layers, strict=True):
        torch.testing.assert_close(raw, ll.explain(network, x, layer=layer).raw)
    with pytest.raises(LayerError, match="raws"):
        both.raw


def test_a_shared_module_is_told_and_a_chosen_call_is_not():
    with pytest.warns(SharedLayerWarning, match="'relu' ran 2 times.*'relu@1' to 'relu@2'"):
        ll.explain(Twice(), pictures(), layer="relu")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SharedLayerWarning)
        ll.explain(Twice(), pictures(), layer="relu@1")


def test_a_function_is_a_method():
    explanation = ll.explain(
        Plain(), pictures(), method=lambda activations, gradients: (activations * gradients).sum(1), layer="cut"
    )
    assert explanation.raw.shape == (2, 1, 6, 6)


def test_compare_gives_what_explain_gives_for_each_method():
    network, x = Plain(), pictures()

    def mean_activation(activations):
        return activations.mean(dim=1)

    compared = ll.compare(network, x, ["Grad-CAM", mean_activation], target=ll.top(2), layer="cut")
    assert list(compared) == ["gradcam", "mean_activation"]
    for name, method in (("gradcam", "gradcam"), ("mean_activation", mean_activation)):
        torch.testing.assert_close(compared[name].raw, ll.explain(network, x, ll.top(2), method, "cut").raw)


# ---- batches


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 99])
def test_the_batch_size_changes_nothing(batch_size):
    network, x = Plain(), pictures(5)
    whole, parts = (ll.explain(network, x, ll.top(2), layer=["stem", "cut"], batch_size=b) for b in (5, batch_size))
    for a, b in zip(parts.raws, whole.raws, strict=True):
        torch.testing.assert_close(a, b)
    assert parts.targets == whole.targets
    torch.testing.assert_close(parts.scores, whole.scores)
    torch.testing.assert_close(parts.maps, whole.maps)
    torch.testing.assert_close(parts.peaks, whole.peaks)
    assert torch.equal(parts.inputs, x)
    assert len(parts) == 5


def test_photographs_of_different_sizes_share_a_batch():
    photos = [photo(30, 40), photo(50, 20, 1), photo(12, 12, 2)]
    model = loaded(Plain())
    explanation = ll.explain(model, photos, batch_size=2)
    assert [explanation.heat(i).shape for i in range(3)] == [(30, 40), (50, 20), (12, 12)]
    for i, one in enumerate(photos):
        torch.testing.assert_close(ll.explain(model, one).raw, explanation[i].raw)


def test_photographs_are_prepared_as_the_model_wants_them():
    model, pixels = loaded(Plain()), photo()
    tensor, _ = model.preprocessing(torch.from_numpy(pixels).permute(2, 0, 1), "crop")
    torch.testing.assert_close(ll.explain(model, pixels).raw, ll.explain(model.network, tensor[None]).raw)


def test_photographs_follow_the_networks_precision():
    assert ll.explain(loaded(Plain().double()), photo()).raw.dtype == torch.float64


# ---- refusals: one clear line


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(3, 12, 12), r"images\[None\] makes a batch of one"),
        (torch.zeros(0, 3, 12, 12), "shape \\(0, 3, 12, 12\\)"),
        (torch.zeros(2, 3, 0, 12), "shape"),
        (torch.zeros(12), "shape"),
        ([], "no images were given"),
        (photo(), "without preprocessing"),
    ],
    ids=["one image", "empty batch", "no rows", "vector", "empty list", "photograph for a bare network"],
)
def test_images_that_are_none_are_refused(images, said):
    with pytest.raises(InputError, match=said):
        ll.explain(Plain(), images)


def test_images_on_another_device_are_refused():
    with pytest.raises(InputError, match="images are on meta, the network on cpu"):
        ll.explain(Plain(), torch.zeros(1, 3, 12, 12, device="meta"))


def test_what_is_no_network_is_refused():
    with pytest.raises(ModelError, match="'resnet18' is no network"):
        ll.explain("resnet18", pictures())


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"layer": "ctu"}, LayerError, "Did you mean 'cut'"),
        ({"layer": "fc"}, LayerError, "'fc' gives shape .* no grid"),
        ({"target": 9}, TargetError, "5 classes"),
        ({"target": [0]}, TargetError, "1 targets for 2 images"),
        ({"target": "tabby"}, TargetError, "no labels"),
        ({"method": "gradcamm"}, MethodError, "Did you mean 'gradcam'"),
        ({"method": lambda a, g: a}, MethodError, "asks for \\['a', 'g'\\]"),
        ({"method": 3}, MethodError, "3 is no method"),
        ({"fusion": "sum"}, MethodError, "'sum'"),
        ({"batch_size": 0}, InputError, "batch_size=0"),
    ],
    ids=lambda value: spelt(value) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_are_refused(options, kind, said):
    with pytest.raises(kind, match=said):
        ll.explain(Plain(), pictures(), **options)


def test_a_misspelt_label_or_layer_is_told_before_a_photograph_is_read():
    for options in ({"target": "taby"}, {"layer": "ctu"}):
        with pytest.raises(ll.LimelightError, match="Did you mean"):
            ll.explain(loaded(Plain()), "no-such-photo.jpg", **options)


def test_nan_weights_are_told_by_the_parameters_name():
    network = Plain()
    with torch.no_grad():
        network.head[1].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"NaN in head\.1\.weight"):
        ll.explain(network, pictures(), layer="cut")


def test_nan_images_are_told_by_their_number():
    x = pictures(3)
    x[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"for images \[1\]"):
        ll.explain(Plain(), x, layer="cut")


def test_nan_images_are_told_by_their_number_in_later_batches():
    x = pictures(3)
    x[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"for images \[1\]"):
        ll.explain(Plain(), x, layer="cut", batch_size=1)


def test_an_infinite_gradient_never_reaches_a_map():
    def root(outputs):
        return (outputs[:, 0] * 0).sqrt() * outputs[:, 1]

    with pytest.raises(ModelError, match="method 'gradcam' gives NaN or infinity at layer 'cut'"):
        ll.explain(Plain(), pictures(), target=root, layer="cut")


def test_a_networks_own_error_stays_itself_with_the_shapes_added():
    with pytest.raises(RuntimeError, match="channels") as error:
        ll.explain(Plain(), torch.zeros(1, 4, 12, 12), layer="cut")
    assert any("(1, 4, 12, 12)" in note for note in error.value.__notes__)


@pytest.mark.filterwarnings("default::limelight.errors.ZeroMapWarning")
def test_a_zero_map_is_told_with_layer_target_and_what_to_try():
    network = Plain()
    nn.init.zeros_(network.fc.weight)
    with pytest.warns(
        ZeroMapWarning, match="image 0: nothing at layer 'cut' speaks for 'class 3'.*earlier layer"
    ) as told:
        explanation = ll.explain(network, pictures(), target=3, layer="cut")
    assert "1 more" in str(told[0].message)
    assert told[0].filename == __file__
    assert not explanation.maps.any()
    assert explanation.peaks.isnan().all()


# ---- known bugs


def test_a_method_may_ask_for_its_evidence_in_any_order():
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    maps = ll.explain(network, pictures(), layer="0", method=lambda gradients, class_weights: gradients.sum(1))
    assert maps.raw.shape == (2, 1, 10, 10)


@pytest.mark.parametrize("answer", [lambda activations: activations, lambda activations: activations.mean()])
def test_a_method_that_gives_no_map_is_told(answer):
    with pytest.raises(MethodError):
        ll.explain(Plain(), pictures(), method=answer, layer="cut")


def test_compare_loses_no_method():
    methods = [lambda activations: activations.mean(1), lambda activations: activations.amax(1)]
    try:
        assert len(ll.compare(Plain(), pictures(), methods, layer="cut")) == 2
    except MethodError:
        return
