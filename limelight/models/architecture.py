"""What limelight must know of a network that has a name, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from limelight.preprocessing import Preprocessing

State = Mapping[str, Tensor]
IMAGENET = 1000


def as_is(state: State, network: nn.Module) -> State:
    """The translation of a state that needs none."""
    return state


@dataclass(frozen=True)
class Architecture:
    """A network by name: what is known of its published weights, and how to build it. Nothing is built to make one."""

    name: str
    """Unambiguous within its library, tag included: ``resnet50.a1_in1k``."""
    source: str
    """The library: "embedded", "timm", "torchvision" or "limelight"."""
    weights: str | None
    """The published weights in words; None when there are none."""
    licence: str | None
    """Of the weights, as far as the library states it."""
    num_classes: int
    """Of the published network; 0 when it ends in features."""
    origin: str | None
    """The address the weights are fetched from; None when they are not fetched."""
    preprocessing: Callable[[], Preprocessing]
    """What the published weights were evaluated with."""
    labels: Callable[[], tuple[str, ...] | None]
    """Names of the published classes."""
    on_this_machine: Callable[[], bool]
    """Whether ``published`` needs no connection."""
    published: Callable[[], nn.Module]
    """The network with its published weights, by the library's own loading, which may fetch them."""
    build: Callable[[int, int], nn.Module]
    """Classes and channels -> the network with random weights; ``ModelError`` for channels it can't take."""
    translate: Callable[[State, nn.Module], State] = as_is
    """Published weights in an older or foreign spelling -> the spelling of the network."""


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 ImageNet-1k names, short and without repeats ("tabby", "espresso")."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


def fetched(url: str) -> Path:
    """Where torch.hub keeps, or would keep, what it fetches from ``url``."""
    from torch.hub import get_dir

    return Path(get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
