"""``load``: the one door to a network, whether it is named, saved in a folder, or already in hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn

from limelight.errors import ModelError
from limelight.foreign import RunsOnnx, session_side
from limelight.models import from_timm
from limelight.models.architecture import Architecture, State
from limelight.models.catalogue import LIBRARIES, find
from limelight.models.checkpoint import CARD, read_card, weights_file
from limelight.models.from_onnx import is_onnx, load_onnx
from limelight.models.model import Model
from limelight.models.programs import is_program, load_program
from limelight.models.weights import SUFFIXES, classes, fill, read, unwrapped, with_own_head
from limelight.preprocessing import Preprocessing


def load(
    model: str | Path | nn.Module | Model | RunsOnnx,
    weights: str | Path | None = "default",
    *,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    device: torch.device | str | None = None,
    trust: bool = False,
) -> Model:
    """Give a network with what is needed to show it photographs and to read its answers.

    ``model`` is a name (see :func:`limelight.models.available`; "timm/..." or "torchvision/..." where both have it),
    a checkpoint's folder or its ``.safetensors``, an ``.onnx`` file, a network in hand, which is left as it is but for
    what is asked, a session of ONNX Runtime, or, with ``trust``, a file that holds a network whole: pickled,
    TorchScript or ``torch.export``.
    ``weights`` are "default" (the published ones, or what the checkpoint or the network holds), "random" or a file.
    ``num_classes``, when it differs from that of the weights, asks for a new, random head; without it the head is that
    of the weights. ``labels``, ``preprocessing``: instead of the known ones. A network that is built here is in
    evaluation mode.

    Raises ``ModelError``, one line each, for an unknown name, weights that can't be had, read or made to fit, and
    labels that are not one a class. ``trust`` lets a file run what it says, which its reading may need: without it such
    a file is refused.
    """
    model = session_side(model)
    if isinstance(model, nn.Module | Model):
        found = _in_hand(model, weights, num_classes, preprocessing, trust)
    elif is_onnx(model):
        if weights != "default" or num_classes is not None:
            raise ModelError("An ONNX file keeps its weights and classes: load the network by name for others.")
        found = load_onnx(Path(model).expanduser(), preprocessing)
    elif is_program(file := Path(model).expanduser()) and not (file.parent / CARD).is_file():
        if weights != "default" or num_classes is not None:
            raise ModelError("A file that holds a network whole keeps its weights and classes: name it for others.")
        found = load_program(file, trust, preprocessing)
    elif is_path(model):
        found = _from_checkpoint(file, weights, num_classes, preprocessing, trust)
    else:
        found = _by_name(str(model), weights, num_classes, preprocessing, trust)
    if labels is not None:
        found = replace(found, labels=tuple(labels))
    if found.labels and found.num_classes not in (None, len(found.labels)):
        raise ModelError(f"{found.name} has {found.num_classes} classes, but {len(found.labels)} labels were given.")
    return found if device is None else found.to(device)


def _in_hand(
    model: nn.Module | Model,
    weights: str | Path | None,
    num_classes: int | None,
    preprocessing: Preprocessing | None,
    trust: bool,
) -> Model:
    if weights in (None, "random") or num_classes is not None:
        raise ModelError("A network in hand keeps its classes and weights: load it by name for others.")
    found = model if isinstance(model, Model) else _described(model)
    if preprocessing is not None:
        found = replace(found, preprocessing=preprocessing)
    if weights == "default":
        return found
    fill(found.network, unwrapped(read(weights, trust), found.network), str(weights))
    return replace(found, weights=_said(weights))


def _described(network: nn.Module) -> Model:
    config = getattr(network, "pretrained_cfg", None)
    if not isinstance(config, dict):
        return Model(network, None, None, type(network).__name__, "as given")
    name = from_timm.full_name(config["architecture"], config.get("tag"))
    num_classes = int(getattr(network, "num_classes", 0))
    labels = from_timm.labels(num_classes) if num_classes == config.get("num_classes") else None
    return Model(network, from_timm.preprocessing(config), labels, f"timm/{name}", "as given", num_classes)


def _from_checkpoint(
    path: Path, weights: str | Path | None, num_classes: int | None, preprocessing: Preprocessing | None, trust: bool
) -> Model:
    if not path.exists():
        raise ModelError(f"There is no checkpoint at {path}.")
    card = read_card(path)
    if preprocessing is None and card.get("preprocessing"):
        preprocessing = Preprocessing.from_dict(card["preprocessing"])
    weights = weights_file(path) if weights == "default" else weights
    if weights in (None, "random") and num_classes is None:  # as many classes as the checkpoint's, on other weights
        num_classes = card.get("num_classes")
    model = _by_name(card["architecture"], weights, num_classes, preprocessing, trust)
    labels = card.get("labels") if num_classes in (None, card.get("num_classes")) else None
    return replace(model, labels=tuple(labels) if labels else None)


def _by_name(
    name: str, weights: str | Path | None, num_classes: int | None, preprocessing: Preprocessing | None, trust: bool
) -> Model:
    architecture = find(name)
    channels = preprocessing.channels if preprocessing else 3
    own = architecture.num_classes if num_classes is None else num_classes
    if weights in (None, "random"):
        network, said = architecture.build(own, channels), "random"
    elif weights != "default":
        network, own, said = _filled(architecture, read(weights, trust), _said(weights), num_classes, channels)
    else:
        network, said = _published(architecture), str(architecture.weights)
        if (own, channels) != (architecture.num_classes, 3):
            network, own, said = _filled(architecture, network.state_dict(), said, num_classes, channels)
    labels = architecture.labels() if own == architecture.num_classes else None
    return Model(network.eval(), preprocessing or architecture.preprocessing(), labels, name, said, own)


def _published(architecture: Architecture) -> nn.Module:
    instead = "give weights=FILE or weights='random'"
    here = architecture.on_this_machine()
    if architecture.weights is None:
        raise ModelError(f"No weights were published for {architecture.name}: {instead}.")
    if not here and architecture.origin and not _reachable(architecture.origin):
        raise ModelError(f"The weights of {architecture.name} are not on this machine, which is offline: {instead}.")
    try:
        return architecture.published()
    except ModelError:
        raise
    except Exception as error:  # what the libraries' downloads raise has no common kind
        what = "can't be read" if here else "are not on this machine and could not be fetched"
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"The weights of {architecture.name} {what} ({said}): {instead}.") from error


def _filled(
    architecture: Architecture, state: State, source: str, num_classes: int | None, channels: int
) -> tuple[nn.Module, int, str]:
    """The network with ``state`` in it, its number of classes, and its weights in words."""
    network = architecture.build(architecture.num_classes, channels)
    state = architecture.translate(unwrapped(state, network), network)
    held = classes(state, network, architecture.num_classes)
    wanted = held if num_classes is None else num_classes
    if wanted != architecture.num_classes:
        network = architecture.build(wanted, channels)
    if wanted == held:
        fill(network, state, source)
        return network, wanted, source
    fill(network, with_own_head(state, network, held, wanted), source)
    return network, wanted, f"{source}, new head for {wanted} classes"


def _reachable(url: str) -> bool:
    """Whether the host's name can be looked up at all: without a connection timm would go on trying for a minute."""
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return bool(getproxies())  # behind a proxy, names are often the proxy's to look up
    return True


def _said(file: str | Path) -> str:
    return "/".join(Path(file).parts[-2:])  # checkpoints are told apart by their folders


def is_path(model: str | Path) -> bool:
    """Whether a checkpoint is meant: it lies in a folder, ends as weights do, or is a folder with a card in it."""
    return (
        isinstance(model, Path)
        or os.path.dirname(model) not in ("", *LIBRARIES)
        or model.endswith(SUFFIXES)
        or Path(model, CARD).is_file()
    )
