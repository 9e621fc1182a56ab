"""detectors/: every box that a detector considers can be asked about, in one forward pass, and nothing is changed."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torchvision.models import detection, resnet18
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import limelight as ll
from limelight.detectors import levels_of, recognised
from limelight.detectors.raw import centred
from limelight.errors import InputError, LimelightError, TargetError
from limelight.targets import Candidates
from limelight.targets.boxes import find, overlaps

SIDES = {"min_size": 64, "max_size": 128}


def small(extra: bool = False) -> nn.Module:
    body = resnet18(norm_layer=nn.BatchNorm2d)
    blocks = LastLevelP6P7(256, 256) if extra else None
    return _resnet_fpn_extractor(body, 0, returned_layers=[2, 3, 4] if extra else None, extra_blocks=blocks)


def seeded(build) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


DETECTORS = {
    "Faster R-CNN": lambda: FasterRCNN(small(), 5, rpn_post_nms_top_n_test=50, box_score_thresh=0.0, **SIDES),
    "Mask R-CNN": lambda: detection.MaskRCNN(small(), 5, rpn_post_nms_top_n_test=20, box_detections_per_img=5, **SIDES),
    "RetinaNet": lambda: RetinaNet(small(True), 5, score_thresh=0.0, detections_per_img=20, **SIDES),
    "FCOS": lambda: FCOS(small(True), 5, score_thresh=0.0, detections_per_img=20, **SIDES),
    "SSDlite": lambda: detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5, detections_per_img=20
    ),
}
_built: dict[str, nn.Module] = {}


@pytest.fixture(params=DETECTORS)
def network(request) -> nn.Module:
    if request.param not in _built:
        _built[request.param] = seeded(DETECTORS[request.param])
    return _built[request.param]


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 64, 96)


def candidates_of(network, pictures) -> Candidates:
    with torch.no_grad():
        return recognised(network)(pictures)


class Counted:
    """How often the network's body runs."""

    def __init__(self, network: nn.Module):
        self.calls = 0
        self.handle = network.backbone.register_forward_hook(self.count)

    def count(self, *call):
        self.calls += 1


def test_every_detection_is_among_the_candidates_with_its_own_probability(network, pictures):
    outputs, own = candidates_of(network, pictures), network(pictures)
    assert len(outputs) == 2 and outputs.size == (64, 96)
    for i, found in enumerate(own):
        assert torch.equal(outputs.found[i].boxes, found["boxes"])
        for box, label, score in zip(found["boxes"][:5], found["labels"], found["scores"], strict=False):
            if (box[2:] - box[:2]).amin() < 1e-2:
                continue  # an untrained network's box of no area overlaps nothing
            place = find(outputs, i, int(label), tuple(box.tolist()), 0.99)
            assert place is not None
            group = outputs.groups[i][place.group]
            torch.testing.assert_close(group.probabilities[place.row, place.column], score)
            torch.testing.assert_close(group.of_class(place.column)[place.row], box)


