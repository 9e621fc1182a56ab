"""A pass, with all that autograd stored for it, is freed when the call is over: no circle of references keeps it."""

from __future__ import annotations

import gc

import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

import limelight as ll
from limelight.methods import REGISTRY
from tests.networks import pictures

FEW = {"samples": 2, "steps": 2, "top": 2, "cells": 2}


def network(method: str) -> nn.Module:
    torch.manual_seed(0)
    if {"attention", "attention_gradients", "block_gradients"} & set(REGISTRY[method].needs):
        return VisionTransformer(img_size=24, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3).eval()
    body = (nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
@pytest.mark.parametrize("method", REGISTRY)
def test_nothing_of_a_pass_is_left_for_the_garbage_collector(method: str):
    chosen = REGISTRY[method]
    chosen = chosen(**{name: value for name, value in FEW.items() if type(chosen.options.get(name)) is int})
    built, images = network(method), pictures(1, 24)
    ll.explain(built, images, target=1, method=chosen)  # what is remembered of the network is not this call's
    gc.collect()
    gc.disable()
    try:
        ll.explain(built, images, target=1, method=chosen)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(found).__name__ for found in gc.garbage if isinstance(found, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left
