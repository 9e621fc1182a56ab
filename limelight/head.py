"""The network from one layer on, asked one question: altered activations in, scores out.

What perturbation methods, Shapley-type methods and path integrals are made of. Altered activations are made a few at a
time, so that a method can ask about thousands without holding them. The head runs alone where it can be recorded
(:mod:`limelight.alone`), and otherwise as the whole network with the layer's output replaced: slower, same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from limelight.alone import Alone, alone
from limelight.cut import Captured, Cut, slope_of
from limelight.grid import Layout, layout_of
from limelight.targets import Asked
from limelight.telling import tell_progress

T = TypeVar("T")

Alter = Callable[[Tensor], Tensor]
"""``(few,)`` indices -> ``(few, batch, channels, *grid)`` altered activations."""
Keep = Callable[[Tensor], Tensor]
"""``(few,)`` indices -> ``(few, batch, channels)``, true for the channels that stay."""

BUDGET = 64 * 2**20
"""Bytes that a replay may use at once for every six threads of a CPU; more is slower: buffers leave the caches, and
glibc fetches those of 32 MiB from the system anew. Elsewhere: a quarter of what is free."""
GROWTH = 16
"""How much larger than its input a head's largest two intermediate results are taken to be, where it can't be recorded:
ResNet-18's, one being made from the other, are 11 times as large."""
WORTH = 24
"""From how many replays on it pays to record the head: recording takes about as long as so many forward passes."""


@dataclass
class Turn:
    """One of several targets that are asked of the same replays: who runs them first has them answered for all.

    Attributes:
        asked: the targets.
        number: which of them this is.
        answers: what each call answered, ``(targets, count, batch)``; shared by the targets.
        calls: how many calls this target has had answered.
    """

    asked: Sequence[Asked]
    number: int
    answers: list[Tensor]
    calls: int = 0

    def answered(self, run: Callable[[Sequence[Asked]], Tensor]) -> Tensor:
        """This target's answers ``(count, batch)`` to its next call; ``run`` asks all the targets."""
        if self.calls == len(self.answers):
            self.answers.append(run(self.asked))
        self.calls += 1
        return self.answers[self.calls - 1][self.number]


