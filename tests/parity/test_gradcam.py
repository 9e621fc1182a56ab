"""Grad-CAM is the one everybody means: the same map as full autograd, pytorch-grad-cam, torchcam and captum give.

Random weights, several layers of each network, random targets. Maps are compared at the layer's own resolution and in
their own units (nothing is rescaled), relative to the largest value of each map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import Tensor, nn

import limelight as ll
from tests.architectures import build

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")  # random targets: half are negative

BATCH = 2


@dataclass(frozen=True)
class Case:
    """A network, an input size that is quick, and the layers to compare at: the default one last."""

    network: str
    size: int
    layers: tuple[str, ...]
    pooled: bool = False  # whether its head is global average pooling and one linear layer
    overwritten: tuple[str, ...] = ()  # layers that the network itself overwrites in a way the peers can't be spared


CASES = (
    Case("resnet50", 96, ("layer2.3.bn2", "layer3.4", "layer4"), pooled=True),
    Case("vgg16", 64, ("features.21", "features.28", "features", "avgpool")),
    Case("mobilenet_v3_large", 96, ("features.6", "features.12.block.0", "features")),
    Case("densenet121", 96, ("features.transition2", "features.denseblock4", "features"), overwritten=("features",)),
    Case("convnext_tiny", 96, ("features.3", "features.5.8.block", "features")),
    Case("efficientnet_b0", 96, ("features.4", "features.6.2.block.1", "features"), pooled=True),
    Case("inception_v3", 107, ("Mixed_5d", "Mixed_6e", "Mixed_7c"), pooled=True),
    Case(
        "regnet_y_400mf", 96, ("trunk_output.block2", "trunk_output.block4.block4-2.f.b", "trunk_output"), pooled=True
    ),
    Case("efficientnet_lite0", 96, ("blocks.3", "blocks.5.3.conv_pw", "bn2"), pooled=True),
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A case made real."""

    case: Case
    network: nn.Module
    images: Tensor
    classes: list[int]

    @cached_property
    def telling(self) -> dict[str, list[int]]:
        """For each layer that the peers are asked about, classes whose maps are not zero."""
        layers = [layer for layer in self.case.layers if layer not in self.case.overwritten]
        return {layer: classes_with_evidence(self.network, layer, self.images) for layer in layers}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.network)
def subject(request: pytest.FixtureRequest) -> Subject:
    case: Case = request.param
    network = build(case.network, size=case.size)
    # Gradients of parameters take no part in a map; the peers would spend most of their time on them.
    network.requires_grad_(False)
    noise = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, case.size, case.size, generator=noise)
    return Subject(case, network, images, torch.randint(1000, (BATCH,), generator=noise).tolist())


# ---- the reference: nothing of limelight in it


