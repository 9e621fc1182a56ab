"""How stable a sampled estimate is, and stopping when it is stable enough.

The samples are dealt to two halves, each half makes an estimate, and the two are correlated. From that follows how
stable the estimate from all of them is (Spearman-Brown): 1 where other samples would give the same map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.telling import tell_stability

if TYPE_CHECKING:
    from jaxtyping import Float


class Estimate(NamedTuple):
    """What the samples so far give ``(batch, ...)``, and what each half of them gives."""

    whole: Tensor
    halves: tuple[Tensor, Tensor]


def until_stable(estimates: Iterable[Estimate], stable: float | None) -> Tensor:
    """Of each image the first of the growing estimates that is as stable as asked; without asking, the last.

    An image keeps its own estimate, whatever its neighbours in the batch still need. How stable each became is told.
    """
    if stable is not None and not 0 < stable < 1:
        raise MethodError(f"stable={stable}: give a correlation between 0 and 1, such as 0.95")
    kept = stability = settled = None
    for whole, halves in estimates:
        now = stability_of(*halves)
        if kept is None or stability is None or settled is None:
            kept, stability, settled = whole, now, torch.zeros_like(now, dtype=torch.bool)
        kept = torch.where(settled.view(-1, *[1] * (whole.ndim - 1)), kept, whole)
        stability = torch.where(settled, stability, now)
        settled = settled | (now >= (torch.inf if stable is None else stable))
        if settled.all():
            break
    assert kept is not None and stability is not None, "there is at least one estimate"
    tell_stability(stability)
    return kept


def joined(seen: Iterable[Tensor], count: int, kind: str, stable: float | None) -> Tensor:
    """What was seen in ``count`` samples, ``(batch, ...)`` each, joined as ``kind`` says.

    Looked at every ``CHECKED`` samples, if they may be fewer.

    Args:
        seen: one for each sample; no more are asked for than are needed.
        count: how many there are.
        kind: "smoothgrad" (mean), "smoothgrad_sq" (mean square) or "vargrad" (variance).
        stable: how stable is enough; None for all of them.
    """

    def estimates() -> Iterator[Estimate]:
        halves = (Moments(), Moments())
        for number, one in enumerate(seen, start=1):
            halves[number % 2].add(one)
            if number == count or (stable is not None and number % CHECKED == 0):
                even, odd = halves[0] if halves[0].count else halves[1], halves[1]
                yield Estimate(odd.joined(halves[0]).value(kind), (even.value(kind), odd.value(kind)))

    return until_stable(estimates(), stable)


def fitted(
    ask: Callable[[Tensor], Tensor],
    fit: Callable[[Tensor, Tensor], Tensor],
    count: int,
    each: int,
    stable: float | None,
    together: int = 1,
) -> Tensor:
    """What is worked out from the scores of ``count`` samples.

    Args:
        ask: the numbers of some samples ``(few,)`` -> their scores ``(few, batch)``.
        fit: the numbers of some samples, and their scores -> an estimate ``(batch, ...)``.
        count: how many samples there are.
        each: after how many more it is looked whether the estimate is stable.
        stable: how stable is enough; None for all of them.
        together: so many in a row go to the same half, such as a coalition and its complement.
    """

    def estimates() -> Iterator[Estimate]:
        scores: Tensor | None = None
        step = count if stable is None else each
        for start in range(0, count, step):
            more = ask(torch.arange(start, min(start + step, count)))
            scores = more if scores is None else torch.cat([scores, more])
            every = torch.arange(len(scores), device=scores.device)
            second = every // together % 2 == 1
            halves = [every[half] if half.any() else every for half in (~second, second)]
            one, other = (fit(half, scores[half]) for half in halves)
            yield Estimate(fit(every, scores), (one, other))

    return until_stable(estimates(), stable)


def stability_of(one: Float[Tensor, "batch ..."], other: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """How well an estimate from all samples would agree with another such one, from its halves: at most 1."""
    one, other = (half.flatten(1) - half.flatten(1).mean(dim=1, keepdim=True) for half in (one, other))
    sizes = one.norm(dim=1) * other.norm(dim=1)
    together = (one * other).sum(dim=1) / torch.where(sizes > 0, sizes, 1)
    return 2 * together / (1 + together.clamp(min=-0.5))


CHECKED = 8
"""After how many more samples it is looked whether their joined estimate is stable."""


class Moments:
    """Mean and variance of what is added, value by value (Welford 1962): nothing is held, nothing cancels."""

    def __init__(self, count: int = 0, mean: Tensor | float = 0.0, squares: Tensor | float = 0.0):
        self.count = count
        self.mean = mean
        self.squares = squares

    def add(self, seen: Tensor) -> None:
        """One more."""
        self.count += 1
        surprise = seen - self.mean
        self.mean = self.mean + surprise / self.count
        self.squares = self.squares + surprise * (seen - self.mean)

    def joined(self, other: Moments) -> Moments:
        """Those of both (Chan et al. 1979)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + apart * apart * (self.count * other.count / count))

    def value(self, kind: str) -> Tensor:
        """The mean, the mean square or the variance: whichever the kind of noise tunnel is."""
        mean, variance = torch.as_tensor(self.mean), torch.as_tensor(self.squares) / self.count
        return {"smoothgrad": mean, "smoothgrad_sq": variance + mean.square(), "vargrad": variance}[kind]
