"""Layouts found from what a layer gives: an impulse planted in the image is where the layout says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import limelight as ll
from limelight.cut import Cut
from limelight.errors import LayerError
from limelight.grid import default_layer, layout_of, remembered, tokens
from tests.grid.transformers import AsManyChannels, Block, ChannelsLast, Signal, Tokens, Volume
from tests.networks import untouched


def images(height: int = 24, width: int = 24, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def cells_of(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    captured = Cut.at(network, layer).capture(x)
    return layout_of(captured, 0).read(captured.activations[0].detach())


def check_by_impulses(network: nn.Module, layer: str, x: Tensor, patch: int) -> None:
    """Change one patch of the image after another: the cell that the layout puts there changes most."""
    network.eval()
    before = cells_of(network, layer, x)
    rows, columns = before.shape[2:]
    for row in range(rows):
        for column in range(columns):
            changed = x.clone()
            changed[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] += 3
            difference = (cells_of(network, layer, changed) - before).abs().sum(dim=1).flatten(1)
            assert difference.argmax(dim=1).tolist() == [row * columns + column] * len(x)


@pytest.mark.parametrize("size", [(24, 24), (16, 32), (36, 20)], ids=str)
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (2, 0), (5, 0), (0, 1), (1, 1)], ids=str)
def test_tokens_however_many_are_no_patches_and_wherever_they_stand(before, after, batch_first, size):
    network, x = Tokens(before, after, batch_first=batch_first), images(*size)
    check_by_impulses(network, "blocks.0.norm1", x, 4)
    captured = Cut.at(network, "blocks.0.norm1").capture(x)
    layout = layout_of(captured, 0)
    assert layout.grid == (size[0] // 4, size[1] // 4)
    assert (layout.prefix, layout.extra) == (before, before + after)
    assert layout.batch_axis == (0 if batch_first else 1)
    assert tokens(network, layout.grid[0] * layout.grid[1] + before + after, x) == (before, layout.grid, after)


def test_the_number_of_images_is_not_taken_for_that_of_tokens():
    network, x = Tokens(1, batch_first=False), images(8, 8, batch=5)  # five tokens, five images
    check_by_impulses(network, "blocks.0.norm1", x, 4)


def test_tokens_that_are_not_there_are_told():
    with pytest.raises(LayerError, match="no layer of this Tokens has 99 tokens"):
        tokens(Tokens(), 99, images())


@pytest.mark.parametrize("layer", ["blocks.0.norm", "blocks.0", "blocks", "norm"])
def test_channels_last(layer):
    network, x = ChannelsLast(), images(16, 32)
    check_by_impulses(network, layer, x, 4)
    assert str(layout_of(Cut.at(network, layer).capture(x), 0)) == "batch height width channels"


def test_windows_are_put_together_again():
    network, x = ChannelsLast(), images(24, 16)
    check_by_impulses(network, "blocks.0.attn", x, 4)
    found = layout_of(Cut.at(network, "blocks.0.attn").capture(x), 0)
    assert str(found) == "(batch height1 width1) (height2 width2) channels"


def test_shifted_windows_are_not_taken_for_plain_ones():
    network, x = ChannelsLast().eval(), images(32, 32)
    with pytest.raises(LayerError, match="it can't be told where its cells lie") as error:
        layout_of(Cut.at(network, "blocks.1.attn").capture(x), 0)
    assert "layout='(batch height1 width1) (height2=2 width2=2) channels'" in str(error.value)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_as_many_channels_as_rows_and_columns(last):
    network, x = AsManyChannels(last), images()
    check_by_impulses(network, "mix", x, 4)
    assert layout_of(Cut.at(network, "mix").capture(x), 0).plain is not last


def test_a_signal_and_a_volume_have_one_and_three_dimensions():
    signal, volume = torch.randn(2, 2, 64), torch.randn(2, 1, 8, 16, 12)
    assert layout_of(Cut.at(Signal(), "features.2").capture(signal), 0).grid == (16,)
    assert layout_of(Cut.at(Volume(), "features.2").capture(volume), 0).grid == (2, 4, 3)
    found = ll.explain(Signal(), signal)
    assert found.raw.shape == (2, 1, 16)
    assert found.maps.shape == (2, 1, 64)
    assert found.peaks.shape == (2, 1, 1)
    found = ll.explain(Volume(), volume)
    assert found.raw.shape == (2, 1, 2, 4, 3)
    assert found.maps.shape == (2, 1, 8, 16, 12)
    assert found.peaks.shape == (2, 1, 3)


def test_a_map_of_a_volume_is_in_0_to_1_as_a_whole_not_slice_by_slice():
    maps = ll.explain(Volume(), torch.randn(2, 1, 8, 16, 12)).maps
    peaks = maps.flatten(3).amax(dim=3)
    assert float(peaks.amin()) < 0.99


def test_the_search_leaves_the_network_as_it_was():
    network = Tokens().train()
    with untouched(network):
        default_layer(network, images())
        remembered(network, (images(),), {})


# ---- the default layer of tokens


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
def test_with_a_class_token_it_is_the_tokens_before_the_last_attention(batch_first):
    network, x = Tokens(1, batch_first=batch_first), images()
    assert default_layer(network, x) == "blocks.2.norm1"
    found = ll.explain(network, x)
    assert found.raw.shape == (2, 1, 6, 6)
    assert bool((found.raw.abs() > 0).all()), "every patch has a gradient there"


def test_where_all_tokens_are_read_it_is_the_last_layer():
    assert default_layer(Tokens(1, pooled=True), images()) == "norm"
    assert default_layer(ChannelsLast(), images()) == "norm"


def test_a_head_of_zeros_is_seen_through():
    network = Tokens(1)
    nn.init.zeros_(network.head.weight)
    assert default_layer(network, images()) == "blocks.2.norm1"


class TwoAnswers(nn.Module):
    """An answer, and an auxiliary head that runs last."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.out = nn.Linear(6, 5)
        self.auxiliary = nn.Conv2d(6, 7, 1)

    def forward(self, x):
        x = self.body(x)
        return {"logits": self.out(x.mean((2, 3))), "auxiliary": self.auxiliary(x)}


