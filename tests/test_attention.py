"""attention: what a transformer attends to is seen as it is, and the network is none the wiser."""

from __future__ import annotations

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer as TorchvisionViT

import limelight as ll
from limelight.attention import attention_of
from limelight.cut import INPUT, Cut
from limelight.errors import MethodError
from limelight.targets import ask
from tests.networks import CLASSES, pictures, untouched

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")


def timm_vit(**options) -> VisionTransformer:
    torch.manual_seed(0)
    facts = {"img_size": 12, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": CLASSES}
    return VisionTransformer(**{**facts, **options}).eval()


def torchvision_vit() -> TorchvisionViT:
    torch.manual_seed(0)
    built = TorchvisionViT(12, 4, 3, 2, 16, 32, num_classes=CLASSES).eval()
    nn.init.normal_(built.heads.head.weight)
    return built


class Encoder(nn.Module):
    """``nn.TransformerEncoder``, whose blocks have a fast path of their own."""

    def __init__(self, batch_first: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.batch_first = batch_first
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.fc(x.mean(dim=1 if self.batch_first else 0))


class Written(nn.Module):
    """Attention by hand, its weights by a functional softmax, as in transformers' eager attention."""

    def __init__(self, softmax):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.qkv, self.fc = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48), nn.Linear(16, CLASSES)
        self.softmax = softmax

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = (each.unflatten(-1, (2, 8)).transpose(1, 2) for each in self.qkv(x).chunk(3, dim=-1))
        attention = self.softmax(q @ k.transpose(-2, -1) / 8**0.5)
        return self.fc((attention @ v).transpose(1, 2).flatten(2).mean(dim=1))


NETWORKS = {
    "timm, fused": timm_vit,
    "timm, class token averaged too": lambda: timm_vit(global_pool="avg", class_token=False),
    "timm, registers": lambda: timm_vit(reg_tokens=4),
    "torchvision": torchvision_vit,
    "nn.TransformerEncoder": lambda: Encoder().eval(),
    "nn.TransformerEncoder, tokens first": lambda: Encoder(batch_first=False).eval(),
    "F.softmax": lambda: Written(lambda scores: F.softmax(scores, dim=-1)),
    "Tensor.softmax": lambda: Written(lambda scores: scores.softmax(-1)),
    "torch.softmax": lambda: Written(lambda scores: torch.softmax(scores, 3)),
}
every = pytest.mark.parametrize("name", NETWORKS)


def seen(network: nn.Module, x: torch.Tensor):
    return attention_of(Cut.at(network, INPUT).capture(x))


@every
def test_every_row_sums_to_one_and_the_outputs_are_the_networks_own(name):
    network, x = NETWORKS[name](), pictures()
    with untouched(network):
        attention = seen(network, x)
    for weights in attention.weights:
        assert weights.shape[0] == 2
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    with torch.no_grad():
        torch.testing.assert_close(attention.captured.outputs.detach(), network(x))
    assert attention.places.grid == (3, 3)


@every
def test_every_weight_moves_the_score_as_its_gradient_says(name):
    """The weights seen are those used: one is nudged in a second pass, and the score follows."""
    network, x = NETWORKS[name]().double(), pictures(dtype=torch.float64)
    attention = seen(network, x)
    (asked,) = ask(2, attention.captured.outputs)
    gradients = attention.gradients(asked)
    assert len(gradients) == len(attention.blocks)
    assert all((each != 0).any() for each in gradients)
    assert all(each.shape == weights.shape for each, weights in zip(gradients, attention.weights, strict=True))


def test_fused_attention_has_the_weights_of_attention_written_out():
    fused, plain = timm_vit(), timm_vit()
    for block in plain.blocks:
        block.attn.fused_attn = False
    kept = []
    for block in plain.blocks:
        block.attn.attn_drop.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        plain(pictures())
    for ours, theirs in zip(seen(fused, pictures()).weights, kept, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_multihead_attention_has_the_weights_that_it_tells():
    network, kept = torchvision_vit(), []
    first = network.encoder.layers[0]
    first.self_attention.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    weights = seen(network, pictures()).weights[0]
    with torch.no_grad():
        _, told = first.self_attention(kept[0], kept[0], kept[0], average_attn_weights=False)
    torch.testing.assert_close(weights, told)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.rand(5, 5, generator=torch.Generator().manual_seed(0))},
        {"attn_mask": torch.eye(5, dtype=torch.bool)},
    ],
)
def test_attention_written_out_is_the_fused_one(options):
    class One(nn.Module):
        def forward(self, x):
            q, k, v = x.flatten(2).unflatten(2, (5, 4)).unbind(1)
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], **options).flatten(1)

    x = torch.randn(2, 3, 5, 4)
    attending = _attending(One(), x)
    torch.testing.assert_close(attending, One()(x))


def test_grouped_queries_are_written_out_too():
    class Grouped(nn.Module):
        def forward(self, x):
            q, kv = x[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2)[:, :4], x[:, :2]
            return F.scaled_dot_product_attention(q, kv, kv, enable_gqa=True).flatten(1)

    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(_attending(Grouped(), x), Grouped()(x))


