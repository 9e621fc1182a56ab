"""targets.py: every way to ask, what it is called, and what can't be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.errors import TargetError
from limelight.targets import (
    Named,
    ask,
    check,
    class_index,
    contrast,
    counter,
    each,
    log_probability,
    logits_of,
    part,
    probabilities_of,
    probability,
    rest,
    top,
)
from tests.networks import spelt

LABELS = ("tabby", "Espresso", "crane", "golden retriever", "crane")
OUTPUTS = torch.tensor([[1.0, 4.0, 2.0, 0.0, 3.0], [9.0, 5.0, 8.0, 7.0, 6.0]])


def answers(target, outputs=OUTPUTS, labels=LABELS):
    """Names and scores, one row an image."""
    asked = ask(target, outputs, labels)
    scores = torch.stack([one.score(outputs) for one in asked], dim=1)
    return [list(row) for row in zip(*(one.named for one in asked), strict=True)], scores


def indices(target, **options):
    return [[named.index for named in row] for row in answers(target, **options)[0]]


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (None, [[1], [0]]),
        (3, [[3], [3]]),
        (-1, [[4], [4]]),
        (np.True_.item(), [[1], [1]]),
        ("tabby", [[0], [0]]),
        ("espresso", [[1], [1]]),
        (" GOLDEN Retriever ", [[3], [3]]),
        (top(3), [[1, 4, 2], [0, 2, 3]]),
        (each("tabby", 3), [[0, 3], [0, 3]]),
        (each(top(2), "tabby", None), [[1, 4, 0, 1], [0, 2, 0, 0]]),
        ([2, "tabby"], [[2], [0]]),
        ((2, 3), [[2], [3]]),
        (torch.tensor([2, 3]), [[2], [3]]),
        (np.array([2, 3]), [[2], [3]]),
        ([None, 3], [[1], [3]]),
        ([each(1, 2), top(2)], [[1, 2], [0, 2]]),
        (counter(), [[1], [0]]),
        (counter("tabby"), [[0], [0]]),
        (counter(top(2)), [[1, 4], [0, 2]]),
        (probability(), [[1], [0]]),
        (probability(top(2)), [[1, 4], [0, 2]]),
        (log_probability("tabby"), [[0], [0]]),
    ],
    ids=spelt,
)
def test_which_classes_are_asked_of_each_image(target, classes):
    check(target, 2, LABELS)
    assert indices(target) == classes


@pytest.mark.parametrize("target", [None, 3, top(2), each(0, 2), [2, 4], [each(1, 2), top(2)]], ids=spelt)
def test_scores_are_logits_unless_asked(target):
    _, scores = answers(target)
    assert torch.equal(scores, OUTPUTS.gather(1, torch.tensor(indices(target))))


@pytest.mark.parametrize(
    ("scale", "function"), [(probability, torch.softmax), (log_probability, torch.log_softmax)], ids=["p", "log p"]
)
@pytest.mark.parametrize("target", [None, 3, "tabby", top(2)], ids=spelt)
def test_probabilities_are_of_the_softmax(scale, function, target):
    _, scores = answers(scale(target))
    torch.testing.assert_close(scores, function(OUTPUTS, 1).gather(1, torch.tensor(indices(target))))


@pytest.mark.parametrize("target", [None, 3, "tabby", top(2)], ids=spelt)
def test_rest_is_the_logit_and_its_log_probability(target):
    _, scores = answers(rest(target))
    both = OUTPUTS + OUTPUTS.log_softmax(1)
    torch.testing.assert_close(scores, both.gather(1, torch.tensor(indices(target))))


def test_rest_is_pytorch_grad_cam_s():
    peer = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputReST
    ours, theirs = (OUTPUTS.clone().requires_grad_() for _ in range(2))
    score = answers(rest(3), ours)[1][:, 0]
    torch.testing.assert_close(score, peer(3)(theirs))
    score.sum().backward()
    peer(3)(theirs).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_one_logit_is_a_sigmoid():
    outputs = torch.tensor([[-1.0], [3.0]])
    torch.testing.assert_close(answers(probability(0), outputs, None)[1], outputs.sigmoid())
    torch.testing.assert_close(answers(log_probability(), outputs, None)[1], outputs.sigmoid().log())
    torch.testing.assert_close(answers(rest(), outputs, None)[1], outputs + outputs.sigmoid().log())
    torch.testing.assert_close(answers(None, outputs, None)[1], outputs)
    torch.testing.assert_close(probabilities_of(outputs), outputs.sigmoid())
    assert answers(None, outputs, ("cat",))[0] == [[Named(0, "cat")], [Named(0, "cat")]]


def test_counter_negates_whatever_it_turns_round():
    for target in (None, 3, top(2), probability(3), lambda out: out[:, 2] - out[:, 1], [2, 3]):
        if not isinstance(target, list):
            torch.testing.assert_close(answers(counter(target))[1], -answers(target)[1])
    torch.testing.assert_close(answers([counter(2), 3])[1], torch.tensor([[-2.0], [7.0]]))


@pytest.mark.parametrize("target", [None, 3, probability(3), lambda out: out[:, 2] * 2], ids=spelt)
def test_a_contrast_is_the_first_score_less_the_second(target):
    contrasted = answers(contrast(target, "tabby"))[1]
    torch.testing.assert_close(contrasted, answers(target)[1] - answers("tabby")[1])
    torch.testing.assert_close(answers(counter(contrast(target, "tabby")))[1], -contrasted)


def test_a_contrast_of_several_targets_sets_each_against_the_other():
    names, scores = answers(contrast(top(2), 2))
    torch.testing.assert_close(scores, answers(top(2))[1] - answers(2)[1])
    assert names[0][1].label == "crane rather than crane"  # two classes of one name, as ImageNet has


def test_each_image_gets_its_own_contrast():
    names, scores = answers([contrast(2, 1), contrast("tabby", 4)])
    assert torch.equal(scores, torch.tensor([[-2.0], [3.0]]))
    assert [row[0] for row in names] == [
        Named(None, "crane rather than Espresso"),
        Named(None, "tabby rather than crane"),
    ]


@pytest.mark.parametrize(("target", "other"), [(1, 1), ("tabby", "tabby"), (None, None), (np.int64(3), 3)], ids=spelt)
def test_nothing_is_contrasted_with_itself(target, other):
    with pytest.raises(TargetError, match="can't be told from itself"):
        contrast(target, other)


def test_a_contrast_is_checked_on_both_sides():
    for wrong in (contrast("tabbi", 1), contrast(1, "tabbi")):
        with pytest.raises(TargetError, match="no class is called 'tabbi'"):
            check(wrong, 2, LABELS)
    with pytest.raises(TargetError, match="2 targets on one side and 3 on the other"):
        ask(contrast(top(2), top(3)), OUTPUTS, LABELS)


def margin(outputs):
    return outputs[:, 2] - outputs[:, 1]


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("espresso", "Espresso"),
        (counter("espresso"), "not Espresso"),
        (probability("espresso"), "probability of Espresso"),
        (counter(log_probability(1)), "not log probability of Espresso"),
        (contrast("espresso", 0), "Espresso rather than tabby"),
        (margin, "margin"),
        (lambda out: out[:, 0], "score"),
    ],
)
def test_the_question_in_words(target, label):
    assert [row[0].label for row in answers(target)[0]] == [label, label]


def test_without_labels_a_class_is_called_by_its_index():
    assert answers(3, labels=None)[0][0][0] == Named(3, "class 3")
    assert answers(3, labels=("a", "b"))[0][0][0] == Named(3, "class 3")


def test_a_callable_is_asked_of_the_outputs_as_they_are():
    outputs = {"logits": OUTPUTS, "other": OUTPUTS * 2}
    names, scores = answers(lambda out: out["other"][:, 3] - out["logits"][:, 1], outputs)
    assert torch.equal(scores[:, 0], OUTPUTS[:, 3] * 2 - OUTPUTS[:, 1])
    assert names[0][0].index is None


def test_each_image_gets_its_own_callable():
    names, scores = answers([margin, 0])
    assert torch.equal(scores, torch.tensor([[-2.0], [9.0]]))
    assert [row[0] for row in names] == [Named(None, "margin"), Named(0, "tabby")]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_scores_of_repeated_outputs_are_the_scores_repeated(targets, repeats, seed):
    """A replay's outputs hold the batch several times, block after block."""
    outputs = torch.randn(len(targets), 5, generator=torch.Generator().manual_seed(seed))
    for target in (targets, [counter(one) for one in targets], None, contrast(top(2), 1), lambda out: out[:, 0] * 2):
        for asked in ask(target, outputs):
            again = asked.score(outputs.repeat(repeats, 1), repeats)
            torch.testing.assert_close(again, asked.score(outputs).repeat(repeats))


