"""targets/combined.py and classes.py: several classes, all above a threshold, and one output for two classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import TargetError
from limelight.targets import Named, ask, check

LABELS = ("tabby", "espresso", "crane")
OUTPUTS = torch.tensor([[1.0, 4.0, 3.9], [0.0, 0.1, 9.0]])


def answers(target, outputs=OUTPUTS, labels=LABELS):
    check(target, len(outputs), labels)
    asked = ask(target, outputs, labels)
    names = [[named.label for named in row] for row in zip(*(one.named for one in asked), strict=True)]
    return names, torch.stack([one.score(outputs) for one in asked], dim=1)


def test_named_classes_are_a_map_each():
    names, scores = answers(ll.classes("crane", 0))
    assert names == [["crane", "tabby"]] * 2
    assert torch.equal(scores, OUTPUTS[:, [2, 0]])


def test_all_above_a_threshold_best_first():
    names, scores = answers(ll.classes(above=0.3), OUTPUTS[:1])
    assert names == [["espresso", "crane"]]
    assert scores.tolist() == [[4.0, pytest.approx(3.9)]]


def test_many_labels_are_each_a_sigmoid():
    many = torch.tensor([[2.0, -1.0, 3.0]])
    assert answers(ll.classes(above=0.5, independent=True), many)[0] == [["crane", "tabby"]]
    assert answers(ll.classes(above=0.5), many)[0] == [["crane"]]


def test_together_they_are_one_map_whose_score_is_that_any_is_there():
    names, scores = answers(ll.classes(above=0.3, together=True))
    assert names == [["espresso or crane"], ["crane"]]
    anything = OUTPUTS.logsumexp(1)
    torch.testing.assert_close((scores[:, 0] - anything).exp()[0], OUTPUTS[0].softmax(0)[1:].sum())
    torch.testing.assert_close(scores[1, 0], OUTPUTS[1, 2])
    doubled = ask(ll.classes(0, 1, together=True), OUTPUTS, LABELS)[0].repeated(2)
    assert doubled.score(OUTPUTS.repeat(2, 1)).shape == (4,)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ll.classes(), "name classes"),
        (lambda: ll.classes("crane", above=0.5), "name classes"),
        (lambda: ll.classes(above=1.5), "between 0 and 1"),
        (lambda: ll.classes(above=0.995), "no class of image 0 is above it; the best is 'espresso' with 0.51"),
        (lambda: ll.classes(above=0.3), "between 1 and 2 such classes"),
        (lambda: ll.classes("heron"), "no class is called 'heron'"),
        (lambda: ll.probability(ll.classes("crane")), "probability: takes a class"),
    ],
)
def test_what_can_t_be_asked(make, said):
    with pytest.raises(TargetError) as error:
        answers(make())
    assert said in str(error.value) and "\n" not in str(error.value)


YES_NO = ("empty", "cat")
ONE = torch.tensor([[-2.0], [3.0]])


def test_one_output_decides_between_two_labels():
    names, scores = answers(None, ONE, YES_NO)
    assert names == [["empty"], ["cat"]] and scores.tolist() == [[2.0], [3.0]]
    names, scores = answers("empty", ONE, YES_NO)
    assert names == [["empty"], ["empty"]] and scores.tolist() == [[2.0], [-3.0]]
    torch.testing.assert_close(answers(ll.probability("empty"), ONE, YES_NO)[1], 1 - ONE.sigmoid())
    torch.testing.assert_close(answers(ll.log_probability(1), ONE, YES_NO)[1], ONE.sigmoid().log())
    assert answers(ll.top(2), ONE, YES_NO)[0] == [["empty", "cat"], ["cat", "empty"]]


def test_one_output_without_two_labels_is_one_class():
    assert ask(None, ONE)[0].named == (Named(0, "class 0"), Named(0, "class 0"))
    with pytest.raises(TargetError, match="class 1 is out of range"):
        ask(1, ONE)


def test_a_binary_network_says_which_of_its_two_classes_it_sees():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    x = torch.randn(2, 3, 9, 9)
    model = ll.load(network, labels=YES_NO, preprocessing=ll.Preprocessing((9, 9), (0.5,) * 3, (0.5,) * 3))
    explanation = ll.explain(model, x, target="empty", method="hirescam")
    absence = ll.explain(model, x, target=ll.counter("cat"), method="hirescam")
    torch.testing.assert_close(explanation.raw, absence.raw)
    torch.testing.assert_close(explanation.probabilities[:, 0], 1 - network(x).sigmoid()[:, 0].detach())
    assert {p.label for p in explanation.predictions[0]} == set(YES_NO)
    assert sum(p.probability for p in explanation.predictions[0]) == pytest.approx(1)
