"""targets/words.py: why a captioner says this word here, or this sentence; why an answer is this one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import TargetError

WORDS = ("<end>", "two", "beans", "and", "rice")


class Captioner(nn.Module):
    """A small CNN and an LSTM that says four words, each given the one before (as in the paper's captioning)."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.words = nn.Embedding(len(WORDS), 8)
        self.cell = nn.LSTMCell(8, 8)
        self.out = nn.Linear(8, len(WORDS))

    def forward(self, x):
        seen = self.body(x).mean((2, 3))
        hidden, memory = self.cell(seen)
        said = [self.out(hidden)]
        for _ in range(3):
            hidden, memory = self.cell(self.words(said[-1].argmax(1)), (hidden, memory))
            said.append(self.out(hidden))
        return torch.stack(said, dim=1)


@pytest.fixture
def network():
    torch.manual_seed(3)
    return Captioner().eval()


@pytest.fixture
def model(network):
    return ll.load(network, labels=WORDS, preprocessing=ll.Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3))


def test_a_map_for_every_word_from_one_pass(network, model):
    x = torch.randn(2, 3, 16, 16)
    calls: list[int] = []
    ll.explain(model, x, target=ll.words())
    handle = network.body.register_forward_hook(lambda *call: calls.append(1))
    explanation = ll.explain(model, x, target=ll.words(), layer="body")
    handle.remove()
    assert len(calls) == 1
    best = network(x).log_softmax(2).max(2)
    torch.testing.assert_close(explanation.scores, best.values.detach())
    torch.testing.assert_close(explanation.probabilities, best.values.detach().exp())
    assert [[named.label for named in row] for row in explanation.targets] == [
        [WORDS[i] for i in row] for row in best.indices.tolist()
    ]
    activations = network.body(x).detach().requires_grad_()
    network_body, network.body = network.body, nn.Identity()
    logs = network(activations).log_softmax(2)[:, 2].amax(1)
    network.body = network_body
    (gradient,) = torch.autograd.grad(logs.sum(), activations)
    reference = (gradient.mean((2, 3), keepdim=True) * activations).sum(1).detach()
    torch.testing.assert_close(explanation.raw[:, 2], reference)


def test_a_word_is_found_where_it_is_said(network, model):
    x = torch.randn(2, 3, 16, 16)
    said = network(x).argmax(2)
    word = int(said[0, 1])
    found = ll.explain(model, x[:1], target=ll.word(WORDS[word]))
    place = said[0].tolist().index(word)
    torch.testing.assert_close(found.scores[0, 0], network(x[:1]).log_softmax(2)[0, place, word].detach())
    elsewhere = ll.explain(model, x, target=ll.word("rice", at=-1))
    torch.testing.assert_close(elsewhere.scores[:, 0], network(x).log_softmax(2)[:, 3, 4].detach())
    assert ll.explain(model, x, target=ll.word(at=0)).targets[1][0].label == WORDS[int(said[1, 0])]


def test_a_sentence_is_the_sum_of_its_words(model):
    x = torch.randn(2, 3, 16, 16)
    each = ll.explain(model, x, target=ll.words("two beans and"), layer="body")
    whole = ll.explain(model, x, target=ll.sentence(["two", 2, "and"]), layer="body")
    torch.testing.assert_close(whole.scores[:, 0], each.scores.sum(1))
    torch.testing.assert_close(whole.raw[:, 0], each.raw.sum(1))
    assert whole.targets[0][0].label == "two beans and"


@pytest.mark.parametrize("method", ["scorecam", "saliency", "hirescam"])
def test_other_methods(model, method):
    found = ll.explain(model, torch.randn(1, 3, 16, 16), target=ll.word(at=1), method=method, layer=None)
    assert found.maps.isfinite().all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ll.word(), "say which"),
        (lambda: ll.word("corn"), "no class is called 'corn'"),
        (lambda: ll.word(9), "class 9 is out of range"),
        (lambda: ll.word(at=4), "says 4 words, 0 to 3"),
        (lambda: ll.words([]), "at least one word"),
        (lambda: ll.words("two two two two two"), "5 words were given, and the network's outputs have room for 4"),
        (lambda: ll.probability(ll.word("rice")), "probability: takes a class"),
    ],
)
def test_what_can_t_be_asked(model, make, said):
    with pytest.raises(TargetError) as error:
        ll.explain(model, torch.randn(1, 3, 16, 16), target=make())
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_word_that_is_not_said(network, model):
    x = torch.randn(1, 3, 16, 16)
    said = network(x).argmax(2)[0].tolist()
    other = next(i for i in range(len(WORDS)) if i not in said)
    with pytest.raises(TargetError, match=f"does not say '{WORDS[other]}' of image 0; it says: {WORDS[said[0]]} "):
        ll.explain(model, x, target=ll.word(other))


def test_a_classifier_says_no_words():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(TargetError, match="asked of a captioner"):
        ll.explain(network, torch.rand(1, 3, 8, 8), target=ll.word(at=0))


# ---- transformers' captioners and answerers


def encoder_decoder() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    encoder = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    decoder = transformers.GPT2Config(
        vocab_size=30, n_embd=24, n_layer=1, n_head=2, n_positions=12, add_cross_attention=True, is_decoder=True
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    torch.manual_seed(0)
    return transformers.VisionEncoderDecoderModel(config).eval()


def test_an_encoder_and_a_decoder():
    network, x, ids = encoder_decoder(), torch.randn(2, 3, 32, 32), torch.tensor([[1, 7, 3], [1, 4, 9]])
    called = {"pixel_values": x, "decoder_input_ids": ids}
    explanation = ll.explain(network, called, target=ll.words([7, 3, 2]))
    logs = network(**called).logits.log_softmax(2)
    torch.testing.assert_close(explanation.scores, logs[:, torch.arange(3), torch.tensor([7, 3, 2])].detach())
    assert explanation.raw.shape == (2, 3, 4, 4) and float(explanation.raw[:, 0].abs().sum()) > 0
    assert "encoder" in explanation.layer


def blip(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        **small,
        "vocab_size": 30,
        "encoder_hidden_size": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    }
    config = transformers.BlipConfig(
        text_config={**text, "pad_token_id": 0, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).eval()


def test_blip_captions():
    network, x, ids = blip("BlipForConditionalGeneration"), torch.randn(1, 3, 32, 32), torch.tensor([[1, 7, 3]])
    called = {"pixel_values": x, "input_ids": ids}
    explanation = ll.explain(network, called, target=ll.word(5, at=1))
    torch.testing.assert_close(explanation.scores[0, 0], network(**called).logits.log_softmax(2)[0, 1, 5].detach())
    assert explanation.raw.shape[2:] == (4, 4) and float(explanation.raw.abs().sum()) > 0
