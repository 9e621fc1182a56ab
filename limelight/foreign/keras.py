"""Keras 3 on its torch back-end: a model's layers as modules of torch, under their Keras names.

A Keras layer is a module and is called as one, but a model does not tell torch which layers it has. Images are channels
first, as everywhere here; the model gets them channels last where it was made so.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limelight.errors import ModelError


class KerasNetwork(nn.Module):
    """A Keras model, functional, sequential or subclassed, that takes images channels first."""

    def __init__(self, model: Any):
        super().__init__()
        import keras

        self.last = keras.config.image_data_format() == "channels_last"
        self.model = [model]  # in a list, so that its modules are found once, under their own names
        self.num_classes = model.output_shape[-1] if isinstance(getattr(model, "output_shape", None), tuple) else None
        _name_layers(self, model)

    def forward(self, *images: Tensor) -> Any:
        """The model's own outputs."""
        given = [one.movedim(1, -1) if self.last and one.ndim > 2 else one for one in images]
        return self.model[0](given[0] if len(given) == 1 else given)


def keras_side(network: nn.Module) -> nn.Module:
    """A Keras model as a network whose layers can be seen; any other as it is.

    Raises:
        ModelError: a Keras model that was never built.
    """
    kinds = type(network).__mro__
    if not any(kind.__name__ == "Model" and kind.__module__.startswith("keras.") for kind in kinds):
        return network
    if not getattr(network, "built", True):
        raise ModelError("this Keras model was never built: call it once, or give its input's shape with keras.Input")
    return KerasNetwork(network)


def _name_layers(holder: nn.Module, model: Any) -> None:
    """Make a model's layers modules of a holder; those of a model inside it, modules of a holder of their own."""
    for layer in model.layers:
        child = layer
        if hasattr(layer, "layers"):
            child = nn.Module()
            _name_layers(child, layer)
        holder.add_module(layer.name.replace(".", "_"), child)
