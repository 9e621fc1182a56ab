"""The cut: a network is a trunk (images to activations) and a head (activations to outputs).

Nothing about the network is rewritten. A forward hook on the layer starts the graph there, so the trunk runs without
autograd and a gradient costs the head alone. No state outlives a call.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.errors import LayerError, closest
from limelight.nested import (
    batch_of,
    describe,
    first_tensor,
    image_of,
    own_copies,
    repeated,
    with_first_tensor,
    with_image,
)

INPUT = "input"
"""The name of the cut before the first layer: the trunk is the identity, the activations are the image."""

AUTO = "auto"
"""As a layer: those whose maps are worth most for the images at hand."""

T = TypeVar("T")
LayerSpec = str | nn.Module | Sequence["str | nn.Module"]


@dataclass(frozen=True)
class Site:
    """A place to cut: a module, and which of its calls in one pass (counted from 1; None for the last).

    ``layout`` says how its output is laid out, where the caller told it (see :mod:`limelight.grid.layout`).
    """

    name: str
    module: nn.Module | None = field(repr=False)
    call: int | None = None
    layout: str | None = None

    def __str__(self) -> str:
        return self.name if self.call is None else f"{self.name}@{self.call}"


def resolve(network: nn.Module, layer: LayerSpec) -> tuple[Site, ...]:
    """Find the layers meant by a name, a glob, a module, or a sequence of those.

    Names are those of ``named_modules``; ``*`` and ``?`` stay within one part of a dotted name and ``**`` crosses parts
    (``"blocks.*"``); ``"layer1.0.relu@2"`` is the second call of a module used more than once; ``"input"`` cuts before
    the first layer.

    Raises:
        LayerError: nothing in the network has that name, or the module is not part of it.
    """
    if not isinstance(layer, str | nn.Module):
        if not isinstance(layer, Sequence) or not layer:
            raise LayerError(f"{layer!r} is no layer: give a name, a glob, a module, or a list of those")
        return tuple(site for each in layer for site in resolve(network, each))
    network = unwrap(network)
    if isinstance(layer, nn.Module):
        layer = unwrap(layer)
        for name, module in network.named_modules():
            if module is layer and name:
                return (Site(name, module),)
        raise LayerError(f"the {type(layer).__name__} given as layer is not a part of this {type(network).__name__}")
    name, call = _split_call(layer)
    for spelling in (name, re.sub(r"^(?:(?:module|_orig_mod)\.)+", "", name)):  # as a wrapper's named_modules spells it
        if module := module_at(network, spelling):
            return (Site(spelling, module, call),)
    if name == INPUT:
        return (Site(INPUT, None),)
    modules = {known: module for known, module in network.named_modules(remove_duplicate=False) if known}
    if any(mark in name for mark in "*?"):
        pattern = _glob(name)
        if sites := tuple(Site(known, module, call) for known, module in modules.items() if pattern.fullmatch(known)):
            return sites
    raise LayerError(
        f"no layer {layer!r} in this {type(network).__name__}.{closest(name, modules)} `limelight layers` lists them"
    )


def module_at(network: nn.Module, name: str) -> nn.Module | None:
    """The submodule with that dotted name, or None. Quicker than listing them all."""
    try:
        return network.get_submodule(name) if name else None
    except AttributeError:
        return None


def _split_call(layer: str) -> tuple[str, int | None]:
    name, at, call = layer.partition("@")
    if not at:
        return name, None
    if not call.isdecimal() or int(call) < 1:
        raise LayerError(f"{layer!r}: after '@' comes which call of the layer is meant, counted from 1")
    return name, int(call)


def _glob(pattern: str) -> re.Pattern[str]:
    parts = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(parts.get(token, re.escape(token)) for token in re.split(r"(\*\*|\*|\?)", pattern)))


@dataclass(frozen=True)
class Cut:
    """A network cut at one or several layers.

    Args:
        network: any ``nn.Module``; wrappers of ``torch.compile`` and ``DataParallel`` are looked through.
        sites: where to cut, from :func:`resolve`.
        any_of: the sites stand side by side, as the levels of a feature pyramid do: a score need depend on one of them
            only, the gradient is zero at the others, and it goes no further back from one to another.
    """

    network: nn.Module
    sites: tuple[Site, ...]
    any_of: bool = False

    @classmethod
    def at(cls, network: nn.Module, layer: LayerSpec) -> Cut:
        """Cut ``network`` at the layers that ``layer`` names (see :func:`resolve`)."""
        return cls(unwrap(network), resolve(network, layer))

    def capture(self, *inputs: Any, **options: Any) -> Captured:
        """Run the network once on ``inputs``; keep each layer's output and the graph from there to the outputs.

        Raises:
            LayerError: a layer was never reached, was called less often than asked, or gives no floating tensor.
        """
        with borrowed(self.network):
            return _with_a_graph(lambda: self._run(inputs, options))

    def _run(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Captured:
        taps = [_Tap(site, self.any_of) for site in self.sites]
        given, named = own_copies((inputs, options))
        if any(site.module is None for site in self.sites):
            given, named = _start_at_input(taps, given, named)
        with hooked((tap.site.module, tap.keep) for tap in taps if tap.site.module is not None):
            outputs = self.network(*given, **named)
        activations = tuple(tap.taken() for tap in taps)
        device = activations[0].device.type
        return Captured(
            cut=replace(self, sites=tuple(tap.happened() for tap in taps)),
            inputs=(inputs, options),
            activations=activations,
            outputs=outputs,
            calls=tuple(tap.calls for tap in taps),
            autocast=torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None,
        )

    def replay(self, activations: Sequence[Tensor], *inputs: Any, **options: Any) -> Any:
        """The outputs when each layer gives the activations given here instead of its own.

        The network runs whole, so this costs a forward pass. Where activations require a gradient, the outputs have a
        graph to them.
        """
        swaps = [_Swap(site, tensor) for site, tensor in zip(self.sites, activations, strict=True)]
        wanted = any(tensor.requires_grad for tensor in activations)

        def run() -> Any:
            given, named = own_copies((inputs, options))
            for swap in swaps:
                swap.calls = 0
                if swap.site.module is None:
                    given, named = with_image((given, named), swap.started())
            with hooked((s.site.module, s.put) for s in swaps if s.site.module is not None):
                return self.network(*given, **named)

        with borrowed(self.network):
            return _with_a_graph(run) if wanted else run()


@dataclass(frozen=True)
class Captured:
    """One forward pass, cut.

    Attributes:
        cut: the network and where it was cut; of a module that ran more than once, which call it was.
        inputs: what it was run on, positional and by keyword.
        activations: each layer's output, in the layer's own layout.
        outputs: what the network returned, with a graph back to ``activations`` and no further.
        calls: how often each layer ran in the pass.
        autocast: the precision that the caller's autocast asked for, or None.
        remembered: what was worked out from this pass and holds as long as it does.
    """

    cut: Cut
    inputs: tuple[tuple[Any, ...], dict[str, Any]] = field(repr=False)
    activations: tuple[Tensor, ...]
    outputs: Any
    calls: tuple[int, ...]
    autocast: torch.dtype | None = None
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the network was cut."""
        return self.cut.sites

    @property
    def batch(self) -> int:
        """How many images the pass holds."""
        return batch_of(self.inputs) or self.activations[0].shape[0]

    def pull_back(self, scores: Tensor, keep: bool = False, again: bool = False) -> tuple[Tensor, ...]:
        """The gradient of ``scores.sum()`` with respect to each layer's activations, through the head alone.

        In evaluation mode an image's score depends on its own activations only, so the sum over the batch gives each
        image its own gradient. No parameter's gradient is computed or written.

        Args:
            scores: any tensor computed, under ``torch.enable_grad()``, from ``outputs``.
            keep: keep the graph for another pull-back.
            again: give the gradients a graph of their own, to be pulled back once more.

        Raises:
            LayerError: the scores do not depend on a layer.
        """
        if not scores.requires_grad:
            return self.reached([None] * len(self.sites))
        try:
            with borrowed(self.cut.network):  # a checkpointed head runs once more, and must do so as it did before
                gradients = torch.autograd.grad(
                    scores, self.activations, torch.ones_like(scores), keep, again, allow_unused=True
                )
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise LayerError(
                "the network checkpoints a part after the layer with use_reentrant=True, which can give no single "
                "gradient: checkpoint it with use_reentrant=False, or choose a later layer"
            ) from error
        return self.reached(gradients)

    def reached(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """The gradients, once it is clear that the score depends on the layers.

        Raises:
            LayerError: it does not depend on one of them; where any will do, on none.
        """
        unreached = [site for site, gradient in zip(self.sites, gradients, strict=True) if gradient is None]
        if unreached and not (self.cut.any_of and len(unreached) < len(self.sites)):
            raise unreachable(unreached[0])
        pairs = zip(gradients, self.activations, strict=True)
        return tuple(torch.zeros_like(own) if gradient is None else gradient for gradient, own in pairs)

    def replay(self, *activations: Tensor) -> Any:
        """The outputs for altered activations, one tensor a layer, in its own layout (see :meth:`Cut.replay`).

        Their batch may be a multiple of the captured one: the inputs are then repeated as a block.
        """
        images = self.batch * activations[0].numel() // self.activations[0].numel()
        inputs, options = repeated(self.inputs, images)
        with self.precision():
            return self.cut.replay(activations, *inputs, **options)

    def precision(self) -> torch.autocast:
        """The caller's autocast, as it was in the pass."""
        return torch.autocast(self.activations[0].device.type, self.autocast, enabled=self.autocast is not None)


def unreachable(site: Site) -> LayerError:
    """The refusal where a score does not depend on a layer by a gradient."""
    return LayerError(
        f"the score does not depend on layer '{site}': it lies on a branch that the score does not use, or the network "
        "computes the score without a gradient; choose another layer, or a method without gradients, such as scorecam "
        "or rise"
    )


def slope_of(scores: Tensor, activations: Tensor, site: Site) -> Tensor:
    """The gradient of ``scores.sum()`` with respect to activations that were put in at ``site``.

    Raises:
        LayerError: the scores do not depend on them.
    """
    found = None
    if scores.requires_grad:
        (found,) = torch.autograd.grad(scores, activations, torch.ones_like(scores), allow_unused=True)
    if found is None:
        raise unreachable(site)
    return found


@contextmanager
def hooked(hooks: Iterator[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Forward hooks that live for one call and hear this thread's calls only."""
    thread = threading.get_ident()

    def only_here(hook: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *call: hook(*call) if threading.get_ident() == thread else None

    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(only_here(hook)).remove)
        yield


class _Tap:
    """The hook of a capture: keeps a layer's output, and hands the rest of the network a copy of it."""

    def __init__(self, site: Site, apart: bool = False):
        self.site = site
        self.apart = apart
        self.calls = 0
        self.kept: Tensor | None = None

    def keep(self, module: nn.Module, args: Any, output: Any) -> Any:
        self.calls += 1
        if self.site.call not in (None, self.calls):
            return None
        tensor = first_tensor(output)
        if tensor is None:
            raise LayerError(f"layer '{self.site}' gives {describe(output)}: no floating tensor to explain with")
        if tensor.is_inference():
            raise LayerError(
                f"layer '{self.site}' runs under torch.inference_mode() inside the network: choose a later one"
            )
        self.kept = self.start(tensor)
        # A copy, because networks change what they are given in place (DenseNet's last ReLU) and a leaf must stay.
        return with_first_tensor(output, self.kept.clone())

    def start(self, tensor: Tensor) -> Tensor:
        """Where the graph begins: a leaf here, unless an earlier cut layer's graph already reaches this one."""
        joined = tensor.requires_grad and torch.is_grad_enabled() and not self.apart
        torch.set_grad_enabled(True)  # until the network returns and `borrowed` sets it back
        return tensor if joined else tensor.detach().requires_grad_()

    def happened(self) -> Site:
        """The site, with the call it was where there were several."""
        several = self.site.call is None and self.calls > 1
        return replace(self.site, call=self.calls) if several else self.site

    def taken(self) -> Tensor:
        if self.kept is not None:
            return self.kept
        if self.calls:
            raise LayerError(
                f"layer '{self.site}': the layer ran {self.calls} times in this pass, so there is no such call"
            )
        raise LayerError(
            f"layer '{self.site}' was never reached on this input: it is unused, belongs to a branch not taken, or is "
            "called in a way that passes hooks by; choose another layer"
        )


class _Swap:
    """The hook of a replay: puts another tensor in place of a layer's output."""

    def __init__(self, site: Site, tensor: Tensor):
        self.site = site
        self.tensor = tensor
        self.calls = 0

    def put(self, module: nn.Module, args: Any, output: Any) -> Any:
        self.calls += 1
        if self.site.call not in (None, self.calls):
            return None
        return with_first_tensor(output, self.started())

    def started(self) -> Tensor:
        """A copy of the tensor, and autograd on from here if the tensor asks for it."""
        if self.tensor.requires_grad:
            torch.set_grad_enabled(True)
        return self.tensor.clone()


def _start_at_input(taps: list[_Tap], inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    tensor = image_of((inputs, options))
    if tensor is None:
        raise LayerError("the network has no floating input tensor to cut at")
    for tap in taps:
        if tap.site.module is None:
            tap.calls = 1
            tap.kept = tap.start(tensor.clone())  # a copy also where the caller made it in inference mode
            return with_image((inputs, options), tap.kept.clone())


def _with_a_graph(run: Callable[[], T]) -> T:
    """``run()``, whose hooks turn autograd on, and again with autograd on throughout if the network turned it off.

    It does where a part of it runs under ``torch.no_grad()``, which puts back the mode it found on entry: ours, off.
    Slower, same answer.
    """
    with torch.no_grad():
        result = run()
        kept = torch.is_grad_enabled()
    if kept:
        return result
    with torch.enable_grad():
        return run()
