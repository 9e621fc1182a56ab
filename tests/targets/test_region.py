"""dense.py: why a part of the picture is a class, for outputs that are maps of class scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import limelight as ll
from limelight.errors import TargetError
from limelight.grid import default_layer
from limelight.targets.regions import commonest, part_of, region, region_scores


class Segmenter(nn.Module):
    """An encoder, a bottleneck, and a decoder with a skip connection: a U-Net of four convolutions."""

    def __init__(self, as_dict: bool = False):
        super().__init__()
        self.encoder = nn.Conv2d(3, 6, 3, padding=1)
        self.bottleneck = nn.Conv2d(6, 12, 3, 2, 1)
        self.decoder = nn.Conv2d(18, 6, 3, padding=1)
        self.classifier = nn.Conv2d(6, 4, 1)
        self.as_dict = as_dict

    def forward(self, x: Tensor):
        skip = self.encoder(x).relu()
        deep = nn.functional.interpolate(self.bottleneck(skip).relu(), scale_factor=2)
        out = self.classifier(self.decoder(torch.cat([skip, deep], dim=1)).relu())
        return {"out": out, "aux": out * 2} if self.as_dict else out


def pictures() -> Tensor:
    return torch.randn(2, 3, 16, 12)


@pytest.mark.parametrize("as_dict", [False, True])
def test_the_default_layer_of_a_segmenter_is_the_end_of_its_encoder(as_dict):
    assert default_layer(Segmenter(as_dict), pictures()) == "bottleneck"


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
@pytest.mark.parametrize("as_dict", [False, True])
def test_a_class_where_it_is_predicted_is_the_default_question(as_dict):
    network, x = Segmenter(as_dict).eval(), pictures()
    maps = network(x)["out"] if as_dict else network(x)
    predicted = maps.argmax(dim=1)
    best = int(predicted[0].flatten().mode().values)
    found = ll.explain(network, x[:1])
    assert found.targets[0][0].index == best
    inside = predicted[0] == best
    torch.testing.assert_close(found.scores[0, 0], maps[0, best][inside].mean())


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_the_map_of_a_region_is_that_of_full_autograd():
    network, x = Segmenter().eval(), pictures()
    mask = torch.zeros(2, 16, 12)
    mask[0, 3:9, 2:7] = 1
    mask[1, 10:, :] = 1
    found = ll.explain(network, x, target=region(1, mask=mask))
    kept: list[Tensor] = []
    handle = network.bottleneck.register_forward_hook(lambda module, args, output: kept.append(output))
    scores = (network(x)[:, 1] * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
    handle.remove()
    (slope,) = torch.autograd.grad(scores.sum(), kept[0])
    expected = (slope.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1)
    torch.testing.assert_close(found.raw[:, 0], expected.detach())
    torch.testing.assert_close(found.scores[:, 0], scores.detach())


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_several_regions_and_replay():
    network, x = Segmenter().eval(), pictures()
    asked = ll.each(*(region(i, box=(0, 0, 6, 8)) for i in range(4)), ll.counter(region(1, point=(3, 4))))
    found = ll.explain(network, x, target=asked)
    one = ll.explain(network, x, target=region(2, box=(0, 0, 6, 8)))
    torch.testing.assert_close(found.raw[:, 2], one.raw[:, 0])
    assert ll.explain(network, x, target=region(2, box=(0, 0, 6, 8)), method="ablationcam").raw.shape == (2, 1, 8, 6)


def test_parts():
    maps = torch.zeros(2, 3, 4, 5)
    inside = part_of(region(0, box=(1, 0, 3, 2)), maps)
    assert inside is not None
    assert inside[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    inside = part_of(region(0, point=(4, 3)), maps)
    assert inside is not None
    assert inside[1].nonzero().tolist() == [[3, 4]]
    assert part_of(region(0), maps) is None
    maps[0, 1, :, :3], maps[1, 2] = 1, 1
    assert commonest(maps, None).tolist() == [1, 2]
    right = part_of(region(box=(3, 0, 5, 4)), maps)
    assert right is not None
    assert commonest(maps, right).tolist() == [0, 2]
    assert region_scores(maps, torch.tensor([1, 2]), torch.ones(2, 4, 5)).tolist() == [pytest.approx(0.6), 1.0]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: region(9), "class 9 is out of range: the network has 4 classes"),
        (lambda: region(1, mask=torch.ones(8, 8)), "a mask of shape (8, 8) does not fit the network's map"),
        (lambda: region(1, mask=torch.zeros(16, 12)), "zero everywhere"),
        (lambda: region(1, box=(20, 0, 30, 5)), "lies outside the network's map of 12 x 16"),
        (lambda: region(1, box=(5, 0, 2, 5)), "x0 < x1"),
        (lambda: region(1, point=(3, 16)), "lies outside"),
        (lambda: region(1, box=(0, 0, 2, 2), point=(1, 1)), "not several"),
        (lambda: region("cat"), "no labels to look 'cat' up in"),
    ],
)
def test_a_region_that_does_not_fit_is_refused_in_one_line(ask, said):
    with pytest.raises(TargetError) as error:
        ll.explain(Segmenter(), pictures(), target=ask())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_that_is_predicted_nowhere_is_told():
    network = Segmenter()
    nn.init.constant_(network.classifier.bias, 0)
    with torch.no_grad():
        network.classifier.bias[3] = -100
    with pytest.raises(TargetError, match="'class 3' is predicted nowhere in image 0: ask about a part"):
        ll.explain(network, pictures(), target=3)


def test_a_classifier_has_no_regions():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(TargetError, match="class scores for every pixel, and this one does not"):
        ll.explain(network, pictures(), target=region(1))


def test_each_image_keeps_its_own_mask_in_every_batch():
    import limelight as ll

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1))
    x, masks = torch.randn(5, 3, 8, 8), torch.rand(5, 8, 8) > 0.7
    whole, parts = (
        ll.explain(network, x, target=ll.region(1, mask=masks), layer="0", method="hirescam", batch_size=size)
        for size in (5, 2)
    )
    torch.testing.assert_close(parts.raw, whole.raw)
