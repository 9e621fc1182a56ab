"""Several targets' evidence from one captured pass: what can be had for many at once, and what they can share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from limelight.cut import Captured
from limelight.fold import fold, targets_at_once
from limelight.head import Turn
from limelight.methods.evidence import Evidence
from limelight.methods.registry import Method
from limelight.targets import Asked, scores_of_classes, together


class EvidenceForAll:
    """Several targets' evidence: of many at once where a method allows it, otherwise of one after the other.

    Args:
        network: the network the pass was run on.
        captured: the pass.
        asked: the targets.
        last: nothing else will be asked of this pass, so its graph need not be kept.
    """

    MANY = 4
    """From how many targets on they are worth doing at once."""
    AT_ONCE = frozenset({"activations", "gradients", "scores"})
    """What a method may need that can be had for many targets at once."""

    def __init__(self, network: nn.Module, captured: Captured, asked: Sequence[Asked], last: bool = True):
        self._network = network
        self._captured = captured
        self._asked = asked
        self._last = last

    @cached_property
    def one_by_one(self) -> list[Evidence]:
        """Each target's own evidence."""
        count = len(self._asked)
        return [
            Evidence(self._network, self._captured, one, last=self._last and number == count)
            for number, one in enumerate(self._asked, start=1)
        ]

    @property
    def scores(self) -> Tensor:
        """``(batch, targets)``."""
        many = len(self._asked) >= self.MANY
        scores = scores_of_classes(self._asked, self._captured.outputs) if many else None
        if scores is not None:
            return scores
        return torch.stack([one.scores[0].detach() for one in self.one_by_one], dim=1)

    def raw_maps(self, method: Method) -> list[Tensor]:
        """The method's raw maps ``(batch, targets, *grid)`` at each layer; what is raised is as for one target."""
        if len(self._asked) >= self.MANY and self.AT_ONCE.issuperset(method.needs):
            try:
                parts = [self._raw_maps_of(some, method) for some in self._parts()]
                return [torch.cat(layer, dim=1) for layer in zip(*parts, strict=True)]
            except RuntimeError as error:  # batched differentiation does not have every operation
                if isinstance(error, torch.OutOfMemoryError):
                    raise
        columns = [one.raw_maps(method) for one in self._for(method)]
        return [torch.stack(maps, dim=1) for maps in zip(*columns, strict=True)]

    def _for(self, method: Method) -> list[Evidence]:
        """Each target's evidence; where all are asked of the same replays, the first one's run answers the others."""
        if not method.same_replays or len(self._asked) < 2:
            return self.one_by_one
        answers: list[Tensor] = []
        turns = [Turn(self._asked, number, answers) for number in range(len(self._asked))]
        return [
            Evidence(self._network, self._captured, turn.asked[turn.number], last=False, turn=turn) for turn in turns
        ]

    def _parts(self) -> Iterator[Sequence[Asked]]:
        few = targets_at_once(self._captured)
        return (self._asked[start : start + few] for start in range(0, len(self._asked), few))

    def _raw_maps_of(self, asked: Sequence[Asked], method: Method) -> list[Tensor]:
        evidence = Evidence(self._network, fold(self._captured, len(asked)), together(asked))
        return [maps.unflatten(0, (len(asked), -1)).transpose(0, 1) for maps in evidence.raw_maps(method)]