def test_a_branch_that_is_not_asked_about_is_no_default():
    assert default_layer(TwoAnswers(), images()) == "body"


# ---- what was found equals what full autograd says, for every method


def test_grad_cam_of_tokens_is_that_of_full_autograd():
    network, x = Tokens(5).eval(), images(16, 32)
    kept = []
    handle = network.blocks[2].norm1.register_forward_hook(lambda module, args, output: kept.append(output) or None)
    x.requires_grad_()
    scores = network(x)
    handle.remove()
    (slope,) = torch.autograd.grad(scores[:, 3].sum(), kept[0])
    weights = slope[:, 5:].mean(dim=1, keepdim=True)
    expected = (weights * kept[0][:, 5:]).sum(dim=2).view(2, 4, 8)
    torch.testing.assert_close(ll.explain(network, x.detach(), target=3).raw[:, 0], expected.detach())


METHODS = ["hirescam", "layercam", "xgradcam", "gradcampp", "eigencam", "scorecam", "ablationcam", "shapcam"]
TWIN = {
    "tokens": lambda: Tokens(2, pooled=True),
    "sequence first": lambda: Tokens(2, batch_first=False, pooled=True),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", TWIN)
def test_every_method_reads_and_replays_tokens(kind, method):
    """Against the same numbers as a map: the network ends in a module that turns tokens into a map and back."""
    torch.manual_seed(1)
    network, x = TWIN[kind]().eval(), images(16, 12)
    twin = AsAMap(network).eval()
    got = ll.explain(network, x, target=3, method=method, layer="blocks.1")
    expected = ll.explain(twin, x, target=3, method=method, layer="map")
    torch.testing.assert_close(got.raw, expected.raw, rtol=1e-3, atol=1e-5 * float(expected.raw.abs().max()))


class AsAMap(nn.Module):
    """The same network, whose second block's patches pass a module as ``(batch, channels, height, width)``."""

    def __init__(self, network: Tokens):
        super().__init__()
        self.network = network
        self.map = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        def turn(module: nn.Module, args: object, output: Tensor) -> Tensor:
            own = output if network.batch_first else output.transpose(0, 1)
            before, last = network.before, own.shape[1] - network.after
            patches = self.map(own[:, before:last].mT.unflatten(2, (x.shape[2] // 4, x.shape[3] // 4)))
            own = torch.cat([own[:, :before], patches.flatten(2).mT, own[:, last:]], dim=1)
            return own if network.batch_first else own.transpose(0, 1)

        network = self.network
        block = network.blocks[1]
        assert isinstance(block, Block)
        handle = block.register_forward_hook(turn)
        try:
            return network(x)
        finally:
            handle.remove()


# ---- said by the caller


def test_a_layout_that_is_said_is_taken():
    network, x = ChannelsLast().eval(), images(32, 32)
    line = "(batch height1 width1) (height2=2 width2=2) channels"
    found = ll.explain(network, x, layer="blocks.1.attn", layout=line)
    assert found.raw.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("layer", "line", "said"),
    [
        ("blocks.0.norm1", "batch (1 + hight width) channels", "'hight' is none of"),
        ("blocks.0.norm1", "batch (2 + height=6 width=6) channels", "does not fit layer 'blocks.0.norm1'"),
        ("blocks.0.norm1", "batch channels height width", "does not fit"),
        ("patch_embed", "batch height width channels", "a Conv2d: its channels are the second axis"),
        (None, "batch (1 + height width) channels", "say which, with layer="),
    ],
)
def test_a_layout_that_is_wrong_is_refused_in_one_line(layer, line, said):
    with pytest.raises(LayerError) as error:
        ll.explain(Tokens(), images(), layer=layer, layout=line)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_line_that_the_error_shows_can_be_used():
    network, x = ChannelsLast().eval(), images(32, 32)
    with pytest.raises(LayerError) as error:
        ll.explain(network, x, layer="blocks.1.attn")
    line = str(error.value).partition("layout='")[2].partition("'")[0]
    assert ll.explain(network, x, layer="blocks.1.attn", layout=f"{line}").raw.shape[2:] == (8, 8)


class States(nn.Module):
    """A grid of one cell, and beside it sixteen states that are no cells."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 8, 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.states = nn.Linear(6, 16 * 7)
        self.mix = nn.Linear(7, 7)
        self.out = nn.Linear(7, 5)

    def forward(self, x):
        x = self.pool(self.body(x)).flatten(1)
        return self.out(self.mix(self.states(x).view(-1, 16, 7)).mean(dim=1))


def test_numbers_that_only_could_be_a_grid_are_none():
    network, x = States().eval(), images(24, 24)
    assert default_layer(network, x) == "body"
    with pytest.raises(LayerError, match="layer 'mix' gives shape"):
        ll.explain(network, x, layer="mix")


class Reader(nn.Module):
    """A picture as 16 tokens, and words that read them: as many words as cells, or as many channels."""

    def __init__(self, width: int):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 6, 6)
        self.look = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
        self.words = nn.Embedding(11, width)
        self.read = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 2, 32, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.out = nn.Linear(width, 11)

    def forward(self, pixel_values, input_ids):
        seen, said = self.look(self.patch(pixel_values).flatten(2).mT), self.words(input_ids)
        for block in self.read:
            said = block(said, seen)
        return self.out(said)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("words", "width"), [(3, 16), (16, 24), (16, 16), (17, 24), (10, 32)])
def test_words_are_no_cells_although_they_or_their_channels_are_as_many(words, width, seed):
    torch.manual_seed(seed)
    network, ids = Reader(width).eval(), torch.randint(0, 11, (1, words))
    walked = remembered(network, (images(batch=1), ids), {})
    gridded = {visit.name.partition(".")[0] for visit in walked.visits if visit.has_grid}
    assert gridded == {"patch", "look"}
    assert default_layer(network, images(batch=1), ids) == "look"
    with pytest.raises(LayerError, match=r"layer 'read\.1' gives shape"):
        ll.explain(network, (images(batch=1), ids), target=ll.words(), layer="read.1")


class Mixed(nn.Module):
    """Four cells with a class token, after each got most of what it is from their mean: no impulse stands out."""

    def __init__(self, first: bool):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.norm = nn.LayerNorm(12)
        self.out = nn.Linear(12, 5)
        self.first = first

    def forward(self, x):
        cells = nn.functional.avg_pool2d(self.patch(x), 4)
        cells = (cells + 4 * cells.mean((2, 3), keepdim=True)).flatten(2).mT
        token = cells.mean(dim=1, keepdim=True)
        return self.out(self.norm(torch.cat([token, cells] if self.first else [cells, token], dim=1)).mean(dim=1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("first", [True, False])
def test_where_all_is_mixed_a_cell_is_known_by_what_moves_it_more_than_the_rest(first, seed):
    torch.manual_seed(seed)
    layout = layout_of(Cut.at(Mixed(first).eval(), "norm").capture(images(32, 32)), 0)
    assert (layout.grid, layout.prefix, layout.extra) == ((2, 2), int(first), 1)


class Heads(nn.Module):
    """Ends in a module that gives each of eight heads its share of five tokens: (batch, 8, 5, 4), without a norm."""

    def __init__(self):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 32, 16, 16), nn.Parameter(torch.ones(1, 1, 32))
        self.mix, self.split, self.out = nn.Linear(5, 5), nn.Unflatten(2, (8, 4)), nn.Linear(32, 6)
        self.heads = _Turned()

    def forward(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        heads = self.heads(self.split(self.mix(tokens.mT).mT + tokens))
        return self.out(heads.transpose(1, 2).flatten(2).mean(dim=1))


class _Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2) * 1.0


def test_heads_and_tokens_are_no_grid_of_so_many_rows_and_columns():
    torch.manual_seed(0)
    network = Heads().eval()
    layout = layout_of(Cut.at(network, "heads").capture(images(32, 32)), 0)
    assert str(layout) == "batch channels1 (1 + height width) channels2"
    assert ll.explain(network, images(32, 32)).raw.shape == (2, 1, 2, 2)
