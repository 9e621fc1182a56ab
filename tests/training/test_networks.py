"""Any network by name gets a head for the classes at hand; where that head is not plain, it is said."""

from __future__ import annotations

import pytest
import torch

from limelight.errors import ModelError
from limelight.models import save
from limelight.training import networks
from limelight.training.calibrate import fold_in
from limelight.training.features import linear_head

CLASSES = "a", "b", "c"


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "torchvision/mobilenet_v3_small", "vit_tiny_patch16_224", "small_cnn"]
)
def test_the_head_is_found_whatever_its_name(name):
    model = networks.start(name, "random", CLASSES, None if "vit" in name else 64)
    where, module = networks.head(model)
    assert module.out_features == 3 and model.labels == CLASSES
    assert linear_head(model) is module is model.network.get_submodule(where)


def test_the_margin_is_shown():
    assert networks.start("small_cnn", "random", CLASSES).preprocessing.crop == 1.0
    assert networks.start("mobilenetv3_small_050", "random", CLASSES, 64).preprocessing.crop == 1.0


def test_a_head_that_is_not_one_linear_layer_can_not_be_frozen():
    model = networks.start("torchvision/squeezenet1_1", "random", CLASSES, 64)
    with pytest.raises(ModelError, match="not one linear layer"):
        linear_head(model)


def test_a_size_the_network_does_not_take_is_one_line():
    with pytest.raises(ModelError, match="can't be run on pictures of 100x100") as refused:
        networks.start("vit_tiny_patch16_224", "random", CLASSES, 100)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_of_as_many_classes_still_gets_a_new_head(tmp_path):
    old = networks.start("small_cnn", "random", CLASSES)
    save(old, tmp_path / "run")
    new = networks.start(str(tmp_path / "run"), "default", CLASSES)
    old_head, new_head = (networks.head(model)[1].weight for model in (old, new))
    assert torch.equal(old.network[0][0].weight, new.network[0][0].weight)
    assert not torch.equal(old_head, new_head)


@pytest.mark.parametrize("name", ["small_cnn", "torchvision/squeezenet1_1"])
def test_a_temperature_folded_in_divides_the_outputs(name):
    model = networks.start(name, "random", CLASSES, 64)
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = model.network(x)
        assert fold_in(model, 2.5)
        assert torch.allclose(model.network(x), before / 2.5, atol=1e-5)


def test_a_head_that_something_curved_follows_is_left_alone():
    model = networks.start("small_cnn", "random", CLASSES, 32)
    model.network.append(torch.nn.Tanh())
    before = [parameter.clone() for parameter in model.network.parameters()]
    assert not fold_in(model, 3.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.network.parameters(), strict=True))
