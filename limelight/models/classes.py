"""What a class may be called in the files of a data set: its label, its number, its WordNet id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

IMAGENET = 1000


def spellings(labels: Sequence[str] | None, count: int | None) -> dict[str, int]:
    """Every name that a class of a network goes by, in lower case, and its index. A label shared by two is left out."""
    names: dict[str, int] = {}
    for index, label in enumerate(labels or ()):
        names[label.casefold()] = -1 if label.casefold() in names else index
    if count == IMAGENET:
        from timm.data.imagenet_info import ImageNetInfo

        for index, wnid in enumerate(ImageNetInfo().label_names()):
            names.setdefault(str(wnid).casefold(), index)
    for index in range(count or len(labels or ())):
        names.setdefault(str(index), index)  # a label that is a number itself comes first
    return {name: index for name, index in names.items() if index >= 0}


def class_of(names: Iterable[str], known: dict[str, int]) -> int | None:
    """The class that goes by one of these names, the first that is known; None where none is."""
    return next((known[name.casefold()] for name in names if name.casefold() in known), None)
