"""Transformer methods beside torchcam's LeGrad and beside references that let autograd run through everything."""

from __future__ import annotations

import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionViT

import limelight as ll
from tests.parity.peers import error

CLASSES = [3, 7]
SIZES = [(32, 8, 2, 2, 16), (48, 16, 3, 3, 24), (64, 8, 4, 2, 32)]
"""Picture, patch, blocks, heads, channels."""
sizes = pytest.mark.parametrize("size", SIZES)


def images(size) -> Tensor:
    return torch.randn(2, 3, size[0], size[0], generator=torch.Generator().manual_seed(1))


def torchvision_vit(size) -> TorchvisionViT:
    torch.manual_seed(0)
    built = TorchvisionViT(*size, 2 * size[-1], num_classes=10).eval()
    nn.init.normal_(built.heads.head.weight)
    return built


def timm_vit(size, **options) -> VisionTransformer:
    torch.manual_seed(0)
    side, patch, depth, heads, channels = size
    return VisionTransformer(
        side, patch, num_classes=10, depth=depth, num_heads=heads, embed_dim=channels, **options
    ).eval()


def reference(network: VisionTransformer, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Attention and its gradients with fused attention off, as vit-explain's hooks see it."""
    kept: list[Tensor] = []

    def keep(module, args, output):
        output.retain_grad()
        kept.append(output)

    hooks = []
    for block in network.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(keep))
    scores = network(x)
    scores[range(2), CLASSES].sum().backward()
    for hook in hooks:
        hook.remove()
    for block in network.blocks:
        block.attn.fused_attn = True
    return [each.detach() for each in kept], [each.grad for each in kept]  # type: ignore[misc]


def class_row(matrix: Tensor, size) -> Tensor:
    side = size[0] // size[1]
    return matrix[:, 0, 1:].view(2, side, side)


@sizes
def test_legrad_is_torchcam_s(size):
    torchcam = pytest.importorskip("torchcam.methods")
    network, x = torchvision_vit(size), images(size)
    with torchcam.LeGrad(network, list(network.encoder.layers)) as extractor:
        (theirs,) = extractor(CLASSES, network(x), normalized=False)
    ours = ll.explain(network, x, CLASSES, "legrad").raw[:, 0]
    assert error(ours, theirs) < 1e-4


@sizes
def test_legrad_of_the_last_blocks_is_torchcam_s(size):
    torchcam = pytest.importorskip("torchcam.methods")
    network, x = torchvision_vit(size), images(size)
    with torchcam.LeGrad(network, list(network.encoder.layers)[-1:]) as extractor:
        (theirs,) = extractor(CLASSES, network(x), normalized=False)
    assert error(ll.explain(network, x, CLASSES, ll.methods.LeGrad(last=1)).raw[:, 0], theirs) < 1e-4


@sizes
@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_is_the_product_of_whole_matrices(size, heads):
    network, x = timm_vit(size), images(size)
    ours = ll.explain(network, x, CLASSES, ll.methods.AttentionRollout(heads=heads)).raw[:, 0]
    attention, _ = reference(network, x)
    joint = torch.eye(attention[0].shape[-1]).expand(2, -1, -1)
    for block in attention:
        fused = {"mean": block.mean(1), "max": block.amax(1), "min": block.amin(1)}[heads]
        step = fused + torch.eye(fused.shape[-1])
        joint = (step / step.sum(dim=-1, keepdim=True)) @ joint
    assert error(ours, class_row(joint, size)) < 1e-4


@sizes
def test_gradient_rollout_is_the_product_of_whole_matrices(size):
    network, x = timm_vit(size), images(size)
    ours = ll.explain(network, x, CLASSES, ll.methods.GradientAttentionRollout(discard=0.0)).raw[:, 0]
    joint = torch.eye(size[0] ** 2 // size[1] ** 2 + 1).expand(2, -1, -1)
    for block, gradient in zip(*reference(network, x), strict=True):
        step = (block * gradient).mean(dim=1).clamp(min=0) + torch.eye(block.shape[-1])
        joint = (step / step.sum(dim=-1, keepdim=True)) @ joint
    assert error(ours, class_row(joint, size)) < 1e-4


@sizes
def test_transformer_attribution_is_the_rule_on_whole_matrices(size):
    network, x = timm_vit(size), images(size)
    ours = ll.explain(network, x, CLASSES, "transformerattribution").raw[:, 0]
    relevance = torch.eye(size[0] ** 2 // size[1] ** 2 + 1).expand(2, -1, -1)
    for block, gradient in zip(*reference(network, x), strict=True):
        relevance = relevance + (block * gradient).clamp(min=0).mean(dim=1) @ relevance
    assert error(ours, class_row(relevance, size)) < 1e-4


@sizes
def test_raw_attention_is_the_class_tokens_row(size):
    network, x = timm_vit(size), images(size)
    ours = ll.explain(network, x, CLASSES, "rawattention").raw[:, 0]
    attention, _ = reference(network, x)
    assert error(ours, class_row(attention[-1].mean(dim=1), size)) < 1e-4
