"""Pictures to the network's inputs, a batch at a time, by several processes that keep a bounded step ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from limelight.errors import InputError
from limelight.preprocessing import Fit, Preprocessing, View
from limelight.streaming.listing import Listing
from limelight.streaming.sources import Item

AHEAD = 2
"""Batches that each process may have ready before anybody asks for them."""


class Slot(NamedTuple):
    """The pictures of a batch: ``first`` to ``stop`` of a shard."""

    shard: int
    first: int
    stop: int


class Picture(NamedTuple):
    """What is known of a picture once it was read.

    Attributes:
        item: where it came from.
        size: width and height; None where it can't be used.
        notes: what had to be done to it.
        view: where the network's input lies on it.
        error: why it can't be used.
    """

    item: Item
    size: tuple[int, int] | None
    notes: tuple[str, ...]
    view: View | None
    error: str | None


@dataclass
class Batch:
    """Pictures that were read together.

    Attributes:
        slot: which they are.
        pictures: each of them, in order.
        groups: the inputs ``(batch, channels, height, width)`` of those that can be used, a tensor for each shape, with
            the places among ``pictures`` that its rows have.
    """

    slot: Slot
    pictures: list[Picture]
    groups: list[tuple[list[int], Tensor]]

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU can fetch by itself."""
        self.groups = [(places, tensor.pin_memory()) for places, tensor in self.groups]
        return self


def slots(listing: Listing, shards: Iterable[int], batch_size: int) -> Iterator[Slot]:
    """The batches of these shards; none reaches into another shard."""
    for shard in shards:
        size = listing.size(shard)
        for first in range(0, size, batch_size):
            yield Slot(shard, first, min(first + batch_size, size))


def grouped(tensors: Iterable[Tensor | None]) -> list[tuple[list[int], Tensor]]:
    """Inputs of one shape each, stacked, with their places; None has no place."""
    by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for place, tensor in enumerate(tensors):
        if tensor is not None:
            by_shape.setdefault(tuple(tensor.shape), []).append((place, tensor))
    return [([place for place, _ in own], torch.stack([tensor for _, tensor in own])) for own in by_shape.values()]


@dataclass(frozen=True)
class Decoder(Dataset[Batch]):
    """The batches of a listing, by slot."""

    listing: Listing
    preprocessing: Preprocessing
    fit: Fit

    def __getitem__(self, slot: Slot) -> Batch:
        """Read a batch; a picture that can't be used has an error and no input."""
        read = [self._one(item) for item in self.listing.items(*slot)]
        return Batch(slot, [picture for picture, _ in read], grouped(tensor for _, tensor in read))

    def _one(self, item: Item) -> tuple[Picture, Tensor | None]:
        try:
            photo = item.read()
            tensor, view = self.preprocessing(photo.pixels, self.fit)
        except InputError as error:
            return Picture(item, None, (), None, str(error)), None
        return Picture(item, photo.size, photo.notes, view, None), tensor

    def batches(self, plan: Iterable[Slot], workers: int, pin: bool = False) -> Iterator[Batch]:
        """The batches in order, read ahead by so many processes; by this one where there are none.

        Raises:
            InputError: a process was killed, as happens where memory runs out.
        """
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=plan,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            collate_fn=_as_it_is,  # pyright: ignore[reportArgumentType]: a sample is a batch already
            pin_memory=pin,
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "worker" not in str(error):
                raise
            raise InputError(
                "a process that reads pictures was killed, probably because memory ran out: give fewer --workers"
            ) from error


def _as_it_is(batch: Batch) -> Batch:
    return batch
