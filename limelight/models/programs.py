"""A file that holds a network whole: pickled, TorchScript, or a program of ``torch.export``. Read only when trusted.

All three run what the file says when it is read or used, so that a crafted one does whatever its maker likes.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from limelight.errors import ModelError, one_line
from limelight.models.model import Model
from limelight.models.weights import TRUST, first_in, read
from limelight.preprocessing import Preprocessing

SUFFIXES = ".pt2", ".pt", ".pth", ".bin", ".ckpt"


def is_program(path: Path) -> bool:
    """Whether such a file may be meant."""
    return path.suffix in SUFFIXES and path.is_file()


def load_program(path: Path, trust: bool, preprocessing: Preprocessing | None = None) -> Model:
    """The network in a file, in evaluation mode.

    Raises:
        ModelError: the file is not trusted and would have to run; it is damaged, or holds weights alone.
    """
    kind = _kind(path)
    if kind is None and not trust:
        read(path)  # weights are told from programs, and crafted files refused, by reading them as weights
        raise ModelError(f"{path} holds weights alone: name the network, load(NAME, weights=FILE).")
    if not trust:
        raise ModelError(f"{path} holds {kind}, which would have to run: refused; {TRUST}.")
    try:
        network = _read(path, kind)
    except Exception as error:  # damaged bytes can raise anything
        said = one_line(error, 200) or type(error).__name__
        raise ModelError(f"{path} can't be read as {kind or 'a network'}: {said}") from error
    if network is None:
        raise ModelError(f"{path} holds no network: name one, load(NAME, weights=FILE).")
    return Model(network, preprocessing, None, path.name, "as given", None)


def _kind(path: Path) -> str | None:
    """What the file says it is; None for a pickle, or bytes that say nothing."""
    if path.suffix == ".pt2":
        return "a program of torch.export"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None
    return "a TorchScript program" if any(name.endswith("constants.pkl") for name in names) else None


def _read(path: Path, kind: str | None) -> nn.Module | None:
    if kind is None:
        content = torch.load(path, map_location="cpu", weights_only=False)
        found = first_in(content, lambda each: each if isinstance(each, nn.Module) else None)
        return None if found is None else found.float().eval() if _half(found) else found.eval()
    if kind.endswith("torch.export"):
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # of a damaged file torch logs pages, and raises all the same
        try:
            return torch.export.unflatten(torch.export.load(path))
        finally:
            logging.disable(before)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that TorchScript will be gone some day
        return torch.jit.load(str(path), map_location="cpu").eval()


def _half(network: nn.Module) -> bool:
    """Whether it was kept in half precision, which few processors run: training programs do so to save space."""
    return any(tensor.dtype == torch.float16 for tensor in network.parameters())
