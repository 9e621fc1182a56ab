"""The methods: one file a family, one small pure function each, and the registry that lists them."""

from limelight.methods import activation, gradient
from limelight.methods.activation import cam
from limelight.methods.gradient import grad_cam
from limelight.methods.registry import REGISTRY, Method, get

__all__ = ["REGISTRY", "Method", "activation", "cam", "get", "grad_cam", "gradient"]