def _attending(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    from limelight.attention import Attending

    with Attending(network, len(x)) as mode:
        outputs = network(x.clone().requires_grad_())
    assert len(mode.found) == 1, "it was written out, not passed by"
    return outputs.detach()


@pytest.mark.parametrize(
    ("name", "prefix", "read"),
    [("timm, fused", 1, 1), ("timm, registers", 5, 1), ("timm, class token averaged too", 0, 9), ("torchvision", 1, 1)],
)
def test_the_score_is_read_where_the_network_reads_it(name, prefix, read):
    attention = seen(NETWORKS[name](), pictures())
    (asked,) = ask(0, attention.captured.outputs)
    readout = attention.readout(asked)
    assert attention.places.prefix == prefix
    assert ((readout > 0).sum(dim=1) == read).all()
    torch.testing.assert_close(readout.sum(dim=1), torch.ones(2))


def test_a_head_of_zeros_is_read_at_the_class_token():
    network = torchvision_vit()
    nn.init.zeros_(network.heads.head.weight)
    attention = seen(network, pictures())
    (asked,) = ask(0, attention.captured.outputs)
    assert attention.readout(asked)[:, 0].tolist() == [1.0, 1.0]


def test_patches_lie_where_the_picture_has_them():
    """One bright patch among black ones, wide pictures too: the tokens' values land in rows and columns."""
    network = timm_vit(img_size=(12, 20), dynamic_img_size=False)
    attention = seen(network, torch.randn(1, 3, 12, 20))
    assert attention.places.grid == (3, 5)
    values = torch.arange(16.0)[None]  # the class token first
    assert attention.patches(values)[0].tolist() == torch.arange(1.0, 16.0).view(3, 5).tolist()


class Windowed(Written):
    def forward(self, x):
        windows = x.unfold(2, 8, 4).unfold(3, 8, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        return super().forward(windows).unflatten(0, (len(x), -1)).mean(dim=1)


class OfChannels(nn.Module):
    """Channels attend to channels: 30 of them, which are no patches of a picture of 12 x 12."""

    def __init__(self):
        super().__init__()
        self.patches, self.fc = nn.Conv2d(3, 30, 4, 4), nn.Linear(30, CLASSES)

    def forward(self, x):
        x = self.patches(x).flatten(2)
        return self.fc(((x @ x.transpose(1, 2)).softmax(-1) @ x).mean(dim=2))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "has none"),
        (Windowed(lambda scores: scores.softmax(-1)), "within windows"),
        (OfChannels(), "no grid of patches"),
    ],
)
@pytest.mark.parametrize("method", ["rawattention", "attentionrollout", "transformerattribution", "legrad"])
def test_a_network_without_such_attention_is_refused_with_what_would_work(network, said, method):
    with pytest.raises(MethodError, match=said) as caught:
        ll.explain(network.eval(), pictures(), 0, method)
    assert "use gradcam" in str(caught.value)


def test_any_block_may_be_asked_and_no_other():
    with pytest.raises(MethodError, match="3 blocks"):
        ll.explain(timm_vit(), pictures(), 0, ll.methods.RawAttention(block=3))
    first = ll.explain(timm_vit(), pictures(), 0, ll.methods.RawAttention(block=0)).raw
    assert not torch.allclose(first, ll.explain(timm_vit(), pictures(), 0, "rawattention").raw)


@pytest.mark.parametrize("options", [{"heads": "median"}, {"discard": 1.0}, {"discard": -0.1}])
def test_a_setting_that_makes_no_sense_is_refused(options):
    with pytest.raises(MethodError, match=next(iter(options))):
        ll.explain(timm_vit(), pictures(), 0, ll.methods.AttentionRollout(**options))


def test_rollout_sums_to_one_with_the_class_token():
    network, x = timm_vit(), pictures()
    attention = seen(network, x)
    (asked,) = ask(0, attention.captured.outputs)
    everything = ll.methods.attention_rollout(attention.weights, attention.readout(asked), lambda row: row)
    torch.testing.assert_close(everything.sum(dim=1), torch.ones(2))
    raw = ll.explain(network, x, 0, "attentionrollout").raw[:, 0]
    torch.testing.assert_close(raw.flatten(1), everything[:, 1:])


def test_more_targets_share_one_pass_and_are_each_ones_own():
    network, x = timm_vit(), pictures()
    together = ll.explain(network, x, ll.each(0, 3), "transformerattribution").raw
    torch.testing.assert_close(together[:, 1], ll.explain(network, x, 3, "transformerattribution").raw[:, 0])


@pytest.mark.parametrize("build", [timm_vit, torchvision_vit])
def test_the_blocks_are_shown_to_the_end_in_one_pass_as_they_would_be_one_by_one(build, monkeypatch):
    network, rows = build(), []
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    ll.explain(network, pictures(), 2, "rawattention")  # so that the network is known
    rows.clear()
    at_once = ll.explain(network, pictures(), 2, "legrad").raw
    assert sum(rows) == 4, "two images, twice"
    monkeypatch.setattr("limelight.attention.Attention._at_once", _refused)
    torch.testing.assert_close(ll.explain(network, pictures(), 2, "legrad").raw, at_once, rtol=1e-4, atol=1e-7)


def _refused(*given):
    raise RuntimeError("the batch does not fit")
