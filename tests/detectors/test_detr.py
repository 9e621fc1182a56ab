"""detectors/detr.py: the transformers library's detectors, whose outputs are their candidates."""

from __future__ import annotations

import pytest
import torch

import limelight as ll

transformers = pytest.importorskip("transformers")


def detr(side: int = 16) -> torch.nn.Module:
    body = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=body,
        d_model=side,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=side,
        decoder_ffn_dim=side,
        num_queries=8,
        num_labels=4,
    )
    torch.manual_seed(0)
    return transformers.DetrForObjectDetection(config).eval()


def test_detr_s_queries_are_its_candidates():
    network, x = detr(), torch.randn(2, 3, 96, 128)
    outputs = network(x)
    explanation = ll.explain(network, x, target=ll.box((30, 20, 100, 70), 2, overlap=0.1))
    probable = outputs.logits.softmax(-1)[..., 2].detach()
    assert float((explanation.probabilities[:, 0] - probable.amax(1)).abs().max()) < 1e-6
    assert explanation.layer == "model.encoder" and explanation.raw.shape == (2, 1, 3, 4)
    assert type(network) is transformers.DetrForObjectDetection


def test_what_detr_says_is_nothing_is_no_class():
    network, x = detr(), torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        network.class_labels_classifier.bias[-1] = 9.0
    explanation = ll.explain(network, x)
    assert explanation.targets[0][0].index != 4 and explanation.predictions == [[]]
    with pytest.raises(ll.errors.TargetError, match="finds nothing in image 0"):
        ll.explain(network, x, target=ll.detections())


def test_yolos_reads_its_boxes_from_tokens_of_their_own():
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        num_detection_tokens=5,
        num_labels=4,
    )
    torch.manual_seed(0)
    network = transformers.YolosForObjectDetection(config).eval()
    explanation = ll.explain(network, torch.randn(1, 3, 64, 96))
    assert explanation.raw.shape == (1, 1, 4, 6) and float(explanation.raw.abs().sum()) > 0
