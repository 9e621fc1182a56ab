"""Keras 3 on its torch back-end: a model's layers as modules of torch, under their Keras names.

A Keras layer is a module, but is not called as one: torch's hooks pass it by. So each is put in a module of its own,
and the model's graph is run through those. Images are channels first, as everywhere here; the model gets them channels
last where it was made so.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limelight.errors import ModelError


class KerasLayer(nn.Module):
    """One layer."""

    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the layer gives."""
        return self.layer(*args, **options)


class KerasGraph(nn.Module):
    """A functional model, or a sequential one: its graph, run through modules; models inside it likewise."""

    def __init__(self, graph: Any):
        super().__init__()
        self.graph = [graph]  # in a list, so that its modules are found once, under their own names
        for layer in graph.layers:
            inner = _graph_of(layer)
            self.add_module(layer.name, KerasLayer(layer) if inner is None else KerasGraph(inner))

    def forward(self, inputs: Any, **options: Any) -> Any:
        """The outputs, in the model's own structure."""
        (graph,) = self.graph
        return graph._run_through_graph(inputs, operation_fn=lambda layer: self._modules.get(layer.name) or layer)


class KerasNetwork(nn.Module):
    """A Keras model that takes images channels first. One that has no graph is run whole, without layers."""

    def __init__(self, model: Any):
        super().__init__()
        import keras

        graph = _graph_of(model)
        self.last = keras.config.image_data_format() == "channels_last"
        self.model = [model]
        self.num_classes = model.output_shape[-1] if isinstance(getattr(model, "output_shape", None), tuple) else None
        if graph is None:
            self.whole = model
            return
        inside = KerasGraph(graph)
        self.run = [inside]
        for name, module in inside.named_children():
            self.add_module(name, module)

    def forward(self, *images: Tensor) -> Any:
        """The model's own outputs."""
        given = [one.movedim(1, -1) if self.last and one.ndim > 2 else one for one in images]
        taken = given[0] if len(given) == 1 else given
        return self.run[0](taken) if hasattr(self, "run") else self.model[0](taken)


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


def _graph_of(model: Any) -> Any:
    """What runs a model's graph: itself, or what a sequential one keeps; None for a layer and for a subclassed one."""
    inside = getattr(model, "_functional", None) or model
    return inside if hasattr(inside, "_run_through_graph") and hasattr(inside, "layers") else None
