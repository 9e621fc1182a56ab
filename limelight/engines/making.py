"""How each engine is made of a step: in eager PyTorch, by torch.compile, on ONNX Runtime, on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.borrow import borrowed, twin
from limelight.cut import LayerSpec
from limelight.engines.engine import Bare, Engine, Run
from limelight.errors import MissingExtra, ModelError, one_line
from limelight.export import to_onnx
from limelight.export.agreement import asked_of, compared
from limelight.export.compiled import TRIED, Compiled, compile, noise
from limelight.export.graph import scores_alone
from limelight.export.lower import lower
from limelight.head import at_least_single
from limelight.memory_format import takes_channels_last
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.step import Step, step_of
from limelight.targets import Target, logits_of

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
    precision: str = "float32"

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
        """Images as the network takes them: on its device, in its precision, and a copy that it may change in place."""
        weights = (each for each in self.model.network.parameters() if each.is_floating_point())
        return images.to(next(weights, images), copy=True)

    def rounding(self) -> AbstractContextManager[object]:
        """Where the network's operations run in the precision that was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def scores_by(self, network: Callable[[Tensor], Any]) -> Bare:
        """The class scores of images, from what runs the network."""

        def scores(images: Tensor) -> Tensor:
            with borrowed(self.step.network), self.rounding():
                found = logits_of(network(self.there(images)))
            assert found is not None, "looked at when the step was made"
            return found

        return scores

    def placed(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``images[, classes]`` as the network takes them."""
        images, *classes = batch
        return self.there(images), *(each.to(self.device) for each in classes)

    def batch(self, count: int, seed: int) -> tuple[Tensor, ...]:
        """Images of noise, on the CPU, with a class each where one is asked for."""
        images = noise(self.model, self.size, count, seed)
        return (images, torch.zeros(count, dtype=torch.int64)) if self.step.asks else (images,)


def eager(question: Question) -> Engine:
    """The network itself, at any size; in bfloat16 under autocast.

    Raises:
        ModelError: in bfloat16 it does not answer as it does in its own precision.
    """
    step = question.step

    def run(*batch: Tensor) -> dict[str, Tensor]:
        with question.rounding():
            found = step(*question.placed(batch)).named
        return _single(found)

    made = Engine("eager", step, run, precision=question.precision, bare=lambda: question.scores_by(step.network))
    return made if question.precision == "float32" else _shown(made, question)


def compiled(question: Question) -> Engine:
    """The step's graph by torch.compile, which needs a C++ compiler; some minutes the first time.

    In bfloat16 it is that of a copy of the network whose weights are in it: autocast would have the graph round them
    anew with each batch.

    Raises:
        ModelError: it can't be recorded or compiled, or does not answer as the network does.
    """
    own, first = _copied(question) if question.precision == "bfloat16" else question, question.batch(2, 0)
    graph = torch.compile(lower(own.step, *own.placed(first)), dynamic=True)
    names = list(own.step(*own.placed(first)).named)

    def run(*batch: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return _single(dict(zip(names, graph(*own.placed(batch)), strict=True)))

    try:
        run(*first)
    except Exception as error:  # torch.compile's kinds are many, and wrap each other
        raise ModelError(f"torch.compile can't build {question.model.name}: {_compiler(error)}") from error
    size = (first[0].shape[2], first[0].shape[3])

    def bare() -> Bare:
        return own.scores_by(torch.compile(own.step.network, dynamic=True))

    return _shown(Engine("compile", question.step, run, size, precision=question.precision, bare=bare), question)


def _copied(question: Question) -> Question:
    """The question to a copy of the network in bfloat16, laid out as its convolutions are fastest, if it can be."""
    network = twin(question.step.network).bfloat16().to(memory_format=torch.channels_last)
    images, *_ = question.placed(question.batch(1, 0))
    if not takes_channels_last(network, images.bfloat16()):
        network.to(memory_format=torch.contiguous_format)
    copy = replace(question, model=replace(question.model, network=network), precision="float32")
    copy.__dict__["step"] = asked_of(question.step, network)
    return copy


def onnx(question: Question) -> Engine:
    """The graph on ONNX Runtime, on the CPU.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        ModelError: it can't be exported, or does not answer as the network does; or bfloat16 is asked for.
    """
    if question.precision != "float32":
        raise ModelError(f"ONNX Runtime has no {question.precision} on a CPU: ask eager, compile or openvino for it")
    graph = question.graph

    def bare() -> Bare:
        running = to_onnx.runner(to_onnx.session(scores_alone(graph.graph), batch=graph.batch))
        return lambda images: running(images)["scores"]

    return Engine("onnx", graph.step, graph.run, graph.input_size, graph.agreement, graph.batch, bare=bare)


def openvino(question: Question) -> Engine:
    """The same graph on OpenVINO, on the CPU.

    Raises:
        MissingExtra: openvino, onnx or onnxscript is not installed.
        ModelError: it can't be exported, OpenVINO can't run it, it does not answer as the network does, or the
            processor has no bfloat16 where that is asked for.
    """
    graph, precision = question.graph, question.precision
    run = _running(graph.graph, precision)

    def bare() -> Bare:
        running = _running(scores_alone(graph.graph), precision)
        return lambda images: running(images)["scores"]

    made = Engine("openvino", question.step, run, graph.input_size, None, graph.batch, precision=precision, bare=bare)
    return _shown(made, question)


def _running(graph: ModelProto, precision: str) -> Run:
    names = [each.name for each in graph.graph.output]
    running = openvino_model(graph, precision=precision)

    def run(*batch: Tensor) -> dict[str, Tensor]:
        found = running([each.numpy() for each in batch])
        return {name: torch.from_numpy(found[name].copy()) for name in names}

    return run


def openvino_model(graph: ModelProto, threads: int | None = None, precision: str = "float32") -> Any:
    """What runs an ONNX model on OpenVINO: called with a list of arrays, gives them by the outputs' names.

    ``threads``: how many it may use; None for as many as torch does.

    Raises:
        MissingExtra: openvino is not installed.
        ModelError: it can't run the model, or not in this precision.
    """
    from importlib.util import find_spec

    if find_spec("openvino") is None:
        raise MissingExtra("openvino", "openvino", "the engine openvino")
    import openvino as ov

    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads or torch.get_num_threads()}
    core = ov.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError("this processor has no bfloat16 that OpenVINO could use: leave the precision as it is")
    try:
        return core.compile_model(core.read_model(graph.SerializeToString()), "CPU", settings)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO can't run it: {one_line(error, 300)}") from error


def _single(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with what is in half precision in single precision."""
    return {name: at_least_single(each) for name, each in found.items()}


def _shown(made: Engine, question: Question) -> Engine:
    """The engine, after it answered as the network does."""
    batches = [question.batch(count, number) for number, count in enumerate(TRIED, start=1)]
    agreement = compared(question.step, lambda *given: made(*given).named, batches, question.precision)
    if not agreement.good:
        raise ModelError(f"{made.name} does not answer as {question.model.name} does: {agreement}")
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
