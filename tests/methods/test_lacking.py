"""A method that needs what a network lacks says so, in one line, and every method that it names instead works there."""

from __future__ import annotations

import re
import warnings
from functools import cache

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.methods import REGISTRY

QUICK = {"samples": 4, "permutations": 2, "segments": 2, "steps": 2, "top": 3, "scales": 1}


def convolution(*rest: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), *rest)


NETWORKS = {
    "no grid": nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 16), nn.Tanh(), nn.Linear(16, 4)),
    "no ReLU": convolution(nn.Softsign(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    "a head of two layers": convolution(nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 8), nn.ReLU(), nn.Linear(8, 4)),
}
LAYER = {"no grid": "1"}
REFUSED = {
    "no grid": {"gradcam": "no grid", "legrad": "attention", "guidedbackprop": "no ReLU", "refinecam": "no layer"},
    "no ReLU": {"guidedbackprop": "no ReLU", "deconvolution": "no ReLU", "rawattention": "attention", "cam": "head"},
    "a head of two layers": {"cam": "one linear layer", "attentionrollout": "attention"},
}


@cache
def refusal(network: str, name: str) -> str | None:
    """What a method says where it can't answer."""
    torch.manual_seed(0)
    method = REGISTRY[name]
    method = method(**{key: value for key, value in QUICK.items() if key in method.options})
    layer = LAYER.get(network, "0") if method.layer is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LimelightWarning)
        try:
            ll.explain(NETWORKS[network].eval(), torch.randn(1, 3, 8, 8), 0, method, layer, progress=False)
        except ll.errors.LimelightError as error:
            return str(error)
    return None


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_it_answers_or_names_methods_that_do(name, network):
    said = refusal(network, name)
    if said is None:
        return
    assert "\n" not in said
    advice = re.split(r" has none; use |; use |: |, or ", said)
    named = {word for part in advice[1:] for word in re.findall(r"[a-z0-9]+", part)} & set(REGISTRY) - {name}
    assert named, said
    assert any(refusal(network, each) is None for each in named), said


@pytest.mark.parametrize(
    ("network", "name", "what"), [(n, m, what) for n, some in REFUSED.items() for m, what in some.items()]
)
def test_what_is_lacking_is_named(network, name, what):
    assert what in (refusal(network, name) or "")