@dataclass(frozen=True)
class Head:
    """A captured pass from layer ``k`` on, and the target it is asked for.

    With the cut at the input, the head is the whole network and the activations are the images. Activations are asked
    about as ``(batch, channels, *grid)``, however the layer lays them out, and tokens that are no cells stay as they
    are; with ``raw`` they are the layer's own tensors, whose first axis counts the images, all tokens among them.
    """

    captured: Captured
    k: int
    asked: Asked
    raw: bool = False
    turn: Turn | None = None

    @property
    def batch(self) -> int:
        """How many images the pass holds."""
        return self.captured.batch

    @property
    def dtype(self) -> torch.dtype:
        """The layer's own precision, which may be half that of the activations that methods are given."""
        return self.captured.activations[self.k].dtype

    @property
    def layout(self) -> Layout:
        """How the layer is laid out."""
        return layout_of(self.captured, self.k)

    def scores(self, alter: Alter, count: int) -> Tensor:
        """The target's score for ``count`` altered versions of every image's activations: ``(count, batch)``."""
        run = self._runner(count, graph=False)
        return self._scores(lambda few: run.outputs(self._written(alter(few))), count, run.row_bytes)

    def _scores(self, outputs: Callable[[Tensor], Any], count: int, row_bytes: int) -> Tensor:
        """The scores ``(count, batch)`` of ``outputs(few)``, for a few at a time."""

        def of(targets: Sequence[Asked]) -> Tensor:
            def ask(few: Tensor) -> Tensor:
                given = outputs(few)
                return torch.stack([one.score(given, len(few)).view(len(few), -1) for one in targets])

            return torch.cat(list(self._few(ask, count, row_bytes)), dim=1)

        with torch.no_grad():
            return of([self.asked])[0] if self.turn is None else self.turn.answered(of)

    def _written(self, altered: Tensor) -> Tensor:
        """Altered activations ``(few, batch, channels, *grid)`` as the layer gives them, ``few * batch`` of them."""
        own = self.captured.activations[self.k]
        given = altered.flatten(0, 1).to(own.dtype)
        written = given if self.raw else self.layout.write(given, own.detach())
        if own.ndim == 4 and not own.is_contiguous() and own.is_contiguous(memory_format=torch.channels_last):
            return written.contiguous(memory_format=torch.channels_last)  # as the network's own are, and as fast
        return written

    def gradients(self, alter: Alter, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For a few altered versions at a time: ``(altered, gradients, scores)``.

        The first two are ``(few, batch, channels, *grid)``, the scores ``(few, batch)``.
        """
        run = self._runner(count, graph=True)

        def pull_back(few: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            altered = alter(few).detach().requires_grad_()
            with torch.inference_mode(False), torch.enable_grad():
                scores = self.asked.score(run.outputs(self._written(altered)), len(few)).view(len(few), -1)
                gradients = slope_of(scores, altered, self.captured.sites[self.k])
            return altered.detach(), gradients, scores.detach()

        return self._few(pull_back, count, run.row_bytes)

    def masked(self, keep: Keep, count: int, instead: Tensor | None = None) -> Tensor:
        """The scores ``(count, batch)`` when only some channels keep their activations.

        The others take those of ``instead`` ``(batch, channels, *grid)``, zeros if None. The operations that treat each
        channel on its own (an activation function, pooling) are then not run again: the channels are mixed after them.
        """
        own = self.layout.read(self.captured.activations[self.k].detach())
        other = torch.zeros_like(own) if instead is None else instead.to(own.dtype)
        run = self._runner(count, graph=False)
        channels, written = 1, self._written
        if isinstance(run, Alone) and self.layout.plain:
            run, own, other, channels = run.after_channels(own, other)
            written = _in_a_row

        def mix(few: Tensor) -> Tensor:
            kept = keep(few)
            kept = kept.view(*kept.shape[:2], *[1] * (channels - 1), -1, *[1] * (own.ndim - 1 - channels))
            return torch.where(kept, own, other)

        return self._scores(lambda few: run.outputs(written(mix(few))), count, run.row_bytes)

    def whole(self, altered: Tensor) -> Any:
        """The outputs when the layer gives ``altered`` ``(batch, channels, *grid)``, from the whole network run anew.

        With a graph to ``altered`` if it requires a gradient; what watches the network's operations sees them.
        """
        with torch.inference_mode(False), torch.enable_grad():
            written = self._written(altered[None])
        return _Whole(self.captured, self.k).outputs(written)

    def in_parts(self, run: Callable[[Tensor], T], count: int) -> Iterator[T]:
        """``run`` on the indices of as many of ``count`` versions at a time as the network can hold."""
        return self._few(run, count, _Whole(self.captured, self.k).row_bytes)

    def _runner(self, count: int, graph: bool) -> Alone | _Whole:
        whole = _Whole(self.captured, self.k)
        at_input = self.captured.sites[self.k].module is None
        if at_input and not graph:  # this head is the network: nothing is gained by recording it
            return whole
        if not self.raw and not self.layout.by_image:  # recordings take the first axis for the images
            return whole
        return alone(self.captured, self.k, graph, count * self.batch >= WORTH) or whole

    def _few(self, run: Callable[[Tensor], T], count: int, row_bytes: int) -> Iterator[T]:
        """``run`` on as many indices at a time as fit the memory; on half as many where they do not."""
        device = self.captured.activations[self.k].device
        few, done = max(1, _budget(device) // (row_bytes * self.batch)), 0
        while done < count:
            indices = torch.arange(done, min(done + few, count), device=device)
            try:
                result = run(indices)
            except RuntimeError as error:
                if len(indices) == 1 or not _out_of_memory(error):
                    raise
                few = len(indices) // 2
                continue
            yield result
            done += len(indices)
            if count > 1:  # a method that asks one by one, step by step, tells its steps itself
                tell_progress(done, count)


@dataclass(frozen=True)
class _Whole:
    """The head of a network that can't be recorded, or need not be: the network runs whole."""

    captured: Captured
    k: int

    @property
    def row_bytes(self) -> int:
        own = self.captured.activations[self.k]
        return own[0].numel() * own.element_size() * GROWTH

    def outputs(self, activations: Tensor) -> Any:
        cut = Cut(self.captured.cut.network, (self.captured.sites[self.k],))
        own = (self.captured.activations[self.k],)
        return replace(self.captured, cut=cut, activations=own, remembered={}).replay(activations)


def _in_a_row(altered: Tensor) -> Tensor:
    """``(few, batch, ...)`` -> ``(few * batch, ...)``."""
    return altered.flatten(0, 1)


def _budget(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return BUDGET * -(-torch.get_num_threads() // 6)


def _out_of_memory(error: RuntimeError) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in said or "not enough memory" in said


def own_activations(captured: Captured, k: int) -> Tensor:
    """Layer ``k``'s activations ``(batch, channels, *grid)``, at least in single precision."""
    return at_least_single(layout_of(captured, k).read(captured.activations[k].detach()))


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision is for the network: sums over a map are made in single precision or better."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
