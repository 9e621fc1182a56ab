"""How each engine is made of a step: in eager PyTorch, by torch.compile, on ONNX Runtime, on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.cut import LayerSpec
from limelight.engines.engine import Engine, Run
from limelight.errors import MissingExtra, ModelError, one_line
from limelight.export.agreement import compared
from limelight.export.compiled import TRIED, Compiled, compile, noise
from limelight.export.lower import lower
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.step import Step, step_of
from limelight.targets import Target

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, eq=False)
class Question:
    """What an engine is made for: a network, and what is asked of it."""

    model: Model
    method: str | Method | Callable[..., Tensor]
    layer: LayerSpec | None
    target: Target
    size: tuple[int, int] | int | None
    fusion: str

    @cached_property
    def step(self) -> Step:
        """It as a function of tensors."""
        model = self.model
        images = self.there(noise(model, self.size, 1, 0))
        return step_of(model.network, images, get(self.method), self.layer, self.target, model.labels, self.fusion)

    @property
    def graph(self) -> Compiled:
        """It as an ONNX graph, made once for all engines that run one, or refused once."""
        if isinstance(self._graph, ModelError):
            raise self._graph
        return self._graph

    @cached_property
    def _graph(self) -> Compiled | ModelError:
        try:
            return compile(self.model, self.method, self.layer, self.target, size=self.size, fusion=self.fusion)
        except ModelError as error:
            return error

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((each.device for each in self.model.network.parameters()), torch.device("cpu"))

    def there(self, images: Tensor) -> Tensor:
        """Images as the network takes them: on its device and in its precision."""
        weights = (each for each in self.model.network.parameters() if each.is_floating_point())
        return images.to(next(weights, images))

    def batch(self, count: int, seed: int) -> tuple[Tensor, ...]:
        """Images of noise, on the CPU, with a class each where one is asked for."""
        images = noise(self.model, self.size, count, seed)
        return (images, torch.zeros(count, dtype=torch.int64)) if self.step.asks else (images,)


def eager(question: Question) -> Engine:
    """The network itself, at any size."""
    step = question.step

    def run(*batch: Tensor) -> dict[str, Tensor]:
        images, *classes = batch
        return step(question.there(images), *(each.to(question.device) for each in classes)).named

    return Engine("eager", step, run)


def compiled(question: Question) -> Engine:
    """The step's graph by torch.compile, which needs a C++ compiler; some minutes the first time.

    Raises:
        ModelError: it can't be recorded or compiled, or does not answer as the network does.
    """
    first = tuple(each.to(question.device) for each in question.batch(2, 0))
    graph = torch.compile(lower(question.step, *first), dynamic=True)
    names = list(question.step(*first).named)

    def run(*batch: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return dict(zip(names, graph(*(each.to(question.device) for each in batch)), strict=True))

    try:
        run(*first)
    except Exception as error:  # torch.compile's kinds are many, and wrap each other
        raise ModelError(f"torch.compile can't build {question.model.name}: {_compiler(error)}") from error
    return _shown("compile", question, run, (first[0].shape[2], first[0].shape[3]))


def onnx(question: Question) -> Engine:
    """The graph on ONNX Runtime, on the CPU.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        ModelError: it can't be exported, or does not answer as the network does.
    """
    graph = question.graph
    return Engine("onnx", graph.step, graph.run, graph.input_size, graph.agreement, graph.batch)


def openvino(question: Question) -> Engine:
    """The same graph on OpenVINO, on the CPU, in single precision.

    Raises:
        MissingExtra: openvino, onnx or onnxscript is not installed.
        ModelError: it can't be exported, OpenVINO can't run it, or it does not answer as the network does.
    """
    graph = question.graph
    names = [each.name for each in graph.graph.graph.output]
    running = openvino_model(graph.graph)

    def run(*batch: Tensor) -> dict[str, Tensor]:
        found = running([each.numpy() for each in batch])
        return {name: torch.from_numpy(found[name].copy()) for name in names}

    return _shown("openvino", question, run, graph.input_size, graph.batch)


def openvino_model(graph: ModelProto, threads: int | None = None) -> Any:
    """What runs an ONNX model on OpenVINO: called with a list of arrays, gives them by the outputs' names.

    ``threads``: how many it may use; None for as many as torch does.

    Raises:
        MissingExtra: openvino is not installed.
        ModelError: it can't run the model.
    """
    from importlib.util import find_spec

    if find_spec("openvino") is None:
        raise MissingExtra("openvino", "openvino", "the engine openvino")
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads or torch.get_num_threads()}
    try:
        core = ov.Core()
        return core.compile_model(core.read_model(graph.SerializeToString()), "CPU", settings)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO can't run it: {one_line(error, 300)}") from error


def _shown(name: str, question: Question, run: Run, size: tuple[int, int] | None, batch: int | None = None) -> Engine:
    """The engine, after it answered as the network does."""
    batches = [question.batch(count, number) for number, count in enumerate(TRIED, start=1)]
    made = Engine(name, question.step, run, size, None, batch)
    agreement = compared(question.step, lambda *given: made(*given).named, batches)
    if not agreement.good:
        raise ModelError(f"{name} does not answer as {question.model.name} does: {agreement}")
    return replace(made, agreement=agreement)


def _compiler(error: BaseException) -> str:
    """What is missing, where it is the compiler; otherwise the error's first words."""
    cause: BaseException | None = error
    while cause is not None:
        if "InvalidCxxCompiler" in type(cause).__name__ or "No working C++ compiler" in str(cause):
            return "it needs a C++ compiler, such as g++, and there is none"
        cause = cause.__cause__ or cause.__context__
    return one_line(error, 300)


MAKERS: dict[str, Callable[[Question], Engine]] = {
    "eager": eager,
    "compile": compiled,
    "onnx": onnx,
    "openvino": openvino,
}