def test_the_map_is_that_of_autograd_through_the_whole_network(network, pictures):
    """The reference pulls the probability that the network itself returns back to the levels of its pyramid."""
    picture = pictures[:1]
    levels = levels_of(recognised(network), (picture,), {})
    assert levels is not None and len(levels) >= 4
    kept: list[torch.Tensor] = []

    def apart(module, args, out):
        kept.append(out.detach().requires_grad_())
        return kept[-1].clone()

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(apart) for name in levels]
    found = network(picture)[0]
    for handle in handles:
        handle.remove()
    sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
    j = int((sides.amin(dim=1) > 1).nonzero()[0])
    kept.sort(key=lambda level: -level.shape[-1])  # as the pyramid hands them on: finest first
    gradients = torch.autograd.grad(found["scores"][j], kept, allow_unused=True)
    box, label = tuple(found["boxes"][j].tolist()), int(found["labels"][j])
    explanation = ll.explain(network, picture, target=ll.probability(ll.box(box, label, overlap=0.99)))
    assert explanation.layers == tuple(levels)
    assert any(gradient is not None for gradient in gradients)
    for raw, level, gradient in zip(explanation.raws, kept, gradients, strict=True):
        slope = torch.zeros_like(level) if gradient is None else gradient
        reference = (slope.mean(dim=(2, 3), keepdim=True) * level).sum(dim=1).detach()
        torch.testing.assert_close(raw[:, 0], reference, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(explanation.probabilities[0, 0], found["scores"][j].detach())


def test_twenty_boxes_take_one_forward_pass(network, pictures):
    groups = candidates_of(network, pictures[:1]).groups[0]
    places = torch.cat([group.of_class(1) for group in groups])
    places = places[(places[:, 2:] - places[:, :2]).amin(dim=1) > 1]
    boxes = [ll.box(places[k % len(places)].tolist(), 1 + k % 4) for k in range(20)]
    ll.explain(network, pictures[:1])  # finds the levels, once for a network
    counted = Counted(network)
    explanation = silently(network, pictures[:1], ll.each(*boxes))
    counted.handle.remove()
    assert counted.calls == 1
    assert explanation.maps.shape == (1, 20, 64, 96)


def silently(network, pictures, target, **options):
    """Without a word about maps of zeros, which random networks give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ll.explain(network, pictures, target=target, **options)


def test_the_network_is_left_as_it_was(network, pictures):
    kind, before, hooks = type(network), copy.deepcopy(network.state_dict()), len(network._forward_hooks)
    network.train()
    ll.explain(network, pictures)
    assert type(network) is kind and "limelight_reader" not in vars(network) and len(network._forward_hooks) == hooks
    assert network.training and all(module.training for module in network.modules())
    network.eval()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert isinstance(network(pictures), list)


def test_an_image_s_maps_do_not_depend_on_its_batch(network, pictures):
    target = ll.box((5, 5, 60, 40), 2)
    both = silently(network, pictures, target)
    alone = silently(network, pictures[1:], target)
    for one, other in zip(both.raws, alone.raws, strict=True):
        torch.testing.assert_close(one[1], other[0], rtol=1e-3, atol=1e-6)


def test_pictures_in_a_list_as_torchvision_takes_them(network, pictures):
    listed, stacked = (silently(network, given, None) for given in (list(pictures), pictures))
    assert torch.equal(listed.maps, stacked.maps)


@pytest.fixture(scope="module")
def rcnn():
    return seeded(DETECTORS["Faster R-CNN"])


def test_all_detections_have_a_map_each(rcnn, pictures):
    own = rcnn(pictures[:1])[0]
    explanation = silently(rcnn, pictures[:1], ll.detections(most=7))
    assert [named.index for named in explanation.targets[0]] == own["labels"][:7].tolist()
    torch.testing.assert_close(explanation.probabilities[0], own["scores"][:7].detach())
    torch.testing.assert_close(torch.tensor([named.box for named in explanation.targets[0]]), own["boxes"][:7].detach())
    assert [p.index for p in explanation.predictions[0]] == own["labels"][:5].tolist()
    top = silently(rcnn, pictures[:1], ll.top(7))
    assert torch.equal(top.maps, explanation.maps)


def test_the_best_detection_is_asked_about_unless_told(rcnn, pictures):
    explanation, own = silently(rcnn, pictures, None), rcnn(pictures)
    assert [row[0].index for row in explanation.targets] == [int(one["labels"][0]) for one in own]
    for_class = silently(rcnn, pictures, 3)
    assert [row[0].index for row in for_class.targets] == [3, 3]


def test_why_no_box_is_the_other_side_of_why_a_box(rcnn, pictures):
    box = ll.box((5, 5, 60, 40), 2)
    there, against = (silently(rcnn, pictures, target) for target in (box, ll.counter(box)))
    assert torch.equal(there.scores, -against.scores)
    assert all(torch.equal(one, -other) for one, other in zip(there.raws, against.raws, strict=True))
    assert against.targets[0][0].label == "not class 2" and against.targets[0][0].box == (5, 5, 60, 40)


@pytest.mark.parametrize("scale", [ll.probability, ll.log_probability])
def test_scores_on_other_scales(rcnn, pictures, scale):
    box = ll.box((5, 5, 60, 40), 2)
    explanation = silently(rcnn, pictures, scale(box))
    expected = explanation.probabilities if scale is ll.probability else explanation.probabilities.log()
    torch.testing.assert_close(explanation.scores, expected)


@pytest.mark.parametrize("method", ["hirescam", "layercam", "rise(samples=8)", "saliency"])
def test_other_methods(rcnn, pictures, method):
    name, _, setting = method.partition("(")
    chosen = ll.methods.get(name)(samples=8) if setting else name
    explanation = silently(rcnn, pictures[:1], ll.box((5, 5, 60, 40), 2), method=chosen)
    assert explanation.maps.isfinite().all() and float(explanation.maps.amax()) == 1


def test_maps_lie_where_the_network_saw_the_picture(pictures):
    """The network pads 64 x 80 to 64 x 96: a level of 12 columns covers 96 pixels, not 80."""
    rcnn = seeded(DETECTORS["Faster R-CNN"])
    explanation = silently(rcnn, torch.rand(1, 3, 64, 80), None, layer="backbone.body.layer3", method="hirescam")
    assert explanation.canvas == (0, 0, 96, 64)
    from limelight.heatmap import place, rectify, rescale

    whole = place(rescale(rectify(explanation.raw)), (64, 96), (0, 0, 96, 64))
    torch.testing.assert_close(explanation.maps, whole[..., :80])
    x = explanation.peaks[0, 0, 0]
    column = explanation.raw[0, 0].amax(dim=0).argmax()
    assert float(x) == pytest.approx((float(column) + 0.5) / explanation.raw.shape[-1] * 96)


def test_the_box_is_drawn_and_recorded(rcnn, pictures):
    explanation = silently(rcnn, pictures[:1], ll.box((10, 10, 60, 40), 2))
    assert explanation.records()[0]["targets"][0]["box"] == [10, 10, 60, 40]
    picture = explanation.overlay()
    assert picture.size == (96, 64) and picture.getpixel((30, 10)) != explanation.photo().getpixel((30, 10))


def test_the_other_tools_take_a_detector(rcnn, pictures):
    """Its layers are listed, a doctor examines it, and a verdict, which turns the picture round, is refused."""
    assert any(layer.default for layer in ll.layers(rcnn, pictures[:1]))
    assert not {"layer", "constant", "chance"} & {finding.check for finding in ll.doctor(rcnn, pictures)}
    with pytest.raises(InputError, match="a detector's boxes"):
        silently(rcnn, pictures[:1], None).verdict()


# ---- what can't be asked


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: ll.box((200, 0, 300, 50), 1), "outside the picture of 96 x 64"),
        (lambda: ll.box((30, 0, 10, 50), 1), "x0 < x1"),
        (lambda: ll.box((1, 2, 3), 1), "x0 < x1"),
        (lambda: ll.box((0, 0, 9, 9), 7), "class 7 is out of range: the network has 5 classes"),
        (lambda: ll.box((0, 0, 9, 9), "cat"), "no labels to look 'cat' up in"),
        (lambda: ll.box((0, 0, 9, 9), overlap=0), "lies in (0, 1]"),
        (lambda: ll.detections(above=0.999999), "finds nothing in image 0 with a probability above"),
        (lambda: ll.detections(above=2), "a probability, from 0 to 1"),
        (lambda: ll.detections(most=0), "at least one"),
        (lambda: ll.rest(ll.box((0, 0, 9, 9), 1)), "ReST"),
    ],
)
def test_what_can_t_be_asked(rcnn, pictures, ask, said):
    with pytest.raises(TargetError) as error:
        ll.explain(rcnn, pictures, target=ask())
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_classifier_has_no_boxes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(TargetError, match=r"asked of a detector.*limelight.detector"):
        ll.explain(network, torch.rand(1, 3, 8, 8), target=ll.box((0, 0, 4, 4)))


def test_pictures_of_several_sizes(rcnn):
    with pytest.raises(InputError, match="several sizes"):
        ll.explain(rcnn, [torch.rand(3, 64, 96), torch.rand(3, 64, 64)])


# ---- raw outputs


class Yolo(nn.Module):
    """A YOLO-like head: at each of 4 x 6 cells a box around it, an objectness and three classes, in pixels."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 4, 1), nn.ReLU()
        )
        self.head = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        given = self.head(self.body(x)).flatten(2).transpose(1, 2)
        y, x = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
        centres = torch.stack([x, y], dim=-1).view(1, -1, 2) * 16 + 8.0
        boxes = torch.cat([centres + given[..., :2], 12 + given[..., 2:4].exp()], dim=-1)
        return (torch.cat([boxes, given[..., 4:].sigmoid()], dim=-1),)


