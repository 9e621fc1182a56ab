"""What ``explain`` is given, photographs or tensors, as what the network is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.detectors import recognised
from limelight.errors import InputError, ModelError
from limelight.foreign import RunsOnnx, keras_side, session_side
from limelight.images import Photo, read
from limelight.models import Model
from limelight.nested import Inputs
from limelight.preprocessing import Fit, Preprocessing, View
from limelight.targets import Labels
from limelight.towers import picture_side


def parts_of(model: Model | nn.Module | RunsOnnx) -> tuple[nn.Module, Labels, Preprocessing | None]:
    """A model's network, labels and preprocessing; a bare network has no more than itself.

    A detector that is known is seen through a view that gives its candidates (:mod:`limelight.detectors`), a network of
    pictures and text from its pictures' side (:mod:`limelight.towers`), a session of ONNX Runtime as a network that can
    only be run.

    Raises:
        ModelError: it is neither.
    """
    if isinstance(model, Model):
        return _seen(model.network), model.labels, model.preprocessing
    network = session_side(model)
    if isinstance(network, nn.Module):
        return _seen(network), None, None
    raise ModelError(f"{model!r} is no network: give an nn.Module or what limelight.load(...) returns")


def _seen(network: nn.Module) -> nn.Module:
    return picture_side(recognised(keras_side(network)))


def tensors_of(images: Any, network: nn.Module) -> Inputs | None:
    """The network's inputs, if it is those that were given, and not photographs.

    Raises:
        InputError: a tensor that is no batch of images.
    """
    if isinstance(images, Mapping):
        images = Inputs(options=dict(images))
    elif isinstance(images, tuple) and any(isinstance(each, Tensor) and each.is_floating_point() for each in images):
        images = Inputs(images)
    elif isinstance(images, Tensor) and images.is_floating_point():
        images = Inputs((images,))
    elif isinstance(images, list) and images and all(_is_picture(each) for each in images):
        images = Inputs((_stacked(images),))
    elif not isinstance(images, Inputs):
        return None
    image = images.image
    if image is None:
        single = f"a tensor of shape {tuple(images.args[0].shape)}" if len(images.args) == 1 else "the inputs"
        raise InputError(f"{single} can't be explained: there is no float tensor (batch, channels, *grid) to look at")
    if not 3 <= image.ndim <= 5 or not min(image.shape) or (image.ndim == 3 and _of_pictures(network)):
        raise InputError(
            f"images of shape {tuple(image.shape)}: a float tensor must be (batch, channels, height, width)"
            + (", images[None] makes a batch of one" if image.ndim == 3 else "")
        )
    return images


def _is_picture(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 3


def _stacked(pictures: Sequence[Tensor]) -> Tensor:
    """A batch of a list of pictures ``(channels, height, width)``, as torchvision's detectors are given.

    Raises:
        InputError: they have several sizes.
    """
    if sizes := {tuple(picture.shape) for picture in pictures[1:]} - {tuple(pictures[0].shape)}:
        raise InputError(
            f"pictures of several sizes, {tuple(pictures[0].shape)} and {sizes.pop()}: one call explains pictures of "
            "one size, so explain them one by one"
        )
    return torch.stack(list(pictures))


def _of_pictures(network: nn.Module) -> bool:
    """Whether the network's first convolution is one of pictures."""
    return isinstance(_first_convolution(network), nn.Conv2d)


def channels_of(network: nn.Module) -> int:
    """How many channels its pictures have, by its first convolution; 3 where it has none."""
    first = _first_convolution(network)
    return 3 if first is None else first.in_channels


def _first_convolution(network: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return next((module for module in network.modules() if isinstance(module, convolutions)), None)


def photos_of(images: Any) -> list[Any]:
    """The photographs that were given, one or several.

    Raises:
        InputError: there are none.
    """
    several = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
    photos = list(images) if several else [images]
    if not photos:
        raise InputError("no images were given")
    return photos


@dataclass(frozen=True)
class Batch:
    """Some images, ready to be run.

    Attributes:
        inputs: what the network is called with.
        photos: the photographs; empty where tensors were given.
        views: where each input lay on its photograph; empty where tensors were given.
        shown: what an overlay is drawn on where there is no photograph.
    """

    inputs: Inputs
    photos: list[Photo]
    views: list[View]
    shown: Tensor | None

    @property
    def image(self) -> Tensor:
        """The images ``(batch, channels, *grid)``."""
        image = self.inputs.image
        assert image is not None, "looked at when the inputs were taken"
        return image


@dataclass(frozen=True)
class Prepare:
    """Images as they were given -> the network's inputs, on its device and in its precision."""

    network: nn.Module
    preprocessing: Preprocessing | None
    fit: Fit

    def __call__(self, images: Inputs | Sequence[Any]) -> Batch:
        """Read, preprocess and stack photographs; take tensors as they are.

        Raises:
            InputError: a file that is no picture, or photographs for a network without preprocessing.
        """
        if isinstance(images, Inputs):
            with torch.inference_mode(False):  # autograd refuses tensors made in that mode, but not their copies
                given = Inputs(*pytree.tree_map(self.taken, (images.args, images.options)))
            image = given.image
            return Batch(given, [], [], None if image is None else image.detach())
        if self.preprocessing is None:
            raise InputError(
                "this network comes without preprocessing, so it takes float tensors (batch, channels, height, width); "
                "for photographs give limelight.load(network, preprocessing=limelight.Preprocessing(...)), "
                "or --input-size at a shell"
            )
        photos = [image if isinstance(image, Photo) else read(image) for image in images]
        tensors, views = zip(*(self.preprocessing(photo.pixels, self.fit) for photo in photos), strict=True)
        like = next((tensor for tensor in self.network.parameters() if tensor.is_floating_point()), tensors[0])
        stacked = torch.stack(tensors).to(like.device, like.dtype)
        return Batch(Inputs((stacked,)), photos, list(views), None)

    def taken(self, leaf: Any) -> Any:
        """A part of the inputs, as the network can take it."""
        if not isinstance(leaf, Tensor):
            return leaf
        self.check_device(leaf)
        return leaf.clone() if leaf.is_inference() else leaf

    def check_device(self, images: Tensor) -> None:
        """Refuse what lies on another device than the network.

        Raises:
            InputError: it does.
        """
        first = next(self.network.parameters(), images).device
        if images.device == first:
            return
        devices = {tensor.device for tensor in self.network.parameters()}  # a network may be spread over several
        if images.device not in devices:
            raise InputError(f"the images are on {images.device}, the network on {first}: images.to('{first}')")
