"""Forty architectures of timm and torchvision, made small: explained without a hint, equal to full autograd.

The whole zoo is ``python -m benchmarks.zoo``; its table is docs/zoo.md.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.zoo import awake, checked

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")  # random networks: raw maps count

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, VIT),
    "vit_base_patch16_224": (32, {**VIT, "global_pool": "avg"}),
    "vit_small_patch14_reg4_dinov2": (32, VIT),
    "vit_tiny_patch16_384": (48, {**VIT, "img_size": (32, 48), "dynamic_img_size": True}),
    "deit_tiny_distilled_patch16_224": (32, VIT),
    "deit3_small_patch16_224": (32, VIT),
    "beit_base_patch16_224": (32, VIT),
    "eva02_tiny_patch14_224": (32, VIT),
    "cait_xxs24_224": (32, VIT),
    "xcit_nano_12_p8_224": (32, {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}),
    "convit_tiny": (32, {**VIT, "local_up_to_layer": 1}),
    "mixer_s16_224": (64, {"img_size": 64}),
    "resmlp_12_224": (64, {"img_size": 64}),
    "gmlp_ti16_224": (64, {"img_size": 64}),
    "swin_tiny_patch4_window7_224": (
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)},
    ),
    "swinv2_tiny_window8_256": (
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)},
    ),
    "pvt_v2_b0": (64, {"depths": (1, 1, 1, 1)}),
    "twins_svt_small": (64, {"img_size": 64, "embed_dims": (16, 16, 16, 16), "depths": (1, 1, 1, 1)}),
    "levit_128s": (64, {"img_size": 64}),
    "mobilevit_xxs": (64, {}),
    "mobilevitv2_050": (64, {}),
    "coat_lite_tiny": (64, {"img_size": 64}),
    "convnext_atto": (64, {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 24)}),
    "poolformer_s12": (64, {}),
    "edgenext_xx_small": (64, {}),
    "pit_ti_224": (64, {"img_size": 64}),
    "resnet18": (64, {}),
    "resnetv2_18": (64, {}),
    "mobilenetv3_small_050": (64, {}),
    "efficientnet_lite0": (64, {}),
    "ghostnet_050": (64, {}),
    "regnetx_002": (64, {}),
    "lcnet_050": (64, {}),
    "repvgg_a0": (64, {}),
    "test_byobnet": (64, {}),
    "test_nfnet": (64, {}),
    "test_mambaout": (64, {}),
    "test_vit4": (64, {}),
}
TORCHVISION = ("squeezenet1_1", "shufflenet_v2_x0_5")


@pytest.mark.parametrize("name", [*SMALL, *TORCHVISION])
def test_a_network_is_explained_without_a_hint(name):
    size, options = SMALL.get(name, (64, {}))
    torch.manual_seed(0)
    if name in TORCHVISION:
        from torchvision import models

        network = models.get_model(name, weights=None, num_classes=7)
    else:
        import timm

        network = timm.create_model(name, num_classes=7, **options)
    side = options.get("img_size", size)
    images = torch.randn(2, 3, *(side if isinstance(side, tuple) else (side, side)))
    record = checked(awake(network, images), images)
    assert record["wrong"] == []
    assert "dead" not in record


def test_there_are_forty():
    assert len(SMALL) + len(TORCHVISION) == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lraspp_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
)
def test_segmenters_and_detectors_are_too(name):
    from benchmarks import zoo_dense
    from benchmarks.zoo import build

    network, images = build(f"torchvision:{name}")
    record = checked(network, images, zoo_dense.asked(f"torchvision:{name}", network, images))
    assert record["wrong"] == []
    assert "dead" not in record
