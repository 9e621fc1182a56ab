"""The gradient-weighted maps against their formulas, written out; and what each claims."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import limelight as ll
from limelight.errors import MethodError
from limelight.methods import REGISTRY
from tests.networks import CLASSES, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
FAMILY = [name for name, method in REGISTRY.items() if method.family == "gradient"]


def net(seed: int = 0, head: nn.Module | None = None) -> nn.Sequential:
    """Double precision; the layer "1" is a ReLU with a grid of 6 x 6; the head is smooth unless another is given."""
    torch.manual_seed(seed)
    smooth = nn.Sequential(
        nn.Conv2d(4, 5, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES)
    )
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), head or smooth).double().eval()


def pooled() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))


X = pictures(dtype=torch.float64)


def raw(network: nn.Module, method: object, target: object = 1, x: Tensor = X, layer: str = "1") -> Tensor:
    return ll.explain(network, x, target, method, layer).raw[:, 0]


def parts(network: nn.Sequential, times: float = 1.0, x: Tensor = X) -> tuple[Tensor, Tensor]:
    """Activations and gradients of ``times`` the score of class 1."""
    activations = network[:2](x).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(times * network[2](activations)[:, 1].sum(), activations)
    return activations.detach(), gradients


@given(seed=st.integers(0, 2**16), times=st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_formulas_cell_by_cell(seed: int, times: float):
    network = net(seed)
    activations, gradients = parts(network, times)
    batch, channels, height, width = activations.shape
    cells = [(i, j) for i in range(height) for j in range(width)]
    expected = {
        name: torch.zeros(batch, height, width, dtype=X.dtype)
        for name in ("gradcam", "gradcampp", "xgradcam", "hirescam", "elementwisegradcam", "layercam")
    }
    for b in range(batch):
        for c in range(channels):
            a, g = activations[b, c], gradients[b, c]
            weight = sum(g[cell] for cell in cells) / len(cells)
            plus = sum(  # eq. 19 of Grad-CAM++, in eq. 5
                g[cell] ** 2 / (2 * g[cell] ** 2 + a.sum() * g[cell] ** 3) * max(g[cell], 0)
                for cell in cells
                if g[cell] != 0
            )
            x = sum(g[cell] * a[cell] for cell in cells) / a.sum() if a.sum() else 0
            expected["gradcam"][b] += weight * a
            expected["gradcampp"][b] += plus * a
            expected["xgradcam"][b] += x * a
            for cell in cells:
                expected["hirescam"][b][cell] += g[cell] * a[cell]
                expected["elementwisegradcam"][b][cell] += max(g[cell] * a[cell], 0)
                expected["layercam"][b][cell] += max(g[cell], 0) * a[cell]
    for name, maps in expected.items():
        found = raw(network, name, lambda out: times * out[:, 1])
        torch.testing.assert_close(found, maps, rtol=1e-8, atol=1e-12 * float(maps.abs().max()), msg=name)


def test_grad_cam_pp_of_small_gradients_keeps_its_alpha():
    """Eq. 19 has no epsilon: where scores are small, alpha is one half at every cell."""
    network = net()
    activations, gradients = parts(network, 1e-9)
    halves = torch.einsum("bc,bchw->bhw", gradients.clamp(min=0).sum(dim=(2, 3)) / 2, activations)
    torch.testing.assert_close(raw(network, "gradcampp", lambda out: 1e-9 * out[:, 1]) * 1e9, halves * 1e9)


@given(seed=st.integers(0, 2**16), target=st.integers(0, CLASSES - 1))
@settings(max_examples=8, deadline=None)
def test_hires_cam_is_grad_cam_on_cam_networks_and_sums_to_the_score(seed: int, target: int):
    torch.manual_seed(seed)
    network = net(seed, head=pooled())
    found, bias = raw(network, "hirescam", target), network[2][2].bias[target]
    torch.testing.assert_close(found, raw(network, "gradcam", target))
    torch.testing.assert_close(found.sum(dim=(1, 2)), network(X)[:, target] - bias)


def test_hires_cam_is_not_grad_cam_where_the_head_has_a_hidden_layer():
    assert not torch.allclose(raw(net(), "hirescam"), raw(net(), "gradcam"))


def test_xgrad_cam_sums_to_gradient_times_activation():
    activations, gradients = parts(net())
    torch.testing.assert_close(raw(net(), "xgradcam").sum(dim=(1, 2)), (activations * gradients).sum(dim=(1, 2, 3)))


def test_xgrad_cam_leaves_out_a_dead_channel():
    network = net()
    with torch.no_grad():
        network[0].weight[0] = 0
        network[0].bias[0] = -1
    assert raw(network, "xgradcam").isfinite().all()


@given(seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_shapley_cam_s_weights_hold_the_whole_hessian(seed: int):
    network = net(seed)
    expected = []
    for image in X:
        activations = network[:2](image[None]).detach()

        def score(flat: Tensor, like: Tensor = activations) -> Tensor:
            return network[2](flat.view_as(like))[0, 1]

        flat = activations.flatten()
        slope = torch.autograd.functional.jacobian(score, flat)
        hessian = torch.autograd.functional.hessian(score, flat)
        weights = (slope - hessian @ flat / 2).view_as(activations).mean(dim=(2, 3))
        expected.append((weights[:, :, None, None] * activations).sum(dim=1))
    found = raw(network, "shapleycam")
    torch.testing.assert_close(found, torch.cat(expected))
    assert not torch.allclose(found, raw(network, "gradcam"))


@pytest.mark.parametrize("frozen", [True, False])
def test_shapley_cam_is_grad_cam_where_the_head_is_linear(frozen: bool):
    network = net(head=pooled()).requires_grad_(not frozen)
    torch.testing.assert_close(raw(network, "shapleycam"), raw(network, "gradcam"))


def test_shapley_cam_says_that_an_operation_has_no_second_derivative():
    network = net(head=nn.Sequential(nn.Hardsigmoid(), *pooled()))
    with pytest.raises(MethodError, match=r"hardsigmoid.*use gradcam or hirescam"):
        raw(network, "shapleycam")


def test_smooth_grad_cam_pp_without_noise_is_grad_cam_pp():
    smooth = ll.methods.SmoothGradCAMpp(std=0.0, samples=3)
    torch.testing.assert_close(raw(net(), smooth), raw(net(), "gradcampp"))


def test_smooth_grad_cam_pp_averages_each_power_of_the_gradient():
    """Also the one that is rectified: torchcam takes the last copy's."""
    network, seen = net(), []
    network.register_forward_hook(lambda module, args, out: seen.append(args[0].clone()))
    found = raw(network, ll.methods.SmoothGradCAMpp(samples=4, seed=3))
    copies = torch.cat(seen[1:]).unflatten(0, (4, 2))
    noise = copies - X
    torch.testing.assert_close(noise[:, 0], noise[:, 1])  # the same for every image
    gradients = torch.stack([parts(network, x=copy)[1] for copy in copies])
    first, second, third = (gradients**1).mean(0), (gradients**2).mean(0), (gradients**3).mean(0)
    activations, _ = parts(network)
    alpha = second / (2 * second + activations.sum(dim=(2, 3), keepdim=True) * third)
    weights = (alpha * first.clamp(min=0)).sum(dim=(2, 3))
    torch.testing.assert_close(found, torch.einsum("bc,bchw->bhw", weights, activations))


