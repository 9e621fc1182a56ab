"""One call of the network, recorded: the operations that depend on a layer's output are the head.

The call runs under fake tensors, at no arithmetic, with the layer's output replaced. Nothing is rewritten and no state
is shared. What the head takes from the trunk by another way (a skip connection) is picked up from a real pass, at the
operation that took it. Two recordings, of two and of three images, tell which numbers are the batch.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from limelight.borrow import borrowed
from limelight.cut import Captured, Site, hooked
from limelight.nested import own_copies, with_first_tensor, with_image
from limelight.traced import Borrowed, Rows, Slot, Step, Traced, Untraceable, Weight


def trace(captured: Captured, k: int, graph: bool) -> Traced:
    """Record the head of a captured pass at its layer ``k``; ``graph``: to be differentiated.

    Raises:
        Untraceable: the network can't be recorded.
    """
    try:
        return _merge(*(_record(captured, k, rows, graph) for rows in (2, 3)))
    except Untraceable:
        raise
    except Exception as error:  # whatever a network does that fake tensors can't: it runs whole instead
        raise Untraceable(f"{type(error).__name__}: {error}") from error


def _record(captured: Captured, k: int, rows: int, graph: bool) -> tuple[_Recorder, list[Any]]:
    network, site = captured.cut.network, captured.sites[k]
    with borrowed(network), captured.precision(), FakeTensorMode(allow_non_fake_inputs=True) as fake:

        def few(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            one = fake.from_tensor(leaf.detach())
            fits = leaf.ndim > 0 and len(leaf) == len(captured.activations[k])
            return torch.cat([one[:1]] * rows) if fits else one  # `cat` keeps the memory format

        start = few(captured.activations[k]).requires_grad_(graph)
        with torch.set_grad_enabled(graph):
            given = start.clone()
        recorder = _Recorder(network, given, graph)
        inputs, options = pytree.tree_map(few, captured.inputs)
        with recorder:
            outputs = run_with(network, site, given, inputs, options)
    return recorder, pytree.tree_leaves(outputs)


def run_with(network: nn.Module, site: Site, given: Tensor, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The network's outputs with ``given`` itself, not a copy, as the layer's output."""
    calls = 0

    def put(module: Any, args: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if site.call not in (None, calls):
            return None
        if given.requires_grad:
            torch.set_grad_enabled(True)
        return with_first_tensor(output, given)

    if site.module is None:
        torch.set_grad_enabled(given.requires_grad or torch.is_grad_enabled())
        inputs, options = with_image((inputs, options), given)
    with hooked(iter([] if site.module is None else [(site.module, put)])):
        return network(*inputs, **options)


class _Made(NamedTuple):
    """An operation as it was seen."""

    number: int
    operation: Any
    leaves: list[Any]
    tree: pytree.TreeSpec
    results: list[Any]

    def tensors(self) -> list[Tensor]:
        """Its results that are tensors."""
        return [each for each in self.results if isinstance(each, Tensor)]


class _Recorder(TorchDispatchMode):
    """Keeps the operations that depend on one tensor."""

    def __init__(self, network: nn.Module, start: Tensor, graph: bool):
        super().__init__()
        self.weights = {
            id(tensor): Weight(weakref.ref(module), name)
            for module in network.modules()
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]
        }
        self.graph = graph
        self.count = 0
        self.steps: list[Step] = []
        self.alive: list[Any] = []  # everything seen, so that no id and no memory address is used twice
        self.slots: dict[int, int] = {}
        self.memory: dict[int, tuple[int, int]] = {}
        self.stored: dict[int, int] = {}  # the memory that the head's values lie in, numbered
        self.trunk: dict[int, list[_Made]] = {}  # memory -> the trunk's operations on it
        self.known: dict[
            int, _Made
        ] = {}  # what follows from the weights alone, and is made anew (a weight's transpose)
        self.changed = False
        self.enter(start)

    def enter(self, tensor: Tensor) -> int:
        """The slot of a value of the head."""
        if id(tensor) not in self.slots:
            self.slots[id(tensor)] = len(self.slots)
            self.alive.append(tensor)
            self.stored.setdefault(_memory(tensor), len(self.stored))
            self.memory[self.slots[id(tensor)]] = self.stored[_memory(tensor)], tensor.untyped_storage().nbytes()
        return self.slots[id(tensor)]

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        if operation.namespace == "prim":  # a fake tensor asked for its device
            return result
        number, self.count = self.count, self.count + 1
        leaves, tree = pytree.tree_flatten((args, kwargs))
        results = pytree.tree_leaves(result)
        self.alive.append((leaves, results))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not any(_memory(leaf) in self.stored for leaf in tensors):
            self.watch(_Made(number, operation, leaves, tree, results), [*_changed(operation, args, kwargs)], tensors)
            return result
        for each in _changed(operation, args, kwargs):
            self.changed |= _memory(each) == _memory(self.alive[0])
            if _memory(each) not in self.stored:
                self.take_over(each)
        self.keep(number, operation, leaves, tree, results)
        return result

    def watch(self, made: _Made, changed: list[Tensor], tensors: list[Tensor]) -> None:
        """Note an operation of the trunk, in case the head turns out to need it."""
        for memory in {_memory(each) for each in [*made.tensors(), *changed]}:
            self.trunk.setdefault(memory, []).append(made)
        if changed:
            spoilt = {_memory(each) for each in changed}
            self.known = {key: one for key, one in self.known.items() if not spoilt & set(map(_memory, one.tensors()))}
        elif torch.Tag.nondeterministic_seeded not in made.operation.tags and all(
            id(each) in self.weights or id(each) in self.known for each in tensors
        ):
            self.known |= {id(each): made for each in made.tensors()}

    def take_over(self, tensor: Tensor) -> None:
        """The head writes into memory of the trunk: what made that memory is done by the head, anew each time."""
        history = self.trunk.get(_memory(tensor), [])
        if not history or _memory(tensor) not in map(_memory, history[0].tensors()):
            raise Untraceable("the head writes into a tensor that outlives the call")
        for made in history:
            self.keep(*made)

    def keep(self, number: int, operation: Any, leaves: list[Any], tree: Any, results: list[Any]) -> None:
        if self.graph and not torch.is_grad_enabled():
            raise Untraceable("a part of the head hides from autograd")
        templates = tuple(self.template(number, place, leaf) for place, leaf in enumerate(leaves))
        slots = tuple(self.enter(result) if isinstance(result, Tensor) else None for result in results)
        self.steps.append(Step(operation, templates, tree, slots))

    def template(self, number: int, place: int, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in self.slots:
            return Slot(self.slots[id(leaf)])
        if id(leaf) in self.weights:
            return self.weights[id(leaf)]
        if id(leaf) in self.known:
            self.keep(*self.known[id(leaf)])
            return Slot(self.slots[id(leaf)])
        if _memory(leaf) in self.stored:
            raise Untraceable("a view made by the trunk looks at memory of the head")
        return Borrowed(number, place, tuple(leaf.shape))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _changed(operation: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    if not operation._schema.is_mutable:
        return
    for place, parameter in enumerate(operation._schema.arguments):
        if parameter.alias_info is not None and parameter.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(parameter.name)
            yield from (each for each in pytree.tree_leaves(given) if isinstance(each, Tensor))


def _merge(two: tuple[_Recorder, list[Any]], three: tuple[_Recorder, list[Any]]) -> Traced:
    """One head from recordings of two and of three images."""
    (a, outputs), (b, _) = two, three
    if len(a.steps) != len(b.steps):
        raise Untraceable("the network does something else for another number of images")
    for leaf in outputs:
        if not isinstance(leaf, Tensor | int | float | str | None):
            raise Untraceable(f"the outputs hide in a {type(leaf).__name__}")
    return Traced(
        steps=tuple(_merged_step(one, other) for one, other in zip(a.steps, b.steps, strict=True)),
        outputs=tuple(Slot(a.slots[id(leaf)]) if id(leaf) in a.slots else None for leaf in outputs),
        changed=a.changed,
        memory={slot: (place, b.memory[slot][1] - size) for slot, (place, size) in a.memory.items()},
    )


def _merged_step(a: Step, b: Step) -> Step:
    if a.operation is not b.operation or a.results != b.results or a.tree != b.tree:
        raise Untraceable("the network does something else for another number of images")
    return a._replace(leaves=tuple(_merged(one, other) for one, other in zip(a.leaves, b.leaves, strict=True)))


def _merged(two: Any, three: Any) -> Any:
    """A leaf of both recordings: where they differ, it is a whole number that follows the batch."""
    if isinstance(two, Borrowed) and isinstance(three, Borrowed) and two[:2] == three[:2]:
        return two._replace(shape=tuple(_merged(one, other) for one, other in zip(two.shape, three.shape, strict=True)))
    if type(two) is type(three) and two == three:
        return two
    if type(two) is int and type(three) is int:
        return Rows(three - two, two - 2 * (three - two))
    raise Untraceable(f"{two!r} for two images is {three!r} for three")


# ---- what the head needs from the trunk


class _Enough(BaseException):
    """Everything was picked up."""


class _Picker(TorchDispatchMode):
    """Keeps the arguments of a real pass that the head borrows."""

    def __init__(self, wanted: Sequence[Borrowed]):
        super().__init__()
        self.wanted: dict[int, list[int]] = {}
        for one in wanted:
            self.wanted.setdefault(one.operation, []).append(one.leaf)
        self.last = max(self.wanted)
        self.found: dict[Any, Tensor] = {}
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number, self.count = self.count, self.count + 1
        if number in self.wanted:
            leaves = pytree.tree_leaves((args, kwargs or {}))
            self.found |= {(number, place): leaves[place].detach().clone() for place in self.wanted[number]}
        if number == self.last:
            raise _Enough
        return operation(*args, **(kwargs or {}))


def pick_up(captured: Captured, k: int, wanted: Sequence[Borrowed], graph: bool) -> dict[Any, Tensor]:
    """The real values that the head borrows from the trunk, from one pass that stops at the last of them."""
    if not wanted:
        return {}
    inputs, options = own_copies(captured.inputs)
    start = captured.activations[k].detach().requires_grad_(graph)  # as it was recorded: the operations depend on it
    with torch.inference_mode(False), torch.set_grad_enabled(graph):
        given = start.clone()
    with borrowed(captured.cut.network), captured.precision(), _Picker(wanted) as picker, suppress(_Enough):
        run_with(captured.cut.network, captured.sites[k], given, inputs, options)
    return picker.found
