"""A list of pictures as a file: a line each, found by shard, so that a million take no memory."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from limelight.stores import opened
from limelight.streaming.sources import Item


@dataclass(frozen=True)
class Listing:
    """Pictures in shards; made by :func:`listed`.

    Attributes:
        file: a JSON array a line.
        shard: pictures in each shard but the last.
        count: pictures.
        digest: a short word that another list does not have.
        offsets: where each shard begins in the file, in bytes.
    """

    file: Path
    shard: int
    count: int
    digest: str
    offsets: array[int]

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self.offsets)

    def size(self, shard: int) -> int:
        """How many pictures a shard has."""
        return min(self.shard, self.count - shard * self.shard)

    def items(self, shard: int, first: int, stop: int) -> list[Item]:
        """The pictures ``first`` to ``stop`` of a shard."""
        with opened(self.file) as lines:
            lines.seek(self.offsets[shard])
            return [Item(*json.loads(line)) for line in islice(lines, first, stop)]


def listed(items: Iterable[Item], file: Path, shard: int) -> Listing:
    """Write a list of pictures to a file."""
    digest, offsets, count, length = hashlib.sha256(), array("q"), 0, 0
    with file.open("wb") as lines:
        for count, item in enumerate(items, start=1):
            if (count - 1) % shard == 0:
                offsets.append(length)
            line = json.dumps(item[:2] if item.tar is None else item).encode() + b"\n"
            length += lines.write(line)
            digest.update(line)
    return Listing(file, shard, count, digest.hexdigest()[:16], offsets)
