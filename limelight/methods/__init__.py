"""The methods: one file a family, one small pure function each, and the registry that lists them.

``methods.grad_cam`` is the function, ``methods.GradCAM`` the registered method: ``methods.GradCAM.source``, and with
settings ``methods.ScoreCAM(top=64)``.
"""

from __future__ import annotations

from limelight.methods.activation import cam
from limelight.methods.gradient import grad_cam
from limelight.methods.registry import REGISTRY, Method, get, spelling

__all__ = ["REGISTRY", "Method", "cam", "get", "grad_cam"]


def __getattr__(name: str) -> Method:
    if name[:1].isupper() and spelling(name) in REGISTRY:
        return REGISTRY[spelling(name)]
    raise AttributeError(f"module 'limelight.methods' has no attribute {name!r}")
