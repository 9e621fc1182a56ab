"""What one picture and its network say, before any map is looked at: heard once for every map of that question."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from limelight.borrow import borrowed, unwrap
from limelight.cut import Captured, Cut
from limelight.errors import InputError, TargetError
from limelight.grid import default_layer, layout_of
from limelight.head import at_least_single
from limelight.heatmap import rectify, resize
from limelight.judging.marks import centred, kept_and_taken, marked
from limelight.nested import map_leaves
from limelight.targets import Asked, Labels, Target, ask, logits_of, probabilities_of

if TYPE_CHECKING:
    from jaxtyping import Float

SHARES = (0.25, 0.5)
"""How much of the picture a map's first places are taken to be."""
RIVALS = 5
"""How many other classes, the most probable ones, a map is held against."""


@dataclass(frozen=True, eq=False)
class Hearing:
    """A picture, a question, and the evidence that does not depend on any map.

    Attributes:
        network: the network; it is borrowed for each question and given back as it was.
        image: ``(1, channels, height, width)``, its input.
        asked: the question, settled.
        layer: where the network's own evidence was read.
        probability: of the class asked about; NaN where the question is about no class.
        score: how strongly the network says yes, to the picture as it is.
        evidence: ``(rows, columns)``, what speaks for the target, place by place, at ``layer``: gradient times
            activation, the mean of the picture's own and of its mirror image's turned back.
        mirrored: ``(rows, columns)``, the mirror image's alone, as it lies in the mirror.
        rivals: as ``evidence``, for the mean score of the other classes that come first; None where there are none.
        steadiness: correlation of the picture's evidence with its mirror image's, -1 to 1.
        centre: the scores with only the middle half of the picture, and without it.
    """

    network: nn.Module
    image: Tensor = field(repr=False)
    asked: Asked
    layer: str
    probability: float
    score: float
    evidence: Tensor = field(repr=False)
    mirrored: Tensor = field(repr=False)
    rivals: Tensor | None = field(repr=False)
    steadiness: float
    centre: tuple[float, float]

    @classmethod
    def of(
        cls,
        network: nn.Module,
        image: Float[Tensor, "1 channels height width"],
        target: Target = None,
        labels: Labels = None,
        which: int | None = None,
    ) -> Hearing:
        """Hear the network on a picture: two passes for the picture and its mirror image, two for the middle.

        Args:
            network: any network.
            image: one preprocessed picture.
            target: one question, as :func:`limelight.explain` takes it; None for the predicted class.
            labels: the classes' names.
            which: of several targets, the one that is meant.

        Raises:
            InputError: more or less than one picture.
            TargetError: the target does not fit the outputs, or is more than one.
            LayerError: no layer of the network has a grid.
        """
        if image.ndim != 4 or len(image) != 1:
            raise InputError(f"a verdict is about one picture (1, channels, height, width), not {tuple(image.shape)}")
        network = unwrap(network)
        with borrowed(network):
            layer = default_layer(network, image)
            captured = Cut.at(network, layer).capture(torch.cat([image, image.flip(3)]))
            outputs = map_leaves(_first_row, captured.outputs)
            several = ask(target, outputs, labels)
            if which is None and len(several) != 1:
                raise TargetError(f"a verdict is about one target, and {len(several)} were given")
            asked = several[which or 0]
            own, mirrored = _evidence(captured, asked.score, keep=True)
            rivals = _rivals(captured, outputs, asked)
            middle = marked(centred(own), (image.shape[2], image.shape[3]), (0.5,))
            heard = strengths(network, kept_and_taken(image, middle), asked)
        return cls(
            network,
            image,
            asked,
            layer,
            _probability(outputs, asked),
            float(_strength(outputs, asked, 1).detach()[0]),
            rectify(own + mirrored.flip(1)) / 2,
            rectify(mirrored),
            rivals,
            correlation(own, mirrored.flip(1)),
            (float(heard[0]), float(heard[1])),
        )

    def tried(self, cells: Float[Tensor, "rows columns"]) -> tuple[list[float], list[float]]:
        """The scores with only what a map marks, for each of ``SHARES``, and without it: four passes."""
        masks = marked(cells, (self.image.shape[2], self.image.shape[3]), SHARES)
        scores = strengths(self.network, kept_and_taken(self.image, masks), self.asked).tolist()
        return scores[: len(SHARES)], scores[len(SHARES) :]


def strengths(network: nn.Module, images: Tensor, asked: Asked) -> Float[Tensor, "batch"]:
    """How strongly the network says yes to each altered picture."""
    with borrowed(network), torch.no_grad():
        return _strength(network(images), asked, len(images))


def correlation(a: Float[Tensor, "rows columns"], b: Float[Tensor, "height width"]) -> float:
    """Pearson's correlation, on the coarser grid of the two; 0 where one is the same everywhere."""
    if a.numel() > b.numel():
        a, b = b, a
    fits = all(few <= many for few, many in zip(a.shape, b.shape, strict=True))
    b = adaptive_avg_pool2d(b[None], (a.shape[0], a.shape[1]))[0] if fits else resize(b, (a.shape[0], a.shape[1]))
    pair = torch.stack([a.flatten(), b.flatten()]).double()
    pair = pair - pair.mean(dim=1, keepdim=True)
    lengths = pair.norm(dim=1)
    return float(pair.prod(dim=0).sum() / lengths.prod()) if bool((lengths > 1e-12).all()) else 0.0


def agreement(heat: Tensor, hearing: Hearing) -> float:
    """Correlation of a map with the network's own evidence, -1 to 1."""
    return correlation(heat, hearing.evidence)


def _strength(outputs: Any, asked: Asked, repeats: int) -> Tensor:
    """The score; of a class, how far it is above the mean of all classes, which a picture's plainness does not move."""
    logits = logits_of(outputs)
    if asked.classes is None or logits is None or logits.shape[1] == 1:
        return asked.score(outputs, repeats).float()
    chosen = logits.gather(1, asked.classes.repeat(repeats)[:, None])[:, 0]
    return (chosen - logits.mean(dim=1)).float()


def _evidence(captured: Captured, score: Any, keep: bool) -> tuple[Tensor, Tensor]:
    """Gradient times activation, summed over channels, of the picture and of its mirror image."""
    with torch.enable_grad():
        asked = score(captured.outputs, 2)
    (gradients,) = captured.pull_back(asked, keep)
    product = gradients.detach() * captured.activations[0].detach()
    own, mirrored = at_least_single(layout_of(captured, 0).read(product)).sum(dim=1)
    return own, mirrored


def _rivals(captured: Captured, outputs: Any, asked: Asked) -> Tensor | None:
    logits = logits_of(outputs)
    if asked.classes is None or logits is None or logits.shape[1] < 2:
        return None
    others = logits.detach().scatter(1, asked.classes[:, None], -math.inf)
    best = others.topk(min(RIVALS, logits.shape[1] - 1), dim=1).indices[0]

    def score(outputs: Any, repeats: int) -> Tensor:
        scores = logits_of(outputs)
        assert scores is not None, "there were some in the same outputs"
        return scores[:, best].mean(dim=1)

    own, mirrored = _evidence(captured, score, keep=False)
    return rectify(own + mirrored.flip(1)) / 2


def _probability(outputs: Any, asked: Asked) -> float:
    logits = logits_of(outputs)
    if asked.classes is None or logits is None:
        return math.nan
    return float(probabilities_of(logits.detach().float())[0, asked.classes[0]])


def _first_row(leaf: Any) -> Any:
    """An output of the picture alone, of a batch that holds it and its mirror image."""
    return leaf[:1] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == 2 else leaf