@pytest.mark.parametrize("layout", ["batch boxes (box object classes)", "batch boxes (box classes)"])
def test_a_yolo_like_head(pictures, layout):
    network = seeded(Yolo)
    detector = ll.detector(network, layout)
    explanation = silently(detector, pictures, ll.box((34, 18, 46, 30), 1), method="hirescam")
    rows = network(pictures)[0]
    own = rows[..., 4:5] * rows[..., 5:] if "object" in layout else rows[..., 4:]
    cell = int(overlaps(centred(rows[0, :, :4]), (34, 18, 46, 30)).argmax())
    torch.testing.assert_close(explanation.probabilities[0, 0], own[0, cell, 1].detach())
    assert int(explanation.raw[0, 0].abs().argmax()) == cell  # a head of 1 x 1 reads one cell
    assert type(network) is Yolo


def test_what_says_where_the_boxes_are_is_checked(pictures):
    network = seeded(Yolo)
    for read, said in [
        (lambda out: out[0], r"read= gave a tensor.*it must give boxes \(1, n, 4\)"),
        (lambda out: (out[0][..., :4], 10 * out[0][..., 4:]), "outside"),
    ]:
        with pytest.raises(LimelightError, match=said):
            ll.explain(ll.detector(network, read), pictures)
    with pytest.raises(TargetError, match="no such layout"):
        ll.detector(network, "boxes first")
