"""Every figure of the report is that of the libraries everybody uses; temperatures calibrate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from limelight.training import probe
from limelight.training.calibrate import calibration_error, temperature
from limelight.training.report import report, roc_auc, worst_mistakes
from limelight.training.splits import folds


@pytest.fixture(params=[2, 4])
def case(request):
    """Probabilities with ties among them, and labels they predict better than chance."""
    rng = np.random.default_rng(request.param)
    labels = rng.integers(0, request.param, 200)
    scores = np.round(rng.normal(0, 1, (200, request.param)) + 1.2 * np.eye(request.param)[labels], 1)
    return torch.from_numpy(scores).softmax(1).numpy(), labels


def test_the_figures_are_scikit_learn_s(case):
    probabilities, labels = case
    classes = [f"class {i}" for i in range(probabilities.shape[1])]
    found = report(probabilities, labels, classes)
    predicted = probabilities.argmax(1)
    precision, recall, _, count = metrics.precision_recall_fscore_support(labels, predicted)
    score = probabilities[:, 1] if len(classes) == 2 else probabilities
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, score, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities))
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    for i, name in enumerate(classes):
        assert found["classes"][name] == pytest.approx(
            {"pictures": count[i], "precision": precision[i], "recall": recall[i]}
        )
    assert found["interval"][0] < found["accuracy"] < found["interval"][1]


def test_the_calibration_error_is_torchmetrics_s(case):
    referee = pytest.importorskip("torchmetrics.functional.classification", reason="the referee is not installed")
    probabilities, labels = (torch.from_numpy(each) for each in case)
    theirs = referee.multiclass_calibration_error(probabilities, labels, num_classes=probabilities.shape[1], n_bins=15)
    assert calibration_error(probabilities, labels) == pytest.approx(theirs.item(), abs=1e-6)


def test_a_class_that_is_never_seen_or_never_said_has_no_figures_of_its_own():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    found = report(probabilities, np.array([0, 1]), ["a", "b", "c"])
    assert found["roc_auc"] is None
    assert found["classes"]["c"] == {"pictures": 0, "precision": None, "recall": None}
    assert found["balanced_accuracy"] == 0.5


def test_a_ranking_without_information_is_half_right():
    assert roc_auc(np.full((6, 2), 0.5), np.array([0, 1] * 3)) == 0.5


def test_the_worst_mistake_comes_first():
    probabilities = np.array([[0.6, 0.4], [0.99, 0.01], [0.2, 0.8], [0.7, 0.3]])
    found = worst_mistakes(["a", "b", "c", "d"], probabilities, np.array([1, 1, 1, 0]), ["rice", "beans"])
    assert [each["path"] for each in found] == ["b", "a"]
    assert found[0]["prediction"] == "rice" and found[0]["label"] == "beans"


def test_the_temperature_is_the_best_there_is():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (3000,))
    honest = torch.randn(3000, 3) + 1.5 * F.one_hot(labels, 3)
    labels = torch.multinomial((1.7 * honest).softmax(1), 1)[:, 0]  # so the best temperature is 1 / 1.7
    assert temperature(honest, labels) == pytest.approx(1 / 1.7, rel=0.05)
    assert temperature(10 * honest, labels) == pytest.approx(10 / 1.7, rel=0.05)


def test_a_few_pictures_all_right_do_not_make_it_certain():
    scores = torch.tensor([[2.0, -2.0], [-2.0, 2.0]] * 5)
    labels = torch.tensor([0, 1] * 5)
    sure = (scores / temperature(scores, labels)).softmax(1).max().item()
    assert sure == pytest.approx((5 + 1) / (5 + 2), abs=1e-3)  # Platt's, for 5 pictures a class


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(3)
    labels = torch.arange(120) % 3
    x = 0.6 * torch.randn(3, 20)[labels] + torch.randn(120, 20)
    return torch.cat([10 * x + 3, torch.full((120, 1), 7.0)], 1), labels


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_the_probe_is_scikit_learn_s_logistic_regression(features, strength):
    from sklearn.linear_model import LogisticRegression

    x, labels = features
    ours = probe.fit(probe.Views(x[None], labels), strength, torch.ones(3))(x).softmax(1)
    scaled = (x - x.mean(0)) / (x - x.mean(0)).square().mean().sqrt()
    theirs = LogisticRegression(C=1 / (strength * len(labels)), tol=1e-8, max_iter=5000).fit(scaled, labels)
    assert np.abs(ours.numpy() - theirs.predict_proba(scaled)).max() < 1e-3


def test_held_out_scores_have_not_seen_their_picture():
    """Labels that are noise can be learnt by heart; held out they stay unpredictable."""
    torch.manual_seed(5)
    x, labels = torch.randn(60, 40), torch.randint(0, 2, (60,))
    found = probe.choose(probe.Views(x[None], labels), folds(labels.tolist(), range(60), 5, 0), torch.ones(2))
    assert (found.scores.argmax(1) == labels).float().mean() < 0.7
    assert found.strength == min(found.losses, key=found.losses.get)
    assert found.losses[found.strength] == pytest.approx(np.log(2), abs=0.15)
