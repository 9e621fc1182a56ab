"""The scores while pixels are taken away in a map's order: what most of the faithfulness metrics are read off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.perturb import ranks
from limelight.evaluation.scene import Scene

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(eq=False)
class Removal:
    """The scores when a part of the pixels is taken away in a map's order, each part asked about once.

    Args:
        scene: pictures, network and question.
        maps: ``(batch, height, width)``, which say what goes first.
    """

    scene: Scene
    maps: Tensor
    _ranks: dict[int, Tensor] = field(default_factory=dict)
    _scores: dict[tuple[str, int, bool], dict[int, Tensor]] = field(default_factory=dict)

    def __call__(
        self, shares: Sequence[float], baseline: str = "blur", region: int = 1, least: bool = False
    ) -> Float[Tensor, "shares batch"]:
        """The scores with these shares of the pixels (or of the squares of ``region`` pixels) gone, 0 to 1.

        Args:
            shares: how much goes, each rounded to whole pixels.
            baseline: what takes their place, one of :data:`limelight.evaluation.perturb.BASELINES`.
            region: side of the squares that go at once.
            least: what the map marks least goes first.
        """
        ranked = self._ranked(region)
        total = int(ranked.max()) + 1
        counts = [round(share * total) for share in shares]
        known = self._scores.setdefault((baseline, region, least), {0: self.scene.scores})
        if total in counts:
            known[total] = self.scene.without(baseline)
        if missing := sorted(set(counts) - set(known)):
            fill, gone = self.scene.fill(baseline), torch.tensor(missing, device=ranked.device).view(-1, 1, 1, 1)
            last = total - gone

            def without(few: Tensor) -> Tensor:
                return fill(ranked >= last[few] if least else ranked < gone[few])

            known.update(zip(missing, self.scene.ask(without, len(missing)), strict=True))
        return torch.stack([known[count] for count in counts])

    def _ranked(self, region: int) -> Tensor:
        if region not in self._ranks:
            self._ranks[region] = ranks(self.maps, self.scene.size, region)
        return self._ranks[region]
