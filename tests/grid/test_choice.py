"""choice.py: which layers have a grid, and which of them is explained unless one is named."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.cut import Cut
from limelight.errors import LayerError, TargetError
from limelight.grid import candidates, default_layer, known, layout_of, walk
from tests.networks import Plain, Twice, pictures, untouched


def on_meta(make, **options):
    """A real architecture's shapes without its arithmetic."""
    with torch.device("meta"):
        return make(**options), torch.empty(1, 3, 224, 224)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("resnet18", "layer4", (1, 512, 7, 7)),
        ("resnet50", "layer4", (1, 2048, 7, 7)),
        ("vgg16", "avgpool", (1, 512, 7, 7)),  # keeps 7 x 7 and hands on a new tensor
        ("densenet121", "features", (1, 1024, 7, 7)),
        ("mobilenet_v3_large", "features", (1, 960, 7, 7)),
        ("efficientnet_b0", "features", (1, 1280, 7, 7)),
        ("convnext_tiny", "features", (1, 768, 7, 7)),
    ],
)
def test_the_default_layer_of_torchvisions_networks(name, layer, shape):
    import torchvision

    network, x = on_meta(getattr(torchvision.models, name), weights=None)
    last, visit = candidates(walk(network, x))[-1]
    assert default_layer(network, x) == last
    assert visit.shape == shape
    assert last == layer


def test_the_default_layer_of_efficientnet_lite0_is_bn2_after_its_activation():
    import timm

    network, x = on_meta(timm.create_model, model_name="efficientnet_lite0")
    assert default_layer(network, x) == "bn2"
    visit = dict(candidates(walk(network, x)))["bn2"]
    assert visit.shape == (1, 1280, 7, 7)


def test_the_default_is_the_last_that_ran_not_the_last_that_was_written():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.late = nn.Conv2d(4, 4, 1)
            self.early = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.late(self.early(x)).mean((2, 3))

    assert default_layer(Backwards(), pictures()) == "late"


def test_one_cell_is_no_grid():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten())
    assert default_layer(network, pictures()) == "0"


def test_a_grid_of_one_row_is_a_grid():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((1, 4)), nn.Flatten())
    assert default_layer(network, pictures()) == "1"


def test_a_shared_activation_that_is_last_gets_its_call():
    class SharedLast(Twice):
        def forward(self, x):
            return self.fc(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))

    network, x = SharedLast(), pictures()
    assert default_layer(network, x) == "relu@2"
    assert Cut.at(network, "relu@2").capture(x).activations[0].shape == (2, 8, 12, 12)


class _Ends(nn.Module):
    """Its last step is an activation it shares with the rest of the network."""

    def __init__(self, step: nn.Module, act: nn.Module):
        super().__init__()
        self.step = step
        self.act = act

    def forward(self, x):
        return self.act(self.step(x))


