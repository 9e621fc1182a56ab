"""A question answerer of transformers' is asked for a word of its answer, and for all of it."""

from __future__ import annotations

import pytest
import torch

import limelight as ll


@pytest.mark.slow  # importing transformers takes most of it
def test_blip_answers_are_asked_word_by_word():
    transformers = pytest.importorskip("transformers")
    text = {
        "vocab_size": 20,
        "hidden_size": 24,
        "encoder_hidden_size": 24,
        "intermediate_size": 40,
        "projection_dim": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "sep_token_id": 2,
        "eos_token_id": 2,
    }
    vision = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    # as many features as the picture has cells, 16, would be taken for cells: 24
    network = transformers.BlipForQuestionAnswering(
        transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=24)
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # fresh ones say nothing of the picture
            parameter.add_(0.2 * torch.randn_like(parameter))
    pixels = torch.randn(1, 3, 32, 32)
    asked = {
        "pixel_values": pixels,
        "input_ids": torch.tensor([[3, 4, 5]]),
        "decoder_input_ids": torch.tensor([[1, 7]]),
    }
    word = ll.explain(network, asked, target=ll.word(9, at=1))
    assert word.layer.startswith("vision_model"), word.layer
    assert tuple(word.raw.shape[2:]) == (4, 4)
    whole = ll.explain(network, asked, target=ll.sentence([8, 9]))
    first = ll.explain(network, asked, target=ll.word(8, at=0))
    assert torch.allclose(whole.raw, first.raw + word.raw, atol=1e-5 * float(whole.raw.abs().max()))

    # the same under full autograd, from the decoder's own scores
    kept = []
    layer = network.get_submodule(word.layer)
    handles = [
        layer.register_forward_hook(lambda module, args, gave: kept.append(gave if torch.is_tensor(gave) else gave[0])),
        network.text_decoder.register_forward_hook(lambda module, args, gave: kept.append(gave.logits)),
    ]
    network(**asked)
    for handle in handles:
        handle.remove()
    activations, logits = kept[0], kept[-1]
    (slope,) = torch.autograd.grad(logits.log_softmax(dim=2)[0, 1, 9], activations)
    truth = (activations[:, 1:] * slope[:, 1:].mean(dim=1, keepdim=True)).sum(dim=2).detach()
    assert torch.allclose(word.raw.flatten(), truth.flatten(), atol=1e-4 * float(truth.abs().max()))