def reference(network: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    """Equations 1 and 2 of Selvaraju et al. 2017, before the ReLU, by autograd through the whole network."""
    kept = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # so that what follows may work in place

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        scores = network(images.clone().requires_grad_())
        scores[range(len(classes)), classes].sum().backward(inputs=kept)
    finally:
        handle.remove()
    (activations,) = kept
    channels, height, width = activations.shape[1:]
    raw = torch.zeros(len(images), height, width, dtype=images.dtype)
    for k in range(channels):
        weight = activations.grad[:, k].sum(dim=(1, 2)) / (height * width)
        raw += weight[:, None, None] * activations[:, k].detach()
    return raw


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of any map, relative to that map's largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().amax(dim=(-2, -1)) / theirs.abs().amax(dim=(-2, -1))).max())


def test_signed_map_is_the_reference_in_double_precision(subject: Subject):
    """The cut changes nothing: a graph that begins at the layer gives what one through the whole network gives.

    Each layer alone, and all of them in one pass, where the later layers hang on the earlier layer's graph.
    """
    network, layers = subject.network.double(), subject.case.layers
    images, classes = subject.images[:1].double(), subject.classes[:1]
    try:
        together = ll.explain(network, images, classes, layer=layers)
        for layer, beside_others in zip(layers, together.raws, strict=True):
            expected = reference(network, layer, images, classes)
            alone = ll.explain(network, images, classes, layer=layer).raw
            assert alone.dtype == torch.float64
            assert error(alone[:, 0], expected) < 1e-6, layer
            assert error(beside_others[:, 0], expected) < 1e-6, layer
    finally:
        network.float()  # exact: the weights were single


def test_signed_map_is_the_reference_in_single_precision(subject: Subject):
    """As photographs are explained. Sums in another order are all that may differ."""
    for layer in subject.case.layers:
        expected = reference(subject.network, layer, subject.images, subject.classes)
        raw = ll.explain(subject.network, subject.images, subject.classes, layer=layer).raw
        assert error(raw[:, 0], expected) < 1e-5, layer


def test_the_default_layer_is_the_last_of_the_case(subject: Subject):
    """So that parity is shown where people look first; and several targets share one pass without mixing."""
    first, second = ([one] * BATCH for one in subject.classes)
    both = ll.explain(subject.network, subject.images, ll.each(first[0], second[0]))
    assert both.layer == subject.case.layers[-1]
    for j, classes in enumerate((first, second)):
        expected = reference(subject.network, both.layer, subject.images, classes)
        assert error(both.raw[:, j], expected) < 1e-5


# ---- the peers


def pytorch_grad_cam(network: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    """Its map before it is resized and rescaled (twice), which its own call always does."""
    pgc = pytest.importorskip("pytorch_grad_cam")
    target = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    module, targets = network.get_submodule(layer), [target(index) for index in classes]
    with pgc.GradCAM(network, [module]) as cam:
        cam(images.clone().requires_grad_(), targets)
        pass_ = cam.activations_and_grads
        (activations,), (gradients,) = pass_.activations, pass_.gradients
        raw = cam.get_cam_image(images, module, targets, activations.numpy(), gradients.numpy())
    return torch.from_numpy(raw).clamp(min=0)


def torchcam(network: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    methods = pytest.importorskip("torchcam.methods")
    with methods.GradCAM(network, layer) as extractor:
        scores = network(images.clone().requires_grad_())
        (raw,) = extractor(classes, scores, normalized=False)
    return raw.detach()


def captum(network: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    grad_cam = attr.LayerGradCam(network, network.get_submodule(layer))
    raw = grad_cam.attribute(images.clone().requires_grad_(), classes, relu_attributions=True)
    return raw[:, 0].detach()


def without_overwriting(network: nn.Module) -> nn.Module:
    """The same weights, with ReLUs that spare their input: the peers read a layer after the next one changed it."""
    tensors = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for module in twin.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return twin


def classes_with_evidence(network: nn.Module, layer: str, images: Tensor) -> list[int]:
    """For each image a random class with something positive in its map: two zero maps are equal for no reason."""
    draw = torch.Generator().manual_seed(2)
    found: dict[int, int] = {}
    for _ in range(20):
        classes = torch.randint(1000, (len(images),), generator=draw).tolist()
        peaks = reference(network, layer, images, classes).amax(dim=(1, 2))
        found |= {i: classes[i] for i in range(len(images)) if peaks[i] > 0 and i not in found}
        if len(found) == len(images):
            return [found[i] for i in range(len(images))]
    raise AssertionError(f"no random class has a map with evidence at {layer}")


@pytest.mark.parametrize("peer", [pytorch_grad_cam, torchcam, captum], ids=lambda peer: peer.__name__)
def test_rectified_map_is_the_peers(subject: Subject, peer: Callable[..., Tensor]):
    """The same numbers as the three libraries people use, not only the same picture.

    Limelight gets the network as it is; the peers one whose ReLUs do not work in place, for they would mix a layer's
    output with what the next one made of it.
    """
    twin = without_overwriting(subject.network)
    for layer, classes in subject.telling.items():
        theirs = peer(twin, layer, subject.images, classes)
        ours = ll.explain(subject.network, subject.images, classes, layer=layer).raw[:, 0].clamp(min=0)
        assert (ours.amax(dim=(1, 2)) > 0).all(), layer
        assert error(ours, theirs) < 1e-4, layer


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_our_map_through_their_scaling_is_their_picture(name: str):
    """pytorch-grad-cam's finished picture: only its rescaling and resizing stand between it and our map."""
    pgc = pytest.importorskip("pytorch_grad_cam")
    scale = pytest.importorskip("pytorch_grad_cam.utils.image").scale_cam_image
    target = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    network, images = build(name).requires_grad_(False), torch.randn(BATCH, 3, 96, 96)
    layer = ll.explain(network, images).layer
    classes = classes_with_evidence(network, layer, images)
    ours = ll.explain(network, images, classes).raw[:, 0].clamp(min=0)
    with pgc.GradCAM(network, [network.get_submodule(layer)]) as cam:
        theirs = cam(images.clone().requires_grad_(), [target(index) for index in classes])
    assert abs(scale(scale(ours.numpy(), (96, 96))) - theirs).max() < 1e-4


# ---- CAM


def test_cam_is_grad_cam_times_the_cells_or_refused(subject: Subject):
    """Sec. 3.1 of the Grad-CAM paper: with pooling and one linear layer the two are one map, up to the cells' number.

    Any other head is refused, rather than read as if it were linear.
    """
    if not subject.case.pooled:
        with pytest.raises(ll.errors.MethodError, match="use gradcam"):
            ll.explain(subject.network, subject.images, subject.classes, "cam")
        return
    cam = ll.explain(subject.network, subject.images, subject.classes, "cam").raw
    grad_cam = ll.explain(subject.network, subject.images, subject.classes, "gradcam").raw
    cells = grad_cam.shape[-2] * grad_cam.shape[-1]
    assert cells > 1
    assert error(grad_cam[:, 0] * cells, cam[:, 0]) < 1e-5