class SharedWithTheHead(nn.Module):
    """One activation for the maps and, at the end of a container, for the vectors."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.conv = nn.Conv2d(3, 6, 3)
        self.mlp = _Ends(nn.Linear(6, 6), self.act)
        self.out = nn.Linear(6, 5)

    def forward(self, x):
        return self.out(self.mlp(self.act(self.conv(x)).mean((2, 3))))


def test_a_call_is_written_although_the_other_call_is_listed_as_its_container():
    assert default_layer(SharedWithTheHead(), pictures()) == "act@1"


@pytest.mark.parametrize("make", [SharedWithTheHead, lambda: _resnet18()], ids=["head", "resnet18"])
def test_every_candidate_when_captured_has_the_shape_it_was_listed_with(make):
    network, x = make(), pictures(1, 64)
    for name, visit in candidates(walk(network, x)):
        captured = Cut.at(network, name).capture(x)
        assert tuple(captured.activations[0].shape) == visit.shape
        assert captured.sites[0].call == (visit.call if captured.calls[0] > 1 else None)


def _resnet18():
    import torchvision

    return torchvision.models.resnet18(num_classes=5)


def test_layers_that_only_hand_a_tensor_on_are_not_listed():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Dropout(), nn.ReLU(inplace=True), nn.AvgPool2d(2))
    assert [visit.name for visit in walk(network, pictures()).visits] == ["0", "3", "4"]


def test_a_container_is_listed_in_place_of_its_last_child():
    visits = walk(Plain(), pictures()).visits
    expected = ["stem.0", "stem.1", "stem", "cut.0", "cut.1", "cut", "head.1", "head.2"]
    assert [visit.name for visit in visits if visit.has_grid] == expected


def test_the_walk_leaves_the_network_as_it_was():
    network = Plain().train()
    with untouched(network):
        walk(network, pictures())


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), nn.Flatten()], ids=["linear", "none"]
)
def test_a_network_without_a_grid_is_refused(network):
    with pytest.raises(LayerError, match=r"no layer of this .* has a grid"):
        default_layer(network, pictures())


@pytest.mark.parametrize("layer", ["pool", "flat"])
def test_what_has_no_grid_is_refused_by_name_and_shape(layer):
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(3, 8, 3))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    with pytest.raises(LayerError, match="no grid to draw on") as error:
        layout_of(Cut.at(network, layer).capture(pictures()), 0)
    assert f"'{layer}'" in str(error.value)
    assert "(2, 8" in str(error.value)


def test_a_map_is_its_own_grid():
    captured = Cut.at(Plain(), "cut").capture(pictures())
    layout = layout_of(captured, 0)
    assert layout.plain
    assert layout.read(captured.activations[0]) is captured.activations[0]


# ---- remembered


class Counted(Plain):
    """How often it ran."""

    ran = 0

    def forward(self, x):
        self.ran += 1
        return super().forward(x)


def test_the_extra_forward_is_paid_once_for_each_shape():
    network = Counted()
    for _ in range(3):
        default_layer(network, pictures(4, 12))
    assert network.ran == 1
    default_layer(network, pictures(1, 12))
    assert network.ran == 1, "the batch's size is no part of the shape"
    default_layer(network, pictures(1, 16))
    assert network.ran == 2


def test_only_one_image_is_run():
    seen = []

    class Watching(Plain):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    default_layer(Watching(), pictures(4))
    assert seen == [1]


def test_a_wrapper_and_its_network_share_what_is_remembered():
    network = Counted()
    assert default_layer(nn.DataParallel(network), pictures()) == default_layer(network, pictures())
    assert network.ran == 1


def test_what_is_remembered_dies_with_the_network():
    network = Plain()
    default_layer(network, pictures())
    assert network in known._known
    alive, remembered = weakref.ref(network), len(known._known)
    del network
    gc.collect()
    assert alive() is None
    assert len(known._known) < remembered


def test_a_layer_that_was_taken_away_is_looked_for_again():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert default_layer(network, pictures()) == "1"
    network = network.append(nn.Linear(4, 5))
    del network[1]
    network[1] = nn.AdaptiveAvgPool2d(1)
    assert default_layer(network, pictures()) in ("0", "1")


def test_inference_images_through_a_first_layer_that_hands_them_on():
    with torch.inference_mode():
        x = pictures().clone()
    assert default_layer(nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3), nn.Flatten()), x) == "1"


class OneNumber(nn.Module):
    """Evidence of which the strongest cells are read, so that the answer does not depend on every one."""

    def __init__(self, column: bool, squeezed: bool = False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.evidence = nn.Conv2d(6, 1, 1)
        self.column, self.squeezed = column, squeezed

    def forward(self, x):
        score = self.evidence(self.body(x)).flatten(1).topk(5, dim=1).values.mean(dim=1, keepdim=True)
        return score.squeeze() if self.squeezed else score if self.column else score[:, 0]


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_number_an_image_is_taken_as_a_column_of_them(squeezed):
    column, bare = OneNumber(column=True).eval(), OneNumber(column=False, squeezed=squeezed).eval()
    bare.load_state_dict(column.state_dict())
    assert default_layer(bare, pictures()) == default_layer(column, pictures()) == "evidence"
    told, same = (ll.explain(network, pictures()) for network in (bare, column))
    torch.testing.assert_close(told.raw, same.raw)
    assert told.predictions == same.predictions
    assert ll.explain(bare, pictures(), target=lambda outputs: -outputs).raw.shape == same.raw.shape


def test_scores_whose_batch_was_squeezed_away_are_no_numbers_an_image():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(0)).eval()
    with pytest.raises(TargetError, match=r"shape \(4,\) for 1 image, neither class scores"):
        ll.explain(network, pictures()[:1])
