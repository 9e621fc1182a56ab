"""COCO's run-length masks, compressed or not: how many pixels are off, then on, then off, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import InputError


@dataclass(frozen=True)
class Runs:
    """A mask as the lengths of its runs, the first of them off, down each column in turn.

    pycocotools reads the same, but looks at no length: of a damaged mask it gives whatever lay in the memory.
    """

    height: int
    width: int
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, segmentation: dict[str, Any], where: str) -> Runs:
        """The mask of an annotation's ``segmentation``, a dictionary of ``size`` and ``counts``, in the file ``where``.

        Raises:
            InputError: it is no such thing, or its runs do not fill its size exactly.
        """
        try:
            height, width = (int(side) for side in segmentation["size"])
            counts = segmentation["counts"]
            packed = isinstance(counts, str | bytes)
            lengths = tuple(_unpacked(counts)) if packed else tuple(int(count) for count in counts)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: a run-length mask is a size (height, width) and counts: {error}") from None
        if min(lengths, default=0) < 0 or sum(lengths) != height * width:
            raise InputError(f"{where}: a run-length mask of {width} x {height} pixels has runs for {sum(lengths)}")
        return cls(height, width, lengths)

    def pixels(self) -> Tensor:
        """True on the object ``(height, width)``."""
        on = torch.arange(len(self.lengths)) % 2 == 1
        down = on.repeat_interleave(torch.tensor(self.lengths, dtype=torch.long))
        return down.view(self.width, self.height).T


def _unpacked(counts: str | bytes) -> Iterator[int]:
    """The lengths of a compressed mask: five bits a character from the lowest, the sixth says that more follow.

    A number is signed by its last character's fifth bit; from the fourth on it is the difference from two runs before.
    """
    lengths: list[int] = []
    codes = [code - 48 for code in (counts.encode() if isinstance(counts, str) else counts)]
    for number in _numbers(codes):
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
    yield from lengths


def _numbers(codes: Sequence[int]) -> Iterator[int]:
    number, shift = 0, 0
    for code in codes:
        if not 0 <= code < 64:
            raise ValueError(f"{chr(code + 48)!r} is no character of one")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            yield number - (1 << shift if code & 16 else 0)
            number, shift = 0, 0
    if shift:
        raise ValueError("it is cut off")
