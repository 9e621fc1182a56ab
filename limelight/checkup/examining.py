"""``doctor``: every check, on one network and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from limelight.checkup import answers, layers, maps, pictures, weights
from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient, made_up
from limelight.cut import LayerSpec, resolve
from limelight.errors import LimelightError, ModelError, one_line
from limelight.foreign import opened
from limelight.images import Photo, read
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.nested import Inputs
from limelight.preparing import Prepare, channels_of, parts_of, photos_of, tensors_of

CHECKS = (*weights.CHECKS, *pictures.CHECKS, *answers.CHECKS, *layers.CHECKS, *maps.CHECKS)
SIDE = 224


class Examination(Sequence[Finding]):
    """What was found; empty for a network that is well.

    Attributes:
        checks: how many checks were made.
        pictures: how many pictures were looked at; 0 where they were made up.
    """

    def __init__(self, found: Sequence[Finding], checks: int, pictures: int):
        self._found = list(found)
        self.checks = checks
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, i: Any) -> Any:
        return self._found[i]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    def __repr__(self) -> str:
        return "\n".join(map(str, self._found)) or f"Nothing found by {self.checks} checks."


def doctor(
    model: Model | nn.Module,
    images: Any = None,
    *,
    method: str | Method = "gradcam",
    layer: LayerSpec | None = None,
) -> Examination:
    """Look for what can go wrong between a network, its pictures and its maps: a finding for each fault.

    Args:
        model: what :func:`limelight.load` gives, or any ``nn.Module`` that takes pictures alone.
        images: as for :func:`limelight.explain`; a few ordinary pictures tell more than one. Without any, smooth noise
            is used, and what only pictures can tell is left out.
        method: the method whose maps are looked at.
        layer: where they are drawn; None for the default.

    Raises:
        InputError, LayerError, MethodError, ModelError: the images can't be read, there is no such layer or method, or
            the network does not run on them.
    """
    patient = _patient(model, images, get(method), layer)
    patient = replace(patient, network=opened(patient.network, Inputs((patient.images,))))
    if layer is not None:
        resolve(patient.network, layer)
    try:
        patient.outputs  # noqa: B018 - what follows needs them
    except LimelightError:
        raise
    except RuntimeError as error:
        said = one_line(error)
        shape = tuple(patient.images.shape)
        raise ModelError(f"the network does not run on images of shape {shape}: {said}") from error
    found: list[Finding] = []
    for check in CHECKS:
        found.extend(check(patient))
        if any(finding.check == "overflow" for finding in found):
            break  # nothing that follows could be told
    return Examination(found, len(CHECKS), len(patient.images) if patient.real else 0)


def _patient(model: Model | nn.Module, images: Any, method: str | Method, layer: LayerSpec | None) -> Patient:
    network, labels, preprocessing = parts_of(model)
    if images is None:
        own = preprocessing
        size, channels = (own.size, own.channels) if own else ((SIDE, SIDE), channels_of(network))
        like = next((each for each in network.parameters() if each.is_floating_point()), None)
        if like is None:
            raise ModelError("the network has no weights, so nothing can be made up for it: give it pictures")
        return Patient(network, labels, preprocessing, made_up(channels, size, like), False, method, layer)
    source = tensors_of(images, network)
    if source is not None:
        batch = Prepare(network, preprocessing, "crop")(source)
        if not batch.inputs.alone:
            raise ModelError("the doctor examines networks that take pictures alone: wrap it so that it does")
        return Patient(network, labels, preprocessing, batch.image, True, method, layer)
    photos = [each if isinstance(each, Photo) else read(each) for each in photos_of(images)]
    batch = Prepare(network, preprocessing, "crop")(photos)
    pixels = tuple(photo.pixels for photo in photos)
    return Patient(network, labels, preprocessing, batch.image, True, method, layer, pixels)
