"""A file of weights from anywhere -> a network's state, or a refusal that says what is wrong with it."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.models.architecture import State

T = TypeVar("T")
SUFFIXES = ".safetensors", ".pt", ".pth", ".bin", ".ckpt"

TRUST = "give --trust (trust=True) if you know where it is from"
# Where training programs put the state in their checkpoints. The averaged weights come first: they are the better
# ones, and the ones such a program evaluates.
KEYS = "state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model_state", "model", "net", "network"
PREFIXES = "module.", "_orig_mod.", "model.", "net.", "network."  # left by wrappers: parallel, compiled, Lightning


def read(path: str | Path, trust: bool = False) -> State:
    """The tensors by name in a ``.safetensors`` file, or in anything ``torch.save`` wrote (.pt, .pth, .bin, .ckpt).

    No code from the file is run, unless it is trusted. Raises ``ModelError`` for a file that is missing, damaged, wants
    to run code, or holds no state.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no file of weights at {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # timm's training keeps its arguments beside the weights; a Namespace holds plain values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # damaged bytes can raise anything
        raise ModelError(f"{path} {_why_unreadable(error)}.") from error
    state = first_in(content, _as_state)
    if state is None:
        held = f"a dict with {_some(list(content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ModelError(f"{path} holds no weights by name (a state_dict) but {held}.")
    return state


def unwrapped(state: State, network: nn.Module) -> State:
    """``state`` without the prefixes that wrappers put before all of its names, unless ``network`` has them too."""
    own = network.state_dict().keys()
    while state and not own & state.keys():
        prefix = next((each for each in PREFIXES if all(name.startswith(each) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def classes(state: State, network: nn.Module, num_classes: int) -> int:
    """How many classes the network had whose state this is, by the head of ``network``, which has ``num_classes``.

    A network of 0 classes has no head: what a state holds beyond it is one.
    """
    if not num_classes:
        own = network.state_dict()
        beyond = [value for name, value in state.items() if name not in own and value.ndim]
        return beyond[-1].shape[0] if beyond else 0
    heads = [name for name, value in network.state_dict().items() if value.shape[:1] == (num_classes,)]
    head = state.get(heads[-1]) if heads else None  # a network's head is declared last
    return num_classes if head is None or not head.ndim else head.shape[0]


def with_own_head(state: State, network: nn.Module, held: int, wanted: int) -> State:
    """``state`` with the network's own tensors where they have ``wanted`` classes and the state's have ``held``."""
    heads = {
        name: own
        for name, own in network.state_dict().items()
        if own.shape[:1] == (wanted,) and (state[name].shape[:1] if name in state else (0,)) == (held,)
    }
    return {**state, **heads}


def fill(network: nn.Module, state: State, source: str) -> None:
    """Put ``state`` into ``network``. Raises ``ModelError``, before anything is changed, unless all of it fits."""
    own = network.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    misshapen = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    faults = {"lacks": missing, "has unknown": unknown, "has other shapes in": misshapen}
    said = "; ".join(f"it {fault} {_some(names)}" for fault, names in faults.items() if names)
    if said:
        raise ModelError(f"The weights in {source} don't fit {type(network).__name__}: {said}.")
    network.load_state_dict(state, strict=False)  # old files lack num_batches_tracked, which inference never uses


def first_in(content: Any, wanted: Callable[[Any], T | None]) -> T | None:
    """What ``wanted`` makes of a file's content, or else of what training programs keep in it; None if of nothing."""
    found = wanted(content)
    if found is not None or not isinstance(content, Mapping):
        return found
    return next((found for key in KEYS if (found := first_in(content.get(key), wanted)) is not None), None)


def _as_state(content: Any) -> State | None:
    content = content.state_dict() if isinstance(content, nn.Module) else content
    if not isinstance(content, Mapping) or not content:
        return None
    return content if all(isinstance(value, Tensor) for value in content.values()) else None


def _why_unreadable(error: Exception) -> str:
    said = str(error)
    if "Weights only load failed" in said or "TorchScript" in said:
        culprit = re.search(r"GLOBAL ([\w.]+)", said)
        named = f" ({culprit[1]})" if culprit else ""
        return (
            f"holds more than weights{named}, which would have to run to be read: refused; save the state_dict alone, "
            f"or {TRUST}"
        )
    return "can't be read as weights: it is damaged, cut short or something else"


def _some(names: list[Any], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more
