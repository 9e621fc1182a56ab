"""pairs.py, towers.py, targets/similarity.py: what makes a picture alike to another, to a text, to any vector."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limelight as ll
from limelight.errors import InputError, LimelightError, ModelError, TargetError


class Encoder(nn.Module):
    """A Siamese network's one side."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, 6)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder().eval()


def test_the_map_is_the_gradient_of_the_cosine(encoder):
    x, vector = torch.randn(2, 3, 16, 16), torch.randn(6)
    activations = encoder.body(x).detach().requires_grad_()
    cosine = F.cosine_similarity(encoder.fc(activations.mean((2, 3))), vector[None], dim=1)
    (gradient,) = torch.autograd.grad(cosine.sum(), activations)
    explanation = ll.explain(encoder, x, target=ll.similar(vector, "the other"), layer="body")
    torch.testing.assert_close(explanation.scores[:, 0], cosine.detach())
    reference = (gradient.mean((2, 3), keepdim=True) * activations).sum(1).detach()
    torch.testing.assert_close(explanation.raw[:, 0], reference)
    assert explanation.targets[0][0].label == "the other"


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_a_pair_has_a_map_on_either_side(encoder):
    first, second = torch.randn(2, 2, 3, 16, 16)
    pair = ll.alike(encoder, first, second)
    cosine = F.cosine_similarity(encoder(first), encoder(second)).detach()
    torch.testing.assert_close(pair.first.scores[:, 0], cosine)
    torch.testing.assert_close(pair.second.scores[:, 0], cosine)
    assert not torch.equal(pair.first.raw, pair.second.raw)
    turned = ll.alike(encoder, second, first)
    torch.testing.assert_close(turned.second.raw, pair.first.raw)


def test_one_picture_is_its_own_twin(encoder):
    x = torch.randn(1, 3, 16, 16)
    assert float(ll.explain(encoder, x, target=ll.similar(ll.embed(encoder, x))).scores) == pytest.approx(1)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (torch.zeros(6), "alike to nothing"),
        (torch.tensor([1, 2]), "neither (features,)"),
        (torch.randn(2, 2, 6), "neither (features,)"),
        (torch.randn(3, 6), "3 vectors for 2 images"),
        (torch.randn(5), "vectors of 5 features, and the network's embedding has 6"),
    ],
)
def test_what_is_alike_to_nothing(encoder, vectors, said):
    with pytest.raises(TargetError) as error:
        ll.explain(encoder, torch.randn(2, 3, 16, 16), target=ll.similar(vectors))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_can_t_be_embedded(encoder):
    with pytest.raises(ModelError, match="embeds no text"):
        ll.embed(encoder, torch.tensor([[1, 2]]))
    with pytest.raises(InputError, match="2 pictures on one side and 1 on the other"):
        ll.alike(encoder, torch.randn(2, 3, 16, 16), torch.randn(1, 3, 16, 16))
    with pytest.raises(LimelightError, match="without an embedding"):
        ll.embed(Tokens(), torch.randn(1, 3, 16, 16))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 4, 4)

    def forward(self, x):
        return self.body(x).flatten(2).transpose(1, 2)


# ---- pictures and text

IDS = torch.tensor([[0, 5, 6, 1], [0, 8, 9, 1]])


def clip() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "num_hidden_layers": 1, "vocab_size": 50, "eos_token_id": 1, "bos_token_id": 0},
        vision_config={**small, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    return transformers.CLIPModel(config).eval()


def open_clip() -> nn.Module:
    model = pytest.importorskip("open_clip.model")
    vision = {"layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 32}
    torch.manual_seed(0)
    text = {"context_length": 4, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    return model.CLIP(embed_dim=12, vision_cfg=vision, text_cfg=text).eval()


@pytest.mark.parametrize("build", [clip, open_clip])
def test_a_text_and_a_picture(build):
    network, x = build(), torch.randn(2, 3, 32, 32)
    kind, before = type(network), copy.deepcopy(network.state_dict())
    explanation = ll.explain(network, x, target=ll.similar(ll.embed(network, IDS)))
    if build is clip:
        own = network(pixel_values=x, input_ids=IDS)
        expected = (own.image_embeds * own.text_embeds).sum(1).detach()
    else:
        images, text = network.encode_image(x, normalize=True), network.encode_text(IDS, normalize=True)
        expected = (images * text).sum(1).detach()
    torch.testing.assert_close(explanation.scores[:, 0], expected)
    assert explanation.raw.shape == (2, 1, 4, 4) and float(explanation.raw.abs().sum()) > 0
    assert type(network) is kind and all(
        torch.equal(value, before[name]) for name, value in network.state_dict().items()
    )
    both = ll.explain(network, x, target=ll.each(*(ll.similar(one) for one in ll.embed(network, IDS))))
    torch.testing.assert_close(both.scores[0, 0], expected[0])


def test_given_both_a_network_of_two_towers_answers_as_itself():
    network, x = clip(), torch.randn(1, 3, 32, 32)
    explanation = ll.explain(
        network,
        {"pixel_values": x, "input_ids": IDS[:1]},
        target=lambda outputs: outputs.logits_per_image[:, 0],
        layer="vision_model.encoder.layers.1.layer_norm1",
    )
    expected = network(pixel_values=x, input_ids=IDS[:1]).logits_per_image
    torch.testing.assert_close(explanation.scores, expected.detach())


def test_each_image_keeps_its_own_vector_in_every_batch(encoder):
    x, vectors = torch.randn(5, 3, 16, 16), torch.randn(5, 6)
    for target in (ll.similar(vectors), ll.contrast(ll.similar(vectors), ll.similar(vectors[0]))):
        whole = ll.explain(encoder, x, target=target, method="hirescam", batch_size=5)
        parts = ll.explain(encoder, x, target=target, method="hirescam", batch_size=2)
        torch.testing.assert_close(parts.raw, whole.raw)
