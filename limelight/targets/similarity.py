"""Embeddings: what makes a picture alike to another, to a text, to any vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import TargetError
from limelight.nested import describe, main_output
from limelight.targets.asked import Asked, Labels, Named, Question, on_logits_only

NAMES = ("image_embeds", "embeddings", "embedding", "pooler_output")
"""What libraries call an embedding, among other outputs."""


@dataclass(frozen=True, eq=False)
class Similar(Question):
    """Likeness to a vector (see :func:`similar`)."""

    vectors: Tensor = field(repr=False)
    name: str = "alike"

    def check(self, batch: int, labels: Labels) -> None:
        """One vector for all images, or one for each."""
        if self.vectors.ndim == 2 and len(self.vectors) not in (1, batch):
            raise TargetError(
                f"similar(): {len(self.vectors)} vectors for {batch} images: give one, or one for each; for several of "
                "every image write limelight.each(similar(...), similar(...))"
            )

    def part(self, start: int, stop: int, total: int) -> Similar:
        """With the vectors of some of the images, where there is one for each."""
        several = self.vectors.ndim == 2 and len(self.vectors) > 1
        return Similar(self.vectors[start:stop], self.name) if several else self

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The cosine of the angle between them."""
        on_logits_only(self, scale)
        own = embedding_of(outputs)
        wanted = self.vectors.detach().to(own).expand(len(own), -1) if self.vectors.shape[-1] == own.shape[1] else None
        if wanted is None:
            raise TargetError(
                f"similar(): vectors of {self.vectors.shape[-1]} features, and the network's embedding has "
                f"{own.shape[1]}: make them with the same network, with limelight.embed(model, ...)"
            )

        def score(outputs: Any, repeats: int = 1) -> Tensor:
            return F.cosine_similarity(embedding_of(outputs), wanted.repeat(repeats, 1), dim=1)

        return [Asked((Named(None, self.name),) * len(own), score)]


def similar(vectors: Any, name: str = "alike") -> Similar:
    """What makes each picture's embedding alike to a vector: the cosine between them.

    Args:
        vectors: ``(features,)``, or ``(batch, features)`` with one for each image: another picture's embedding or a
            text's, as :func:`limelight.embed` gives it, a class's mean, a direction.
        name: what the maps are called.

    Raises:
        TargetError: they are no such tensor, or zero; and, when the network has run, if it gives no embedding of as
            many features.
    """
    vectors = torch.as_tensor(vectors)
    if vectors.ndim not in (1, 2) or not vectors.numel() or not vectors.is_floating_point():
        raise TargetError(f"similar(): {describe(vectors)} is neither (features,) nor (batch, features)")
    if not vectors.isfinite().all() or not vectors.any(dim=-1).all():
        raise TargetError("similar(): a vector of zeros, or one with NaN, is alike to nothing")
    return Similar(vectors, name)


def embedding_of(outputs: Any) -> Tensor:
    """The embedding ``(batch, features)`` in a network's outputs.

    They are the outputs themselves, what is called so among them, or else the first of them.

    Raises:
        TargetError: there is none.
    """
    for name in NAMES:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return _pooled(found)
    found = main_output(outputs)
    if isinstance(found, Tensor) and found.ndim in (2, 4):
        return _pooled(found)
    raise TargetError(
        f"the outputs are {describe(outputs)}, without an embedding (batch, features): ask with a callable, such as "
        "lambda outputs: torch.cosine_similarity(outputs.last_hidden_state[:, 0], vector)"
    )


def _pooled(found: Tensor) -> Tensor:
    """Some libraries leave the two sides of length one that pooling left."""
    return found.flatten(1) if found.ndim == 2 or found.shape[2:].numel() == 1 else found.mean(dim=(2, 3))
