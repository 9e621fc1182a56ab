"""A session of ONNX Runtime as a network that can be run, and no more: it has no graph and no layers to be seen."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from limelight.errors import ModelError, one_line

T = TypeVar("T")

FLOATS = {"tensor(float16)": torch.float16, "tensor(float)": torch.float32, "tensor(double)": torch.float64}
"""What an input takes, as ONNX Runtime says it."""


@runtime_checkable
class RunsOnnx(Protocol):
    """What ``onnxruntime.InferenceSession`` has; whatever else has it is taken like one."""

    def get_inputs(self) -> Any:
        """The inputs, each with a name, a shape and a type."""

    def get_outputs(self) -> Any:
        """The outputs."""

    def run(self, output_names: Any, input_feed: Any) -> Any:
        """The outputs' arrays, for arrays by the inputs' names."""


class Session(nn.Module):
    """A session as a network: its inputs in their order, or by name; its output, or a tuple of its outputs.

    One that was made for a fixed number of images is run on so many at a time.
    """

    def __init__(self, session: RunsOnnx):
        super().__init__()
        self.session = session
        self.names = [each.name for each in session.get_inputs()]
        kinds = {each.name: FLOATS.get(each.type) for each in session.get_inputs()}
        self.floats = {name: kind for name, kind in kinds.items() if kind is not None}
        first = session.get_inputs()[0].shape
        self.fixed = first[0] if first and isinstance(first[0], int) else None

    def forward(self, *args: Tensor, **options: Tensor) -> Any:
        """The session's own outputs.

        Raises:
            ModelError: it can't run them; with what it said.
        """
        given = {**dict(zip(self.names, args, strict=False)), **options}
        if unknown := [*options.keys() - set(self.names), *(f"input {n}" for n in range(len(self.names), len(args)))]:
            raise ModelError(f"this session takes {', '.join(self.names)}, not {unknown[0]}")
        first = next(iter(given.values()))
        rows = len(first)
        step = self.fixed or rows
        parts = [
            self._run({name: self._part(name, each, start, step) for name, each in given.items()})
            for start in range(0, rows, step)
        ]
        found = tuple(torch.cat(each)[:rows].to(first.device) for each in zip(*parts, strict=True))
        return found[0] if len(found) == 1 else found

    def _part(self, name: str, tensor: Tensor, start: int, step: int) -> Tensor:
        """``step`` rows from ``start`` on, as the session takes them; after the last one, that one again."""
        rows = torch.arange(start, start + step, device=tensor.device).clamp(max=len(tensor) - 1)
        kind = self.floats.get(name) if tensor.is_floating_point() else None
        return tensor.detach()[rows].to("cpu", kind)

    def _run(self, feed: dict[str, Tensor]) -> list[Tensor]:
        try:
            found = self.session.run(None, {name: each.numpy() for name, each in feed.items()})
        except Exception as error:  # its kinds have no other in common
            raise ModelError(f"ONNX Runtime can't run it: {one_line(error, 300)}") from error
        return [torch.as_tensor(each) for each in found]


def session_side(model: T | RunsOnnx) -> T | Session:
    """A session as a network; anything else as it is."""
    if isinstance(model, nn.Module) or not isinstance(model, RunsOnnx):
        return cast(T, model)
    return Session(model)
