"""An ONNX file as a network of torch, its layers under the names of the file's nodes. Nothing in the file is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from limelight.errors import MissingExtra, ModelError, one_line
from limelight.models.model import Model
from limelight.models.onnx_dialect import in_older_words
from limelight.preprocessing import Preprocessing

SUFFIX = ".onnx"


def is_onnx(path: Any) -> bool:
    """Whether an ONNX file is meant."""
    return str(path).endswith(SUFFIX)


def load_onnx(path: Path, preprocessing: Preprocessing | None = None) -> Model:
    """The network of an ONNX file, in evaluation mode.

    Raises:
        MissingExtra: onnx or onnx2torch is not installed.
        ModelError: the file can't be read, or holds an operator that can't be converted; the message names it.
    """
    try:
        import onnx
        from onnx2torch import convert
    except ImportError:
        raise MissingExtra("onnx and onnx2torch", "onnx", "an ONNX file as input") from None
    if not path.is_file():
        raise ModelError(f"There is no file {path}.")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, onnx and the file system have no kind in common
        raise ModelError(f"{path} can't be read as an ONNX file: {_line(error)}") from error
    try:
        network = convert(in_older_words(model))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except NotImplementedError as error:
        raise ModelError(f"{path}: {_operator(error)}") from error
    except Exception as error:
        raise ModelError(f"{path} can't be converted to a network of torch: {_line(error)}") from error
    return Model(network.eval(), preprocessing, None, path.name, "as given", _classes(model))


def _operator(error: Exception) -> str:
    found = re.search(r"domain='([^']*)', operation_type='(\w+)', version=(\d+)", str(error))
    if found is None:
        return f"it can't be converted: {_line(error)}"
    domain, name, version = found.groups()
    whose = f" of {domain}" if domain else ""
    return (
        f"the operator {name}{whose} (version {version}) can't be converted: export the network without it, or explain "
        "the network that the file was made from"
    )


def _classes(model: Any) -> int | None:
    """The size of the last axis of the one output, where it has two."""
    if len(model.graph.output) != 1:
        return None
    sides = model.graph.output[0].type.tensor_type.shape.dim
    return int(sides[1].dim_value) or None if len(sides) == 2 else None


def _line(error: Exception) -> str:
    return one_line(error, 300) or type(error).__name__
