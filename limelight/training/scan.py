"""One look into every file before anything is learnt: what can't be read, what is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from limelight.errors import InputError
from limelight.images import read
from limelight.training import duplicates
from limelight.training.folder import Dataset, Picture, check

THREADS = 4  # decoding lets go of Python's lock


@dataclass(frozen=True)
class Scan:
    """What :func:`scan` found."""

    dataset: Dataset
    """Without the pictures that can't be read."""
    fingerprint: str
    """SHA-256 over every picture's name, label, split and bytes: another picture, label or split is another one."""
    pairs: tuple[tuple[int, int], ...]
    """Numbers of pictures that are copies, or nearly, of each other."""

    @property
    def groups(self) -> list[int]:
        """(pictures,) One number for all copies of a picture."""
        return duplicates.groups(len(self.dataset), list(self.pairs))

    def told(self) -> list[str]:
        """The pairs in words, those first that lie in two splits or, worse, in two classes."""
        return [text for _, text in sorted(map(self._told, self.pairs))]

    def _told(self, pair: tuple[int, int]) -> tuple[int, str]:
        one, other = (self.dataset.items[i] for i in pair)
        names = f"{self.dataset.name(one)} and {self.dataset.name(other)}"
        if one.label != other.label:
            said = [self.dataset.classes[item.label] for item in (one, other)]
            return 0, f"{names} are the same picture and bear two labels: {said[0]} and {said[1]}"
        if one.split != other.split:
            return 1, f"{names} are the same picture, in {one.split} and in {other.split}"
        return 2, f"{names} are the same picture" + (f", both in {one.split}" if one.split else "")


def scan(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Decode every picture once. ``progress(done, all)`` is called after each.

    Raises ``InputError`` when too few can be read to learn from.
    """
    digest = hashlib.sha256("\n".join(dataset.classes).encode())
    thumbnails: list[np.ndarray] = []
    broken: dict[int, str] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for i, (item, seen) in enumerate(zip(dataset.items, pool.map(_look, dataset.items), strict=True)):
            if isinstance(seen, InputError):
                broken[i] = str(seen)
            else:
                thumbnails.append(seen[0])
                digest.update(f"\n{dataset.name(item)}\t{item.label}\t{item.split}\t{seen[1]}".encode())
            if progress:
                progress(i + 1, len(dataset))
    whole = dataset.but(broken)
    check(whole)
    return Scan(whole, digest.hexdigest(), tuple(duplicates.pairs(np.stack(thumbnails))))


def _look(item: Picture) -> tuple[np.ndarray, str] | InputError:
    """A picture's thumbnail and the digest of its bytes, or why it can't be used."""
    try:
        pixels = read(item.path).pixels
        return duplicates.thumbnail(pixels), hashlib.sha256(item.path.read_bytes()).hexdigest()
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{item.path} can't be read: {error.strerror}")
