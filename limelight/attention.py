"""Attention as it is paid in a pass: the weights of every block, part of the pass's graph, without editing the network.

A mode sees each call of torch's functions. A softmax over tokens is kept as it is; a fused
``scaled_dot_product_attention`` is written out as its definition has it, because the fused one never holds its weights;
``nn.MultiheadAttention`` is looked into. What the network computes stays the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from limelight.borrow import borrowed, unwrap
from limelight.cut import INPUT, Captured, Cut, Site
from limelight.errors import LayerError, LimelightError, MethodError
from limelight.grid import Tokens, tokens
from limelight.head import Head
from limelight.nested import Inputs, first_tensor, own_copies
from limelight.recording import run_with
from limelight.targets import Asked

if TYPE_CHECKING:
    from jaxtyping import Float

INSTEAD = "use gradcam, layercam or scorecam, which need none, or saliency, which needs no grid either"


@dataclass(frozen=True)
class Block:
    """One block of a transformer in a pass.

    Attributes:
        weights: ``(batch, heads, tokens, tokens)`` after the softmax, rows are queries; part of the pass's graph.
        site: the largest module around it that holds no other attention; None if that gives no tokens.
        tokens: what that module gave ``(batch, tokens, channels)``, part of the graph.
    """

    weights: Tensor
    site: Site | None = None
    tokens: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Attention:
    """The self-attention of one pass.

    Attributes:
        captured: the pass, cut at the input.
        blocks: in the order they ran.
        places: which tokens are patches, and how these lie.
    """

    captured: Captured
    blocks: tuple[Block, ...]
    places: Tokens

    @property
    def weights(self) -> tuple[Float[Tensor, "batch heads tokens tokens"], ...]:
        """Each block's attention, without a graph."""
        return tuple(block.weights.detach() for block in self.blocks)

    def gradients(self, asked: Asked) -> tuple[Float[Tensor, "batch heads tokens tokens"], ...]:
        """The gradient of the target's score with respect to each block's attention."""
        with torch.enable_grad():
            score = asked.score(self.captured.outputs)
        return _gradients(score, [block.weights for block in self.blocks])

    def of_each_block(self, asked: Asked) -> tuple[Float[Tensor, "batch heads tokens tokens"], ...]:
        """The gradient, to each block's attention, of the score that the *block's own* tokens would get.

        They get it from the network's end (what follows the last block), shown their mean in every token's place.

        Raises:
            MethodError: the blocks give no tokens that the network's end could be shown.
        """
        site = self.blocks[-1].site
        given = [block.tokens for block in self.blocks if block.tokens is not None]
        if site is None or len(given) < len(self.blocks) or len({each.shape for each in given}) > 1:
            raise MethodError(
                "the blocks give no tokens of one shape, so an early block's can't be shown to the network's end; "
                "use transformerattribution"
            )
        means = torch.stack([each.detach().mean(dim=1, keepdim=True) for each in given])
        shown = means.expand(-1, *given[-1].shape)
        try:
            slopes = self._at_once(site, shown, asked)
        except (RuntimeError, LimelightError):  # the network's end takes something else of the image's own
            slopes = self._one_by_one(site, given[-1], shown, asked)
        slopes = slopes.mean(dim=2, keepdim=True)
        return tuple(
            torch.autograd.grad(each, block.weights, slope.expand_as(each), retain_graph=True)[0]
            for block, each, slope in zip(self.blocks, given, slopes, strict=True)
        )

    def _at_once(self, site: Site, shown: Tensor, asked: Asked) -> Tensor:
        """The gradients at tokens ``(blocks, batch, tokens, channels)``, shown to the network's end in one pass.

        The network runs on its images as they are and is handed more at the last block: what is before runs once.
        """
        network, (inputs, options) = self.captured.cut.network, self.captured.inputs
        with borrowed(network), self.captured.precision():
            with torch.enable_grad():
                leaf = shown.flatten(0, 1).clone().requires_grad_()
                handed = leaf.clone()
            outputs = run_with(network, site, handed, *own_copies((inputs, options)))
            with torch.enable_grad():
                score = asked.score(outputs, len(shown))
            return torch.autograd.grad(score, leaf, torch.ones_like(score))[0].view_as(shown)

    def _one_by_one(self, site: Site, last: Tensor, shown: Tensor, asked: Asked) -> Tensor:
        """The same with the whole network run for each."""
        whole, cut = self.captured, Cut(self.captured.cut.network, (site,))
        end = Captured(cut, whole.inputs, (last,), whole.outputs, (1,), whole.autocast)
        parts = Head(end, 0, asked, raw=True).gradients(lambda few: shown[few], len(shown))
        return torch.cat([gradients for _, gradients, _ in parts])

    def readout(self, asked: Asked) -> Float[Tensor, "batch tokens"]:
        """From which tokens the score is read after the last block, in equal parts: the class token, or all.

        They are those whose queries the score depends on there.
        """
        last = self.blocks[-1].weights
        with torch.enable_grad():
            (slope,) = _gradients(asked.score(self.captured.outputs), [last])
        read = slope.abs().sum(dim=(1, 3)) > 0
        if not read.any():  # a head of zeros: taken for what most networks do
            read[:, : 1 if self.places.prefix else None] = True
        return (read / read.sum(dim=1, keepdim=True).clamp(min=1)).to(last.dtype)

    def patches(self, values: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch rows columns"]:
        """The patches' values in their places; the other tokens' are left out."""
        prefix, grid, suffix = self.places
        return values[:, prefix : values.shape[1] - suffix].unflatten(1, grid)


def attending(network: nn.Module, inputs: Inputs) -> Attending:
    """What a pass is run under so that its attention is seen."""
    return Attending(unwrap(network), len(inputs))


def attention_of(captured: Captured) -> Attention:
    """The attention of a captured pass; of one more pass on the same images if it was not run under :func:`attending`.

    Raises:
        MethodError: the network has no self-attention between the patches of the whole picture.
    """
    if Attention not in captured.remembered:
        captured.remembered[Attention] = _look(captured)
    seen, blocks, places = captured.remembered[Attention]
    return Attention(seen or captured, blocks, places)


def _look(captured: Captured) -> tuple[Captured | None, tuple[Block, ...], Tokens]:
    """The pass that was seen, if it is another one (a pass that remembers itself is never freed), and what was seen."""
    network, (inputs, options) = captured.cut.network, captured.inputs
    seen, watch = captured, captured.remembered.get(attending)
    if watch is None:
        watch = Attending(network, captured.batch)
        with captured.precision(), watch:
            seen = Cut.at(network, INPUT).capture(*inputs, **options)
    kind = type(network).__name__
    if not watch.found:
        raise MethodError(f"this needs attention, and this {kind} has none; {INSTEAD}")
    if any(len(block.weights) != captured.batch for block in watch.found):
        raise MethodError(f"this {kind} attends within windows, not across the picture; {INSTEAD}")
    count = watch.found[-1].weights.shape[-1]
    blocks = tuple(block for block in watch.found if block.weights.shape[-1] == count)
    try:
        places = tokens(network, count, *inputs, **options)
    except LayerError:
        message = f"this {kind} attends between {count} values that are no grid of patches; {INSTEAD}"
        raise MethodError(message) from None
    return None if seen is captured else seen, blocks, places


def _gradients(score: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Zero where the score does not depend on a tensor."""
    if not score.requires_grad:
        return tuple(torch.zeros_like(each) for each in tensors)
    return torch.autograd.grad(
        score, tensors, torch.ones_like(score), retain_graph=True, allow_unused=True, materialize_grads=True
    )


class Attending(TorchFunctionMode):
    """Keeps the weights of every square attention, with the module each was paid in."""

    def __init__(self, network: nn.Module, batch: int):
        super().__init__()
        self.network = network
        self.batch = batch
        self.found: list[Block] = []
        self.hooks = ExitStack()
        self.depth = 0  # it is entered again while `nn.MultiheadAttention` is looked into

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            with self:
                return _looked_into(function)(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            return self.written_out(*args, **kwargs)
        result = function(*args, **kwargs)
        softmax = getattr(function, "__name__", "") in ("softmax", "_softmax")
        return self.keep(result) if softmax and _over_tokens(result, args, kwargs) else result

    def keep(self, weights: Tensor) -> Tensor:
        """Note the weights ``([batch,] heads, queries, keys)``, and hand them on in their own shape."""
        if not weights.requires_grad or weights.shape[-1] != weights.shape[-2] or weights.shape[-1] < 2:
            return weights
        if weights.ndim == 4:
            self.found.append(Block(weights))
            return weights
        apart = weights.unflatten(0, (self.batch, -1)) if len(weights) % self.batch == 0 else weights[:, None]
        self.found.append(Block(apart))
        return apart.flatten(0, 1)

    def written_out(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """``F.scaled_dot_product_attention`` by its definition."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], dim=-3) for each in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            allowed = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if allowed else scores + attn_mask
        return F.dropout(self.keep(scores.softmax(dim=-1)), dropout_p) @ value

    def __enter__(self) -> Attending:
        if self.depth == 0:
            self.hooks.enter_context(self.blocks_known())
        self.depth += 1
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.depth -= 1
        if self.depth == 0:
            self.hooks.close()

    @contextmanager
    def blocks_known(self) -> Iterator[None]:
        """While it lasts, each block is told the largest module around it alone."""
        thread, before = threading.get_ident(), []

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                before.append(len(self.found))

        def leave(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                if threading.get_ident() != thread:
                    return
                first, tokens = before.pop(), first_tensor(output)
                if len(self.found) != first + 1 or tokens is None or tokens.ndim != 3 or not tokens.requires_grad:
                    return
                weights = self.found[first].weights
                if tokens.shape[:2] == (len(weights), weights.shape[-1]):
                    self.found[first] = Block(weights, Site(name, module), tokens)

            return hook

        with ExitStack() as stack:
            for name, module in self.network.named_modules():
                if name:
                    stack.callback(module.register_forward_pre_hook(enter).remove)
                    stack.callback(module.register_forward_hook(leave(name)).remove)
            yield


def _over_tokens(result: Any, args: Any, kwargs: Any) -> bool:
    if not isinstance(result, Tensor) or result.ndim not in (3, 4):
        return False
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dim in (-1, result.ndim - 1)


def _looked_into(function: Any) -> Any:
    """The function, which otherwise asks whether a mode is there and stops at its own door, gone through."""
    return FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": lambda given: False},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