@pytest.mark.parametrize(
    "target", [2, probability(2), log_probability(2), rest(2), counter(2), contrast(2, 0), [2, 2]], ids=spelt
)
def test_scores_are_differentiable_and_an_image_only_moves_its_own(target):
    outputs = OUTPUTS.clone().requires_grad_()
    (asked,) = ask(target, outputs)
    (gradient,) = torch.autograd.grad(asked.score(outputs)[0], outputs)
    assert gradient[0].abs().sum() > 0
    assert not gradient[1].any()


# ---- where the class scores are


class Output:
    def __init__(self, scores):
        self.logits = scores


@pytest.mark.parametrize(
    "wrap",
    [lambda o: o, lambda o: {"logits": o}, Output, lambda o: (o, o * 0), lambda o: [o]],
    ids=["tensor", "dict", "attribute", "tuple", "list"],
)
def test_logits_are_found(wrap):
    assert logits_of(wrap(OUTPUTS)) is OUTPUTS
    assert indices(None, outputs=wrap(OUTPUTS)) == [[1], [0]]


@pytest.mark.parametrize(
    "outputs",
    [(torch.zeros(2), OUTPUTS), torch.zeros(2, 3, 4), {"out": OUTPUTS}, (), None, "text"],
    ids=spelt,
)
def test_outputs_without_logits_need_a_callable(outputs):
    assert logits_of(outputs) is None
    with pytest.raises(TargetError, match="without class scores"):
        ask(None, outputs)


