"""Which detectors are known: told by their class, without importing the library that it comes from."""

from __future__ import annotations

from torch import nn

from limelight.borrow import unwrap
from limelight.detectors import detr, torchvision
from limelight.detectors.view import Reader, View, seen_by

READERS: dict[str, Reader] = {
    "torchvision.models.detection.generalized_rcnn.GeneralizedRCNN": torchvision.RCNN,
    "torchvision.models.detection.retinanet.RetinaNet": torchvision.RETINANET,
    "torchvision.models.detection.fcos.FCOS": torchvision.FCOS,
    "torchvision.models.detection.ssd.SSD": torchvision.SSD,
}


def recognised(network: nn.Module) -> nn.Module:
    """The view of a detector that is known; any other network as it is."""
    inner = unwrap(network)
    if isinstance(inner, View):
        return inner
    for kind in type(inner).__mro__:
        if (reader := READERS.get(f"{kind.__module__}.{kind.__qualname__}")) is not None:
            return seen_by(inner, reader)
    return seen_by(inner, detr.READER) if detr.is_detr(inner) else network