def test_expected_grad_cam_is_complete():
    """The weights times the cells sum to the score less the perturbed images' mean score: exactly, on a linear head."""
    network, seen = net(head=pooled()), []
    network.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    method = ll.methods.ExpectedGradCAM(samples=5, width=1.0)
    activations, _ = parts(network)
    seen.clear()
    found = raw(network, method)
    far = torch.cat(seen[1:])[: 5 * 2].unflatten(0, (5, 2))[:, :, 1].mean(dim=0)
    weights = torch.linalg.lstsq(activations.flatten(2).mT, found.flatten(1)[:, :, None]).solution[..., 0]
    torch.testing.assert_close(weights.sum(dim=1) * found[0].numel(), network(X)[:, 1] - far)


def test_expected_grad_cam_converges_to_completeness_on_a_curved_head():
    network = net()
    near = ll.methods.ExpectedGradCAM(samples=400, std=0.0, width=2.0)  # one path, at 400 places
    from limelight.methods.paths import blurred

    smooth = blurred(X, X.new_tensor([2.0]), 2.0)[0]
    activations, _ = parts(network)
    found = raw(network, near)
    weights = torch.linalg.lstsq(activations.flatten(2).mT, found.flatten(1)[:, :, None]).solution[..., 0]
    change = (network(X) - network(smooth))[:, 1]
    torch.testing.assert_close(weights.sum(dim=1) * found[0].numel(), change, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_signed_methods_and_no_others_turn_round_with_the_score(name: str):
    network = net()
    turned = torch.allclose(raw(network, name, ll.counter(1)), -raw(network, name, 1))
    assert turned == REGISTRY[name].signed


@pytest.mark.parametrize("name", FAMILY)
def test_a_map_does_not_depend_on_its_batch_or_on_anybody_s_random_numbers(name: str):
    network = net()
    together = raw(network, name)
    torch.manual_seed(99)
    torch.testing.assert_close(raw(network, name, x=X[1:]), together[1:])


@pytest.mark.parametrize("name", ["smoothgradcampp", "expectedgradcam"])
def test_another_seed_is_another_draw(name: str):
    method = REGISTRY[name]
    assert not torch.allclose(raw(net(), method(seed=1)), raw(net(), method(seed=2)))
