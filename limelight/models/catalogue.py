"""All networks that have a name: look one up, or list them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from limelight.errors import ModelError, closest
from limelight.models import embedded, from_timm, from_torchvision, small
from limelight.models.architecture import Architecture

SOURCES = (embedded, from_timm, from_torchvision, small)  # a name that several have belongs to the first
LIBRARIES = tuple(source.SOURCE for source in SOURCES)


@dataclass(frozen=True)
class Available:
    """One line of the list: a network and one of its published sets of weights."""

    name: str
    """What :func:`limelight.models.load` takes to give just this."""
    source: str
    """The library: "embedded", "timm", "torchvision" or "limelight"."""
    weights: str | None
    """The published weights in words; None when there are none."""
    on_this_machine: bool
    """Whether the weights can be loaded without a connection."""
    licence: str | None
    """Of the weights, as far as the library states it."""


def available(filter: str = "") -> list[Available]:
    """The networks :func:`limelight.models.load` knows by name.

    ``filter`` is a part of the name, and may hold ``*`` and ``?``. Builds no network and needs no connection.
    """
    pattern = f"*{filter.lower()}*"
    found = [source.find(name) for source in SOURCES for name in source.names() if fnmatchcase(name.lower(), pattern)]
    return [
        Available(each.name, each.source, each.weights, each.on_this_machine(), each.licence) for each in found if each
    ]


def find(name: str) -> Architecture:
    """The network of this name: "resnet50", "resnet50.a1_in1k", "torchvision/resnet50".

    Raises ``ModelError`` when there is none.
    """
    library, _, bare = name.rpartition("/")
    sources = [source for source in SOURCES if library in ("", source.SOURCE)]
    for source in sources:
        if found := source.find(bare):
            return found
    known = [name for source in sources for name in source.names()]
    if "." not in bare:  # without a tag it is the network's name that is misspelt
        known = sorted({name.partition(".")[0] for name in known})
    raise ModelError(f"No network is called {name!r}.{closest(bare, known)}")
