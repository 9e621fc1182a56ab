"""What a study looks at: pictures with what the network said of each, and its maps of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limelight import heatmap
from limelight.errors import InputError, MethodError, ZeroMapWarning
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.models import Model
from limelight.progress import tracked
from limelight.targets import contrast, counter, each

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.training.folder import Picture

PREDICTED, LABEL, CONTRAST, COUNTER = range(4)
"""The maps of each picture: for what was predicted, for the true class, for the first rather than its rival, and
against what was predicted."""
CELLS = 56
"""Cells along a side of the grid on which shares of a map are measured."""
BATCH = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures with their true classes and what the network said.

    Attributes:
        pictures: the files, with their masks where there are such.
        names: what each is called, for the reader.
        classes: the classes' names.
        probabilities: ``(pictures, classes)``.
    """

    pictures: Sequence[Picture]
    names: Sequence[str]
    classes: Sequence[str]
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, numbers: Sequence[int]) -> Sample:
        """Some of them."""
        return Sample(
            [self.pictures[i] for i in numbers],
            [self.names[i] for i in numbers],
            self.classes,
            self.probabilities[list(numbers)],
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """``(pictures,)`` The true classes."""
        return np.array([picture.label for picture in self.pictures], dtype=int)

    @cached_property
    def predicted(self) -> np.ndarray:
        """``(pictures,)`` What the network said."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """``(pictures,)`` Whether that was so."""
        return self.predicted == self.labels

    @cached_property
    def rivals(self) -> np.ndarray:
        """``(pictures,)`` What the prediction is set against: the true class where it was wrong, else the runner-up."""
        second = np.argsort(self.probabilities, axis=1, kind="stable")[:, -2]
        second = np.where(second == self.predicted, self.probabilities.argsort(axis=1, kind="stable")[:, -1], second)
        return np.where(self.right, second, self.labels)

    @cached_property
    def confidence(self) -> np.ndarray:
        """``(pictures,)`` The probability of what it said."""
        return self.probabilities.max(axis=1)


@dataclass(frozen=True, eq=False)
class Looks:
    """A sample with its maps.

    Attributes:
        sample: the pictures.
        explanation: four maps of each, in the order of the constants above.
        on_object: ``(pictures, CELLS, CELLS)`` in [0, 1], how much of a cell the object fills; NaN where no mask is.
    """

    sample: Sample
    explanation: Explanation
    on_object: np.ndarray | None = None

    def maps(self, target: int = PREDICTED) -> Float[Tensor, "pictures cells cells"]:
        """Each picture's map in [0, 1], on a grid of ``CELLS``."""
        return heatmap.shown(
            [raw[:, target].float().cpu() for raw in self.explanation.raws],
            (CELLS, CELLS),
            how=self.explanation.fusion,
        )

    @cached_property
    def has_mask(self) -> np.ndarray:
        """``(pictures,)`` Whether it is known where the object is."""
        if self.on_object is None:
            return np.zeros(len(self.sample), dtype=bool)
        return np.array([not np.isnan(cells).any() for cells in self.on_object], dtype=bool)


def look(model: Model, sample: Sample, shown: bool = False) -> Looks:
    """Explain each picture four ways, in one forward pass.

    Raises:
        LimelightError: a picture can't be read any more, or the network can't be explained.
    """
    targets = [
        each(int(said), int(label), contrast(int(said), int(rival)), counter(int(said)))
        for said, label, rival in zip(sample.predicted, sample.labels, sample.rivals, strict=True)
    ]
    parts = []
    starts = range(0, len(sample), BATCH)
    for start in tracked(starts, "looking", len(starts), shown):
        batch = slice(start, start + BATCH)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)  # a map of zeros is a finding here, and is told as one
            paths = [picture.path for picture in sample.pictures[batch]]
            parts.append(explain(model, paths, targets[batch], batch_size=BATCH, progress=False))
        for photo in parts[-1].photos:
            photo.release()
    explanation = Explanation.join(parts)
    return Looks(sample, explanation, _on_object(sample, explanation))


def guided(model: Model, looks: Looks, numbers: Sequence[int]) -> Explanation | None:
    """Guided Grad-CAM of what was predicted for some of the pictures; None where this network can't be asked it."""
    if not numbers:
        return None
    said = [int(looks.sample.predicted[i]) for i in numbers]
    paths = [looks.sample.pictures[i].path for i in numbers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroMapWarning)
        try:
            return explain(model, paths, said, "guidedgradcam", progress=False)
        except MethodError:
            return None


def share(maps: Float[Tensor, "pictures cells cells"], region: np.ndarray) -> np.ndarray:
    """``(pictures,)`` The part of each map that falls into a region, in [0, 1]; NaN for a map of zeros.

    ``region`` is ``(cells, cells)`` or ``(pictures, cells, cells)``: how much of each cell belongs to it, in [0, 1].
    """
    heat = maps.double().numpy()
    total = heat.sum(axis=(1, 2))
    inside = (heat * region).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(heat), np.nan), where=total > 0)


def _on_object(sample: Sample, explanation: Explanation) -> np.ndarray | None:
    if not any(picture.mask for picture in sample.pictures):
        return None
    filled = np.full((len(sample), CELLS, CELLS), np.nan)
    for i, (picture, view) in enumerate(zip(sample.pictures, explanation.views, strict=True)):
        if picture.mask is not None:
            filled[i] = _filled(picture, view.photo_size, view.box)
    return filled


def _filled(picture: Picture, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """How much of each cell the mask fills, as far as the network saw the picture."""
    assert picture.mask is not None
    try:
        with Image.open(picture.mask) as file:
            values = np.asarray(file)
    except OSError as error:
        raise InputError(f"the mask {picture.mask} can't be read: {error}") from None
    there = values.any(axis=2) if values.ndim == 3 else values > 0
    mask = Image.fromarray(there.astype(np.uint8) * 255)
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    left, top, right, bottom = (round(edge) for edge in box)
    seen = mask.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return np.asarray(seen.resize((CELLS, CELLS), Image.Resampling.BOX), dtype=float) / 255


def pixels_of(model: Model, sample: Sample) -> Tensor:
    """``(pictures, channels, height, width)`` in [0, 1]: what the network is shown, before it is normalised."""
    from limelight.images import read

    assert model.preprocessing is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.preprocessing.mean, model.preprocessing.std))
    inputs = [model.preprocessing(read(picture.path).pixels)[0] for picture in sample.pictures]
    return (torch.stack(inputs) * std + mean).clamp(0, 1)
