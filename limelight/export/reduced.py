"""A graph in fewer bits: half precision, or int8 where the scores are made; what it costs in agreement is measured.

int8 is for the operations that the scores need, convolutions and products with weights, calibrated on pictures
(per-channel weights, Jacob et al. 2018, arXiv 1712.05877); the pull-back and the map stay in single precision.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from limelight.errors import InputError, ModelError, one_line
from limelight.export import to_onnx
from limelight.export.agreement import rank_correlation
from limelight.export.graph import needed

if TYPE_CHECKING:
    import onnx

    from limelight.export.compiled import Compiled

Precision = Literal["float16", "int8"]
PERCENTILE = 99.99
"""The share of an activation's values that int8 spans, chosen on one network, EfficientNet-Lite0 (docs/export.md)."""
LEAST = 8
"""Images that int8 needs at least: half to calibrate on, half to be measured on."""


@dataclass(frozen=True)
class Fidelity:
    """How far a graph in fewer bits is from the one in single precision, on images that it was not calibrated on.

    Attributes:
        map: the rank correlation of raw maps (Spearman) on the median image.
        worst_map: the same on the worst image.
        predictions: the share of images whose best class is the same.
        images: how many were compared.
    """

    map: float
    worst_map: float
    predictions: float
    images: int

    def __str__(self) -> str:
        return (
            f"rank correlation of maps {self.map:.3f} (worst image {self.worst_map:.3f}), the same class predicted for "
            f"{self.predictions:.0%} of {self.images} images"
        )


def reduced(compiled: Compiled, precision: Precision, images: Tensor) -> Compiled:
    """The same in fewer bits, with what it costs measured as its ``fidelity``.

    Args:
        compiled: a graph in single precision.
        precision: "float16", or "int8".
        images: preprocessed images (count, channels, height, width) like those that it will see. Of int8's, every other
            one calibrates and the rest measure.

    Raises:
        InputError: too few images.
        ModelError: the graph can't be had so.
    """
    if precision not in ("float16", "int8"):
        raise InputError(f"no precision is called {precision!r}; there are float16 and int8")
    if precision == "int8" and len(images) < LEAST:
        raise InputError(f"int8 is calibrated on images like those to come: give at least {LEAST}, not {len(images)}")
    try:
        with _quiet():
            graph = _half(compiled.graph) if precision == "float16" else _int8(compiled, images[::2])
    except Exception as error:  # whatever the converters raise has no common kind
        raise ModelError(f"{compiled.model.name} can't be had in {precision}: {one_line(error, 300)}") from error
    made = replace(compiled, graph=to_onnx.tidy(graph), precision=precision)
    return replace(made, fidelity=fidelity(compiled, made, images[1::2] if precision == "int8" else images))


def fidelity(compiled: Compiled, made: Compiled, images: Tensor) -> Fidelity:
    """How far one graph is from another."""
    correlations: list[float] = []
    same: list[bool] = []
    rows = compiled.batch or 1
    for batch in images.split(rows):
        if len(batch) < rows:
            break
        classes = [-1] * rows if compiled.step.asks else None
        own, other = compiled(batch, classes), made(batch, classes)
        same += (own.scores.argmax(dim=1) == other.scores.argmax(dim=1)).tolist()
        # Of a class that is not the same, the maps answer different questions; they count all the same.
        correlations += [rank_correlation(a, b) for a, b in zip(own.raws[0], other.raws[0], strict=True)]
    if not same:
        raise InputError(f"{len(images)} images to measure on: a graph of {rows} at once needs as many at least")
    return Fidelity(median(correlations), min(correlations), sum(same) / len(same), len(same))


def _half(graph: onnx.ModelProto) -> onnx.ModelProto:
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    kept = [*DEFAULT_OP_BLOCK_LIST, "ScatterElements"]  # ONNX Runtime adds up in single precision only
    return convert_float_to_float16(copy, keep_io_types=True, op_block_list=kept)


def _int8(compiled: Compiled, images: Tensor) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    step, rows = compiled.step, compiled.batch or 1

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter(images.split(rows))

        def get_next(self) -> Any:
            batch = next(self.batches, None)
            if batch is None or len(batch) < rows:
                return None
            given = {to_onnx.CLASSES: torch.full((rows,), -1).numpy()} if step.asks else {}
            return {to_onnx.IMAGE: batch.numpy(), **given}

    with tempfile.TemporaryDirectory() as folder:
        whole, before, after = (Path(folder, f"{name}.onnx") for name in ("whole", "before", "after"))
        onnx.save(compiled.graph, whole)
        quant_pre_process(str(whole), str(before), skip_symbolic_shape=True)
        forward = {node.name for node in needed(onnx.load(before).graph.node, ["scores"])}
        others = [node.name for node in onnx.load(before).graph.node if node.name not in forward]
        quantize_static(
            str(before),
            str(after),
            Reader(),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add", "MaxPool", "Relu"],
            nodes_to_exclude=others,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(after)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the converters print and log on their way."""
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
