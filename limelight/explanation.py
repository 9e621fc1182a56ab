"""What ``explain`` returns: the raw maps, and everything that follows from them, computed when asked."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import heatmap
from limelight.errors import InputError, LayerError
from limelight.images import Photo
from limelight.overlays import Overlays, unique_stems
from limelight.placing import Place, peaks_of_any
from limelight.preprocessing import View
from limelight.targets import Labels, Named, Target
from limelight.targets.asked import Box

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.judging import Verdict


class Prediction(NamedTuple):
    """A class, its label, and its probability in [0, 1]."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    label: str
    probability: float


class Origin(NamedTuple):
    """Where an explanation comes from: what can be asked again.

    Attributes:
        network: the network.
        labels: its classes' names.
        prepare: photographs to its inputs.
    """

    network: nn.Module
    labels: Labels
    prepare: Callable[[Sequence[Photo]], Any]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the network looked, for each image and target.

    Attributes:
        raws: for each layer the raw map ``(batch, targets, *grid)``: signed, unscaled, at the layer's own resolution.
        layers: the layers' names.
        method: the method's name.
        targets: ``targets[i][j]``, what map ``j`` of image ``i`` explains, with ``index`` and ``label``.
        scores: ``(batch, targets)``, the targets' scores (logits unless asked otherwise).
        probabilities: ``(batch, targets)`` in [0, 1]; NaN for a target that is not about a class.
        predictions: ``predictions[i]``, the most probable classes of image ``i``, best first.
        input_size: ``(height, width)`` of the network's input; ``(length,)`` of a signal, ``(depth, height, width)`` of
            a volume or a clip.
        fusion: how the maps of several layers become one.
        photos: the photographs; empty where tensors were given.
        views: where each network input lay on its photograph; empty where tensors were given.
        inputs: the tensors that were given; None where photographs were.
        origin: the network that was explained, for :meth:`verdict`; None after pickling, and where it takes more than
            images.
        questions: what each image's targets were asked as; empty after pickling.
        canvas: the box (x0, y0, x1, y1) of the input, in its pixels, that the maps cover, where the network pads its
            input or crops it; None for the input itself.
        stability: ``(batch, targets)``, of a method that samples and can tell: how well its map would agree with one
            from other samples, as a correlation, 1 at most; None for the other methods.
    """

    raws: tuple[Tensor, ...]
    layers: tuple[str, ...]
    method: str
    targets: list[list[Named]]
    scores: Tensor
    probabilities: Tensor
    predictions: list[list[Prediction]]
    input_size: tuple[int, ...]
    fusion: str = "mean"
    photos: list[Photo] = field(default_factory=list, repr=False)
    views: list[View] = field(default_factory=list, repr=False)
    inputs: Tensor | None = field(default=None, repr=False)
    origin: Origin | None = field(default=None, repr=False)
    questions: list[Target] = field(default_factory=list, repr=False)
    stability: Tensor | None = None
    canvas: Box | None = None

    def __getstate__(self) -> dict[str, Any]:
        """An explanation is kept without the network that it explains."""
        return {**self.__dict__, "origin": None, "questions": []}

    @classmethod
    def join(cls, parts: Sequence[Explanation]) -> Explanation:
        """One explanation of the batches' explanations."""
        if len(parts) == 1:
            return parts[0]
        whole = {f.name: getattr(parts[0], f.name) for f in fields(cls)}
        for name, value in whole.items():
            each = [getattr(one, name) for one in parts]
            if name == "raws":
                whole[name] = tuple(torch.cat(layer) for layer in zip(*each, strict=True))
            elif isinstance(value, Tensor):
                whole[name] = torch.cat(each)
            elif isinstance(value, list):
                whole[name] = [item for items in each for item in items]
        return cls(**whole)

    # ---- as a sequence of one-image explanations

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int | slice) -> Explanation:
        chosen = range(len(self))[i]
        start, stop = (chosen, chosen + 1) if isinstance(chosen, int) else (chosen.start, chosen.stop)
        step = 1 if isinstance(chosen, int) else chosen.step
        if step != 1:
            raise InputError("an explanation is sliced without a step")
        cut = slice(start, stop)
        return replace(
            self,
            raws=tuple(raw[cut] for raw in self.raws),
            **{
                name: getattr(self, name)[cut]
                for name in ("targets", "scores", "probabilities", "predictions", "photos", "views", "questions")
            },
            inputs=None if self.inputs is None else self.inputs[cut],
            stability=None if self.stability is None else self.stability[cut],
        )

    def __iter__(self) -> Iterator[Explanation]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"<Explanation of {len(self)} image{'s' * (len(self) != 1)}, {self.scores.shape[1]} "
            f"target{'s' * (self.scores.shape[1] != 1)} each, by {self.method} at {self.layer}>"
        )

    # ---- maps

    @property
    def layer(self) -> str:
        """The layer's name, or the names of several joined by "+"."""
        return "+".join(self.layers)

    @property
    def raw(self) -> Tensor:
        """The raw map ``(batch, targets, *grid)``, signed and unscaled.

        Raises:
            LayerError: there are several layers, each with a grid of its own: see ``raws``.
        """
        if len(self.raws) != 1:
            raise LayerError(f"there is a raw map for each of {self.layer}: read .raws, in that order")
        return self.raws[0]

    @property
    def maps(self) -> Tensor:
        """``(batch, targets, *input_size)`` in [0, 1] at the resolution of the network's input."""
        return heatmap.shown(self.raws, self.input_size, self.canvas, self.fusion)

    @property
    def peaks(self) -> Tensor:
        """``(batch, targets, 2)``: x, y of each map's maximum, in pixels of the original photograph (of the input,
        where tensors were given). A pixel's centre lies at .5. NaN for a map of zeros. For a signal ``(..., 1)``: its
        sample; for a volume or a clip ``(..., 3)``: x, y and the slice.
        """
        maps = self._at_own_grid()
        if len(self.input_size) != 2:
            return peaks_of_any(maps, self.input_size)
        whole = len(self.raws) > 1  # several layers' maps are fused at the input's size
        peaks = [self._place(i).peaks(image, whole) for i, image in enumerate(maps)]
        return torch.stack(peaks) if peaks else maps.new_zeros((*maps.shape[:2], 2))

    @property
    def warnings(self) -> list[list[str | None]]:
        """``warnings[i][j]``: what is wrong with a map, or None. A map of zeros is told, with what to try."""
        alive = self._alive()
        return [
            [None if lives else self._zero_map(named) for lives, named in zip(row, names, strict=True)]
            for row, names in zip(alive.tolist(), self.targets, strict=True)
        ]

    def _alive(self) -> Tensor:
        """``(batch, targets)``, whether a map shows anything; read off the cells where that tells, as it is quicker."""
        whole = self.canvas in (None, (0.0, 0.0, *map(float, reversed(self.input_size))))
        if self.fusion == "product" or not whole:
            return self._at_own_grid().flatten(2).amax(dim=2) > 0
        return torch.stack([heatmap.rectify(raw).flatten(2).amax(dim=2) > 0 for raw in self.raws]).any(dim=0)

    def _at_own_grid(self) -> Tensor:
        """The shown maps, one layer's without enlarging them: a bilinear surface is highest at a cell's centre."""
        if len(self.raws) == 1:
            return heatmap.rescale(heatmap.rectify(self.raws[0]), len(self.input_size)).float()
        return self.maps.float()

    def _zero_map(self, named: Named) -> str:
        return (
            f"nothing at layer '{self.layer}' speaks for '{named.label}': its {self.method} map is zero everywhere. "
            "Ask what speaks against it with counter(...), ask for another target, or try an earlier layer"
        )

    # ---- belief

    def verdict(self, i: int = 0, target: int = 0) -> Verdict:
        """Whether a map is to be believed: supported, weak or contradicted, and why. Eight forward passes.

        Args:
            i: which image.
            target: which of its targets.

        Raises:
            InputError: the explanation was pickled, which leaves the network behind, or the network takes more than
                pictures.
            LayerError: no layer of the network has a grid.
        """
        from limelight.judging import Hearing, judge

        if self.origin is None:
            raise InputError(
                "a verdict asks the network again, and this explanation was pickled without it, is of a network that "
                "takes more than pictures, or of a detector's boxes; limelight.verdict(model, image, map, target) "
                "takes a network and one picture"
            )
        one = self[i]
        image = self.origin.prepare(one.photos).image if one.inputs is None else one.inputs
        hearing = Hearing.of(self.origin.network, image, one.questions[0], self.origin.labels, which=target)
        return judge(hearing, one._at_own_grid()[0, target])

    # ---- pictures

    def photo(self, i: int = 0) -> Image:
        """The picture that image ``i`` was given as, RGB; a tensor is stretched to its own range."""
        if self.photos:
            return self.photos[i].pil()
        assert self.inputs is not None
        one = self.inputs[i]
        if len(self.input_size) == 2:
            return _picture_of(one)
        return self._drawn(i, torch.zeros(self.input_size))

    def heat(self, i: int = 0, target: int = 0) -> Tensor:
        """The map in [0, 1] at the photograph's own size ``(height, width)``; zero where the network saw nothing.

        For a signal, a volume or a clip at the input's own size.
        """
        if len(self.input_size) != 2:
            return heatmap.shown([raw[i, target] for raw in self.raws], self.input_size, how=self.fusion)
        place = self._place(i)
        width, height = place.size
        return heatmap.shown([raw[i, target] for raw in self.raws], (height, width), place.covered, self.fusion)

    def overlay(self, i: int = 0, target: int = 0, **look: Any) -> Image:
        """The map laid over the original photograph, at the photograph's own size.

        Args:
            i: which image.
            target: which of its targets.
            **look: how it is drawn: ``colormap``, ``alpha``, ``contours``, ``legend``, ``title``
                (see :func:`limelight.render.overlay`).

        A signal is drawn as a trace on its map, a volume or a clip as a montage of slices
        (:mod:`limelight.signals`; :meth:`animation` shows them one after another).
        """
        from limelight import render

        if len(self.input_size) != 2:
            return self._drawn(i, self.heat(i, target), **look)
        heat = self.heat(i, target).float().cpu().numpy()
        place, box = self._place(i), self.targets[i][target].box
        frame = None if box is None else place.on_photo(box)
        return render.overlay(self.photo(i), heat, seen=place.seen, box=frame, **look)

    def animation(self, path: str | Path, i: int = 0, target: int = 0, **look: Any) -> Path:
        """Write a volume or a clip with its map as an animated GIF, slice after slice; return the path.

        Raises:
            InputError: the input has no slices, or the file can't be written.
        """
        from limelight import signals

        if len(self.input_size) != 3 or self.inputs is None:
            raise InputError("an animation goes through the slices of a volume or the frames of a clip")
        volume, heat = self.inputs[i].detach().float().cpu().numpy(), self.heat(i, target).float().cpu().numpy()
        signals.animation(Path(path), volume, heat, **look)
        return Path(path)

    def _drawn(self, i: int, heat: Tensor, **look: Any) -> Image:
        """A signal or a volume with a map of its size."""
        from limelight import signals

        assert self.inputs is not None, "photographs have two dimensions"
        draw = signals.trace if len(self.input_size) == 1 else signals.montage
        return draw(self.inputs[i].detach().float().cpu().numpy(), heat.float().cpu().numpy(), **look)

    def figure(self, i: int = 0, **look: Any) -> Figure:
        """A matplotlib figure: the photograph, and an overlay for each of its targets.

        Raises:
            MissingExtra: matplotlib is not installed.
            InputError: the input is no picture.
        """
        from limelight import render

        if len(self.input_size) != 2:
            raise InputError("a figure shows pictures: for a signal, a volume or a clip use overlay() or animation()")
        targets = range(self.scores.shape[1])
        heats = [self.heat(i, j).float().cpu().numpy() for j in targets]
        return render.figure(self.photo(i), heats, [self.caption(i, j) for j in targets], **look)

    def caption(self, i: int = 0, target: int = 0) -> str:
        """What a map explains, in a line: the label, with its probability where it has one."""
        named, probability = self.targets[i][target], float(self.probabilities[i, target])
        if math.isnan(probability):
            return f"{named.label} (score {float(self.scores[i, target]):.3g})"
        return f"{named.label} {probability:.1%}"

    def save(self, folder: str | Path, **look: Any) -> list[Path]:
        """Write every overlay as PNG and ``explanation.json`` beside them; return the paths, the JSON last.

        Raises:
            InputError: the folder can't be written.
        """
        overlays = Overlays(Path(folder), look)
        overlays.prepare()
        names = [photo.path or Path("image") for photo in self.photos] or [Path("image")] * len(self)
        records = self.records()
        for one, record, stem in zip(self, records, unique_stems(names), strict=True):
            overlays.write(one, record, stem)
        document = overlays.folder / "explanation.json"
        overlays.put(document, json.dumps({"images": records}, indent=2).encode())
        return [Path(target["overlay"]) for record in records for target in record["targets"]] + [document]

    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready dictionary an image: path, size, predictions, targets (with peak and warning), error."""
        peaks, warned = self.peaks.tolist(), self.warnings
        scores, probabilities = self.scores.tolist(), self.probabilities.tolist()
        return [
            {
                "path": str(self.photos[i].path) if self.photos and self.photos[i].path else None,
                "size": list(self._place(i).size),
                "predictions": [prediction._asdict() for prediction in self.predictions[i]],
                "targets": [
                    {
                        "index": named.index,
                        "label": named.label,
                        **(
                            {}
                            if named.box is None
                            else {"box": [round(v, 2) for v in self._place(i).on_photo(named.box)]}
                        ),
                        "score": scores[i][j],
                        "probability": _or_none(probabilities[i][j]),
                        "method": self.method,
                        "layer": self.layer,
                        "peak": None if math.isnan(peaks[i][j][0]) else [round(v, 2) for v in peaks[i][j]],
                        "overlay": None,
                        "warning": warned[i][j],
                        **({} if self.stability is None else {"stability": round(float(self.stability[i, j]), 4)}),
                    }
                    for j, named in enumerate(self.targets[i])
                ],
                "notes": list(self.photos[i].notes) if self.photos else [],
                "error": None,
            }
            for i in range(len(self))
        ]

    def _repr_html_(self) -> str:
        """Overlays with their captions, for a notebook: the first dozen."""
        cells = [(i, j) for i in range(len(self)) for j in range(self.scores.shape[1])]
        figures = "".join(
            "<figure style='margin:4px'><img style='max-width:320px;max-height:320px' "
            f"src='{_data_uri(self.overlay(i, j))}'>"
            f"<figcaption>{html.escape(self.caption(i, j))}</figcaption></figure>"
            for i, j in cells[:12]
        )
        rest = f"<p>and {len(cells) - 12} more</p>" if len(cells) > 12 else ""
        return f"<div style='display:flex;flex-wrap:wrap'>{figures}</div>{rest}<p>{html.escape(repr(self))}</p>"

    def _place(self, i: int) -> Place:
        return Place(self.input_size, self.views[i] if self.views else None, self.canvas)


def _picture_of(tensor: Tensor) -> Image:
    from PIL import Image as pil

    tensor = tensor.detach().float().cpu()
    tensor = tensor.mean(dim=0, keepdim=True) if len(tensor) not in (1, 3) else tensor
    low, high = tensor.amin(), tensor.amax()
    pixels = ((tensor - low) / (high - low).clamp(min=1e-12) * 255).round().byte()
    return pil.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy(), "RGB")


def _data_uri(picture: Image) -> str:
    picture.thumbnail((640, 640))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
