"""``stream``: any iterable of pictures in, their explanations out, one by one, while later pictures are being read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limelight import images
from limelight.cut import LayerSpec
from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.images import Photo
from limelight.methods.registry import Method, get
from limelight.models import Model, load
from limelight.preprocessing import Fit, Preprocessing, View
from limelight.streaming.explaining import Answering, Eager, Engine, Explain
from limelight.streaming.sources import LABELS, Item, items
from limelight.targets import Target, check

WINDOW = 4
"""Batches of pictures that are looked through for those of one shape, and at most held at once."""
PICTURES = ("image", "img", "pixel_values", "picture", "jpg", "jpeg", "png", "webp", "file", "path", "__path__")
NAMES = ("__key__", "file_name", "filename", "path", "id", "__path__")
TRUE = (*LABELS, "labels", "cls", "target", "fine_label")


@dataclass(frozen=True)
class Streamed:
    """One picture of a stream.

    Attributes:
        number: its place, from 0.
        name: its path, or what its source calls it; None where it has no name.
        label: its true class, as its source gives it; None where it doesn't.
        explanation: of this one picture; None where it can't be used.
        error: why it can't be used.
    """

    number: int
    name: str | None
    label: Any
    explanation: Explanation | None
    error: str | None = None

    def __repr__(self) -> str:
        said = self.error or repr(self.explanation)
        return f"<{self.number}: {self.name or 'image'}, {said}>"


class Entry(NamedTuple):
    """A picture as it came: anything that can be read, or a float tensor ``(channels, height, width)``."""

    image: Any
    label: Any = None
    name: str | None = None


class Prepared(NamedTuple):
    """A picture as the network takes it, or why there is none."""

    entry: Entry
    tensor: Tensor | None = None
    photo: Photo | None = None
    view: View | None = None
    error: str | None = None


def stream(
    model: Model | nn.Module,
    source: Any,
    target: Target = None,
    method: str | Method = "gradcam",
    layer: LayerSpec | None = None,
    *,
    fit: Fit = "crop",
    batch_size: int = 16,
    workers: int | None = None,
    engine: Engine | None = None,
) -> Iterator[Streamed]:
    """Explain pictures one after another, however many; yield each as its batch is done, in their order.

    A picture that can't be used is yielded with its error, and the others go on. Only a few batches are in memory.

    Args:
        model: what :func:`limelight.load` gives, or a network, which takes tensors only.
        source: a folder, a list or a tar (see ``limelight explain``); or anything to iterate over that gives paths, PIL
            images, uint8 arrays, encoded bytes, float tensors ``(channels, height, width)`` or batches of them; alone,
            as ``(image, label)``, or as a dictionary: a ``DataLoader``, a ``Dataset``, the rows of a Hugging Face data
            set, the samples of a webdataset.
        target: as for :func:`limelight.explain`, one that any picture can be asked.
        method: as for :func:`limelight.explain`.
        layer: as for :func:`limelight.explain`.
        fit: how a photograph becomes the network's input.
        batch_size: how many pictures run at once.
        workers: threads that read pictures ahead; None for as many as there are processors, at most 8.
        engine: what answers in place of the network, such as :func:`limelight.engine` gives; what it asks was settled
            when it was made, and ``target``, ``method`` and ``layer`` do nothing then.

    Raises:
        InputError: the source is none, or what it gives is no picture and no tensor.
        LimelightError: what is no one picture's fault: the target, the layer, the method.
    """
    model = load(model)
    check(target, 1, model.labels)
    explain = Answering.of(engine, model.labels) if engine else Eager(model, [get(method)], target, layer)
    own = partial(_prepared, preprocessing=model.preprocessing, fit=fit)
    workers = min(os.cpu_count() or 1, 8) if workers is None else max(workers, 1)
    return _streamed(_entries(source), own, explain, batch_size, workers)


@dataclass(eq=False)
class _Waiting:
    """A picture that was read, and perhaps explained."""

    one: Prepared
    explanation: Explanation | None = None

    @property
    def done(self) -> bool:
        return self.one.tensor is None or self.explanation is not None


def _streamed(
    entries: Iterator[Entry], prepare: Callable[[Entry], Prepared], explain: Explain, batch_size: int, workers: int
) -> Iterator[Streamed]:
    """A batch runs as soon as there are enough pictures of a shape, or too many of other shapes wait for theirs."""
    window: deque[_Waiting] = deque()
    by_shape: dict[tuple[int, ...], list[_Waiting]] = {}

    def run(those: list[_Waiting]) -> None:
        (explanation,) = explain(torch.stack([each.one.tensor for each in those if each.one.tensor is not None]))
        for i, each in enumerate(those):
            each.explanation = _own(explanation[i], each.one)
        those.clear()

    numbers = count()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="limelight-read")
    try:
        for one in chain(_ahead(pool, prepare, entries, WINDOW * batch_size), [None]):
            if one is not None:
                window.append(_Waiting(one))
                if one.tensor is not None:
                    alike = by_shape.setdefault(tuple(one.tensor.shape), [])
                    alike.append(window[-1])
                    if len(alike) == batch_size:
                        run(alike)
            if one is None or len(window) == WINDOW * batch_size:
                for those in filter(None, by_shape.values()):
                    run(those)
            while window and window[0].done:
                done = window.popleft()
                yield Streamed(
                    next(numbers), done.one.entry.name, done.one.entry.label, done.explanation, done.one.error
                )
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, prepare: Callable[[Entry], Prepared], entries: Iterator[Entry], most: int
) -> Iterator[Prepared]:
    """Each entry prepared, in order, with at most so many begun before they are asked for."""
    waiting: deque[Future[Prepared]] = deque(pool.submit(prepare, entry) for entry in islice(entries, most))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(prepare, entry) for entry in islice(entries, 1))


def _own(explanation: Explanation, one: Prepared) -> Explanation:
    if one.photo is None or one.view is None:
        return explanation
    one.photo.release()
    return replace(explanation, photos=[one.photo], views=[one.view], inputs=None)


def _prepared(entry: Entry, preprocessing: Preprocessing | None, fit: Fit) -> Prepared:
    image = entry.image
    if isinstance(image, Tensor) and image.is_floating_point():
        return Prepared(entry, image)
    if preprocessing is None:
        raise InputError(
            "this network comes without preprocessing, so it takes float tensors (channels, height, width); for "
            "photographs give limelight.load(network, preprocessing=limelight.Preprocessing(...))"
        )
    try:
        photo = _photo(image, entry.name)
        tensor, view = preprocessing(photo.pixels, fit)
    except InputError as error:
        return Prepared(entry, error=str(error))
    return Prepared(entry, tensor, photo, view)


def _photo(image: Any, name: str | None) -> Photo:
    if isinstance(image, Photo):
        return image
    if isinstance(image, Item):
        return image.read()
    if isinstance(image, Mapping):  # a picture of a Hugging Face data set that is not decoded
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return images.decoded(image, name or "the picture")
    return images.read(image)


def _entries(source: Any) -> Iterator[Entry]:
    """The pictures of a source, with the labels and names that come with them."""
    if isinstance(source, str | Path):
        return (Entry(item, item.label, item.path) for item in items([source]))
    if isinstance(source, Image.Image | Photo | Mapping) or not isinstance(source, Iterable):
        raise InputError(
            f"{type(source).__name__} is nothing to stream: give a folder, a list, a tar, or an iterable of pictures"
        )
    return (entry for element in source for entry in _of_element(element))


def _of_element(element: Any) -> Iterator[Entry]:
    """What one step of an iteration gives: a picture, or a batch of them."""
    image, label, name = element, None, None
    if isinstance(element, Mapping):
        image = next((element[key] for key in PICTURES if element.get(key) is not None), None)
        label = next((element[key] for key in TRUE if element.get(key) is not None), None)
        name = next((element[key] for key in NAMES if isinstance(element.get(key), str)), None)
        if image is None:
            raise InputError(f"a row with {', '.join(map(str, element))} has no picture: call it {PICTURES[0]}")
    elif isinstance(element, list | tuple) and not isinstance(element, Item):
        if len(element) not in (1, 2):
            raise InputError(f"an element of {len(element)} parts is no picture: give image, or (image, label)")
        image, label = (*element, None)[:2]
    if isinstance(image, Tensor | np.ndarray) and image.ndim == 4:
        labels = [None] * len(image) if label is None else _listed(label)
        for one, own in zip(image, labels, strict=True):
            yield Entry(_tensor(one), own, name)
        return
    if name is None and isinstance(image, str | Path | Photo):
        name = str(image.path or "image") if isinstance(image, Photo) else str(image)
    yield Entry(_tensor(image), _plain(label), name)


def _tensor(image: Any) -> Any:
    """A float array as a tensor; whatever else it is."""
    if isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating):
        image = torch.from_numpy(np.ascontiguousarray(image))
    if isinstance(image, Tensor) and image.is_floating_point() and image.ndim != 3:
        raise InputError(f"a float tensor of shape {tuple(image.shape)} is no picture: give (channels, height, width)")
    return image


def _listed(label: Any) -> list[Any]:
    return label.tolist() if hasattr(label, "tolist") else list(label)


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") and getattr(label, "size", 1) == 1 else label