# ---- labels


def test_exact_labels_win_over_those_that_differ_in_case():
    assert class_index("Pot", None, ("pot", "Pot", "POT")) == 1


def test_a_label_that_differs_in_case_from_two_is_ambiguous():
    with pytest.raises(TargetError, match="2 classes are called 'pOT': give an index, one of \\[0, 1\\]"):
        class_index("pOT", None, ("pot", "POT"))


def test_imagenet_has_two_cranes_and_two_maillots():
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    labels = [info.index_to_description(i).split(",")[0] for i in range(1000)]
    with pytest.raises(TargetError, match=r"2 classes are called 'crane'.*\[134, 517\]"):
        class_index("crane", 1000, labels)
    with pytest.raises(TargetError, match=r"2 classes are called 'Maillot'.*\[638, 639\]"):
        class_index("Maillot", 1000, labels)
    assert class_index("tabby", 1000, labels) == 281


def test_a_misspelt_label_is_told_with_the_closest():
    with pytest.raises(TargetError, match=r"no class is called 'tabbby'\. Did you mean 'tabby'"):
        class_index("tabbby", None, LABELS)
    with pytest.raises(TargetError, match="Did you mean 'golden retriever'"):
        class_index("retriever", None, LABELS)


def test_a_label_without_labels_is_refused():
    with pytest.raises(TargetError, match="no labels to look 'tabby' up in"):
        ask("tabby", OUTPUTS)


# ---- refusals


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (5, "class 5 is out of range"),
        (-6, "class -6 is out of range"),
        ([0, 9], "class 9 is out of range"),
        ([0], "1 targets for 2 images"),
        ([0, 1, 2], "3 targets for 2 images"),
        (torch.zeros(3, dtype=torch.long), "3 targets for 2 images"),
        (3.0, "3.0 is no target"),
        ({"a": 1}, "is no target"),
        (torch.tensor([1.0, 2.0]), "1.0 is no target"),
        (counter(2.5), "2.5 is no target"),
        (each(0, 2.5), "2.5 is no target"),
        ("taby", "Did you mean 'tabby'"),
        ([0, "taby"], "Did you mean 'tabby'"),
        (probability("taby"), "Did you mean 'tabby'"),
    ],
    ids=spelt,
)
def test_what_can_be_refused_before_the_network_runs_is(target, said):
    with pytest.raises(TargetError, match=said):
        check(target, 2, LABELS)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (7, "the network has 5 classes, 0 to 4"),
        (top(6), "only 5 classes"),
        ([each(0, 1), 2], "as many targets"),
        (probability(margin), "takes a class"),
        (lambda out: out, "one score an image"),
        (lambda out: out.sum(), "one score an image"),
        (lambda out: out[:1, 0], "one score an image"),
        (lambda out: 3, "one score an image"),
    ],
    ids=spelt,
)
def test_what_does_not_fit_the_outputs_is_refused(target, said):
    with pytest.raises(TargetError, match=said):
        answers(target)


def test_empty_questions_are_refused():
    with pytest.raises(TargetError):
        top(0)
    with pytest.raises(TargetError):
        each()


def test_a_part_of_a_list_and_of_anything_else():
    assert part([1, 2, 3], 1, 3, 3) == [2, 3]
    assert part(torch.tensor([1, 2, 3]), 0, 1, 3).tolist() == [1]
    assert part(3, 0, 1, 3) == 3
    assert part(each(1, 2), 0, 1, 3) == each(1, 2)


# ---- known bugs


@pytest.mark.parametrize(
    "target",
    [np.int64(3), torch.tensor(3), each(np.int64(3)), [np.int64(3), np.int64(3)], list(torch.tensor([3, 3]))],
    ids=["numpy", "tensor", "each", "list of numpy", "list of tensors"],
)
def test_an_index_may_be_a_scalar_of_numpy_or_torch(target):
    check(target, 2, LABELS)
    assert indices(target) == [[3], [3]]


@pytest.mark.parametrize("target", [counter(each(0, 2)), each(each(0), 2)], ids=spelt)
def test_several_targets_can_be_turned_round_and_nested(target):
    check(target, 2, LABELS)
    assert indices(target) == [[0, 2], [0, 2]]


def test_a_list_of_the_wrong_length_for_outputs_in_an_object():
    with pytest.raises(TargetError, match="1 targets for 2 images"):
        ask([0], Output(OUTPUTS))


def test_a_callable_of_outputs_in_an_object_is_asked_of_every_image():
    (asked,) = ask(lambda out: out.logits[:, 1], Output(OUTPUTS))
    assert len(asked.named) == 2
