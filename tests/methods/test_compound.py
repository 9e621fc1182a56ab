"""Methods that run another, and wrappers that go round any: against what they are made of."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight.errors import MethodError
from limelight.heatmap import place, rectify, rescale, resize
from limelight.methods import REGISTRY, augmented, eigen_smoothed
from tests.methods.test_gradient import X, net, raw

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")


def deeper() -> nn.Sequential:
    """Grids of 12 x 12, 6 x 6 and 3 x 3, and a layer in between that is the last of none."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).double().eval()


@pytest.mark.parametrize("base", ["gradcam", "layercam", "gradcampp", "shapleycam"])
def test_finer_cam_is_its_base_asked_for_the_difference(base: str):
    network = net()
    scores = network(X).detach()
    rivals = [sorted((c for c in range(5) if c != 1), key=lambda c, s=s: abs(s[c] - s[1]))[:2] for s in scores]

    def contrast(out: Tensor) -> Tensor:
        times = len(out) // len(scores)
        return torch.stack([s[1] - 0.7 * (s[a] + s[b]) / 2 for s, (a, b) in zip(out, rivals * times, strict=True)])

    method = ll.methods.FinerCAM(base=base, strength=0.7, rivals=2)
    torch.testing.assert_close(raw(network, method), raw(network, base, contrast))


def test_finer_cam_turns_round_with_the_question_and_works_at_several_layers():
    network = deeper()
    torch.testing.assert_close(raw(network, "finercam", ll.counter(1)), -raw(network, "finercam", 1))
    together = ll.explain(network, X, 1, "finercam", ["1", "3"]).raws
    for layer, found in zip(("1", "3"), together, strict=True):
        torch.testing.assert_close(found[:, 0], raw(network, "finercam", layer=layer))


def test_finer_cam_takes_the_rivals_there_are_and_says_that_there_is_none():
    two = nn.Sequential(*net()[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2).double())
    difference = raw(two, "gradcam", lambda out: out[:, 1] - 0.6 * out[:, 0])
    torch.testing.assert_close(raw(two, "finercam"), difference)
    one = nn.Sequential(*two[:4], nn.Linear(4, 1).double())
    with pytest.raises(MethodError, match="there are none; use gradcam"):
        raw(one, "finercam", 0)
    with pytest.raises(MethodError, match="class scores"):
        raw(nn.Sequential(*net()[:2]), "finercam", lambda out: out.mean(dim=(1, 2, 3)), layer="0")


def test_refine_cam_is_the_product_over_the_resolutions():
    network = deeper()
    maps = [rescale(rectify(raw(network, "layercam", layer=layer))) for layer in ("1", "3", "5")]
    expected = math.prod(resize(one, (12, 12)) for one in maps)
    torch.testing.assert_close(raw(network, ll.methods.RefineCAM(base="layercam"), layer="5"), expected)
    upto = math.prod(resize(one, (12, 12)) for one in maps[:2])
    torch.testing.assert_close(raw(network, ll.methods.RefineCAM(base="layercam"), layer="3"), upto)
    chosen = ll.methods.RefineCAM(base="layercam", layers=["3", "5"])
    assert raw(network, chosen, layer="5").shape == (2, 6, 6)


def test_refine_cam_is_what_the_product_fusion_shows():
    network, layers = deeper(), ["3", "5"]
    shown = ll.explain(network, X, 1, "gradcampp", layers, fusion="product").maps
    refined = ll.explain(network, X, 1, ll.methods.RefineCAM(layers=layers), "5").raw
    resized = rescale(
        math.prod(resize(rescale(rectify(raw(network, "gradcampp", layer=one))), (6, 6)) for one in layers)
    )
    torch.testing.assert_close(rescale(refined[:, 0]), resized)
    assert (
        shown.shape == (2, 1, 12, 12)
        and torch.corrcoef(torch.stack([shown.flatten(), resize(refined, (12, 12)).flatten()]))[0, 1] > 0.98
    )


def test_sess_window_by_window():
    """Two scales of a picture of 12 x 12, the second of 18: 1 + 4 windows, cut and laid back by hand."""
    network = net()
    total, seen = torch.zeros(2, 12, 12, dtype=X.dtype), torch.zeros(2, 12, 12, dtype=X.dtype)
    larger = F.interpolate(X, size=(18, 18), mode="bilinear")
    windows = [(X, (0, 0, 12, 12))]
    windows += [(larger[..., y : y + 12, x : x + 12], (x, y, x + 12, y + 12)) for y in (0, 6) for x in (0, 6)]
    for pixels, box in windows:
        scale = 1 if pixels is X else 18 / 12
        probability = network(pixels).softmax(dim=1)[:, 1].detach()
        weighed = rescale(rectify(raw(network, "gradcam", x=pixels))) * probability[:, None, None]
        placed = place(weighed, (12, 12), tuple(edge / scale for edge in box))
        total, seen = total + placed, seen + (placed > 0)
    expected = total / seen.clamp(min=1)
    torch.testing.assert_close(raw(network, ll.methods.SESS(scales=2, step=0.5, smooth=0)), expected)


def test_sess_covers_every_pixel_at_every_scale():
    from limelight.methods.compound import _windows

    for scale in (1, 1.3, 2, 2.5):
        starts = sorted({x for _, x, _ in _windows(scale)})
        assert starts[0] == 0 and starts[-1] + 1 == pytest.approx(scale)
        assert all(b - a <= 1 for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("method", ["gradcam", "layercam", "saliency"])
def test_augmented_is_the_mean_over_mirrored_and_scaled_images(method: str):
    if method not in REGISTRY:
        pytest.skip(f"no {method} yet")
    network, layer = net(), REGISTRY[method].layer or "1"
    maps = [raw(network, method, x=factor * X, layer=layer) for factor in (0.8, 1.0)]
    maps += [raw(network, method, x=factor * X.flip(-1), layer=layer).flip(-1) for factor in (0.8, 1.0)]
    found = raw(network, augmented(method, contrasts=(0.8, 1.0)), layer=layer)
    torch.testing.assert_close(found, torch.stack(maps).mean(dim=0))


def test_augmented_keeps_the_method_s_facts():
    wrapped = augmented("eigencam")
    assert (wrapped.per_target, wrapped.signed, wrapped.passes) == (False, False, "7")
    assert wrapped.name == "augmented(eigencam)"


def test_eigen_smoothed_hires_cam_is_eigen_grad_cam():
    torch.testing.assert_close(raw(net(), eigen_smoothed("hirescam")), raw(net(), "eigengradcam"))


@pytest.mark.parametrize("method", ["eigencam", "lafam", "finercam"])
def test_eigen_smoothing_needs_a_sum_over_channels(method: str):
    with pytest.raises(MethodError, match="no sum over channels"):
        raw(net(), eigen_smoothed(method))


@pytest.mark.parametrize("method", ["finercam", "refinecam", "sess"])
def test_a_map_does_not_depend_on_its_batch(method: str):
    torch.testing.assert_close(raw(deeper(), method, x=X[1:], layer="5"), raw(deeper(), method, layer="5")[1:])
