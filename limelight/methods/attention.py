"""Maps from the attention that a transformer pays, block by block, with and without the score's gradient.

Attention is ``(batch, heads, tokens, tokens)``, a row for each token that attends. A map starts at the tokens that the
score is read from (``readout``: the class token, or all of them in equal parts where the network averages) and ends
at the patches, laid out as they lie on the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.attention import attending
from limelight.cut import INPUT
from limelight.errors import MethodError
from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float

    Blocks = Sequence[Float[Tensor, "batch heads tokens tokens"]]
    Patches = Callable[[Float[Tensor, "batch tokens"]], Float[Tensor, "batch rows columns"]]

FUSIONS = {
    "mean": lambda heads: heads.mean(dim=1),
    "max": lambda heads: heads.amax(dim=1),
    "min": lambda heads: heads.amin(dim=1),
}
"""How heads are fused: all that Gildenblat's vit-explain has."""


@register(
    "rawattention",
    title="Raw attention",
    source="the weights of Vaswani et al. 2017, arXiv 1706.03762, eq. 1, in the last block",
    per_target=False,
    signed=False,
    passes="1",
    layer=INPUT,
    watch=attending,
)
def raw_attention(
    attention: Blocks, readout: Float[Tensor, "batch tokens"], patches: Patches, *, block: int = -1, heads: str = "mean"
) -> Float[Tensor, "batch rows columns"]:
    """How much the tokens that the score is read from attend to each patch, in one block (the last), heads averaged.

    Raises:
        MethodError: there is no such block, or no such fusion of heads.
    """
    if not -len(attention) <= block < len(attention):
        raise MethodError(f"block={block}: the network has {len(attention)} blocks with attention")
    return patches(_rows(readout, _fused(attention[block], heads)))


@register(
    "attentionrollout",
    title="Attention rollout",
    source="Abnar and Zuidema 2020, arXiv 2005.00928, eq. 1",
    per_target=False,
    signed=False,
    passes="1",
    layer=INPUT,
    watch=attending,
)
def attention_rollout(
    attention: Blocks,
    readout: Float[Tensor, "batch tokens"],
    patches: Patches,
    *,
    heads: str = "mean",
    discard: float = 0.0,
) -> Float[Tensor, "batch rows columns"]:
    """Attention multiplied through all the blocks, each half attention and half skip connection (eq. 1).

    Args:
        attention: each block's.
        readout: where the way begins.
        patches: where it ends.
        heads: "mean" as in the paper, "max" or "min".
        discard: the share of a block's smallest weights that is left out first, as vit-explain does; the paper has 0.
    """
    row = readout
    for block in reversed(attention):
        row = _rows(row, _rows_to_one(_without_least(_fused(block, heads), discard) + _identity(block)))
    return patches(row)


@register(
    "gradientattentionrollout",
    title="Gradient attention rollout",
    source="VITAttentionGradRollout of https://github.com/jacobgil/vit-explain, after arXiv 2005.00928",
    signed=False,
    passes="1",
    layer=INPUT,
    watch=attending,
)
def gradient_attention_rollout(
    attention: Blocks,
    attention_gradients: Blocks,
    readout: Float[Tensor, "batch tokens"],
    patches: Patches,
    *,
    discard: float = 0.9,
) -> Float[Tensor, "batch rows columns"]:
    """Attention rollout with each weight times the score's gradient, what is negative left out. It has no paper.

    A row is divided by its own sum; vit-explain divides it by the sums of the other rows, column by column.

    Args:
        attention: each block's.
        attention_gradients: of the score.
        readout: where the way begins.
        patches: where it ends.
        discard: the share of a block's smallest weights that is left out, as vit-explain's.
    """
    row = readout
    for block, gradients in zip(reversed(attention), reversed(attention_gradients), strict=True):
        weighed = _without_least((block * gradients).mean(dim=1).clamp(min=0), discard)
        row = _rows(row, _rows_to_one(weighed + _identity(block)))
    return patches(row)


@register(
    "transformerattribution",
    title="Transformer attribution",
    source="Chefer et al. 2021, arXiv 2103.15679, eq. 5 and 6; without the LRP of their arXiv 2012.09838",
    signed=False,
    passes="1",
    layer=INPUT,
    watch=attending,
)
def transformer_attribution(
    attention: Blocks, attention_gradients: Blocks, readout: Float[Tensor, "batch tokens"], patches: Patches
) -> Float[Tensor, "batch rows columns"]:
    """Relevance that grows block by block: R + A R, A being attention x gradient, positive parts averaged over heads.

    The rule for self-attention of Chefer et al. 2021 (eq. 5 and 6), which the authors put in the place of their first
    one; that weighs each head by relevance carried down by LRP, where this one weighs it by the attention itself.
    """
    row = readout
    for block, gradients in zip(reversed(attention), reversed(attention_gradients), strict=True):
        row = row + _rows(row, (block * gradients).clamp(min=0).mean(dim=1))
    return patches(row)


@register(
    "legrad",
    title="LeGrad",
    source="Bousselham et al. 2024, arXiv 2404.03214",
    signed=False,
    passes="2",
    layer=INPUT,
    watch=attending,
)
def legrad(
    block_gradients: Blocks, patches: Patches, *, last: int | None = None
) -> Float[Tensor, "batch rows columns"]:
    """How sensitive the class's score of each block's own tokens is to the block's attention, averaged over the blocks.

    A block's score is what the network's end makes of the mean of its tokens. Of its gradient to the attention the
    positive part is averaged over heads and over the tokens that attend (Bousselham et al. 2024).

    Args:
        block_gradients: of each block's own score, to its attention.
        patches: where they lie.
        last: only so many of the last blocks; None for all.
    """
    chosen = block_gradients if last is None else block_gradients[-last:]
    return torch.stack([patches(each.clamp(min=0).mean(dim=(1, 2))) for each in chosen]).mean(dim=0)


def _rows(row: Float[Tensor, "batch tokens"], matrix: Float[Tensor, "batch tokens tokens"]) -> Tensor:
    """The rows' mixture: where the tokens' shares come from, one block further down."""
    return torch.einsum("bi,bij->bj", row, matrix)


def _fused(block: Float[Tensor, "batch heads tokens tokens"], heads: str) -> Float[Tensor, "batch tokens tokens"]:
    if heads not in FUSIONS:
        raise MethodError(f"heads={heads!r}: heads are fused by {', '.join(FUSIONS)}")
    return FUSIONS[heads](block)


def _identity(block: Tensor) -> Tensor:
    return torch.eye(block.shape[-1], dtype=block.dtype, device=block.device)


def _rows_to_one(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(dim=-1, keepdim=True)


def _without_least(matrix: Float[Tensor, "batch tokens tokens"], share: float) -> Float[Tensor, "batch tokens tokens"]:
    """Each matrix with that share of its smallest values zero."""
    if not 0 <= share < 1:
        raise MethodError(f"discard={share}: a share of the weights, at least 0 and less than 1")
    count = int(share * matrix[0].numel())
    if not count:
        return matrix
    least = matrix.flatten(1).topk(count, dim=1, largest=False).indices
    return matrix.flatten(1).scatter(1, least, 0).view_as(matrix)
