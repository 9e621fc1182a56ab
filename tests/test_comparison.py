"""Methods side by side: what is timed, what is left out and why, how agreement is measured, and the page."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from limelight import Photo, comparison, read
from limelight.comparison import BRIEF, FINEST, GRID, agreement, choose, cost
from limelight.errors import MethodError, TargetError
from limelight.methods import REGISTRY
from limelight.methods.registry import Method, get
from tests.pictures import SIZE, noise
from tests.tiny import LABELS, SILENT, tiny


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture
def photo() -> Photo:
    return read(noise())


def refusing(activations):
    raise MethodError("needs attention, and there is none")


def too_large(activations):
    raise RuntimeError("out of\nmemory")


# ---- which methods


def test_names_are_chosen_once_and_in_their_order():
    assert [method.name for method in choose("layercam, Grad-CAM,layercam")] == ["layercam", "gradcam"]


def test_fast_is_a_single_pass_and_all_is_all():
    assert {method.passes for method in choose("fast")} == {"1"}
    assert [method.name for method in choose("all")] == list(REGISTRY)


def test_the_longest_methods_are_cut_short_in_all():
    """Each setting is one that the method has: asking for another raises."""
    chosen = {method.name: method for method in choose("all")}
    assert {name: dict(chosen[name].settings) for name in BRIEF} == BRIEF


def test_a_misspelt_method_is_told_before_anything_runs():
    with pytest.raises(MethodError, match="Did you mean 'layercam'"):
        choose("gradcam,layrcam")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (get("gradcam"), "1 pass"),
        (get("smoothgradcampp")(samples=5), "1 + 5 passes"),
        (get("scorecam"), "channels passes"),
        (get("scorecam")(top=64), "64 passes"),
        (get("ablation")(segments=4), "16 passes"),
        (get("extremalperturbation")(areas=(0.1, 0.2), steps=7), "3 x 7 x 2 passes"),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_a_cost_has_the_settings_filled_in(method, said):
    assert cost(method) == said


# ---- running them


def test_each_method_is_timed_and_those_that_fail_do_not_stop_the_others(model, photo):
    methods = [get("gradcam"), get(refusing), get(too_large), get("saliency")]
    done = list(comparison.trials(model, photo, methods, target="tabby"))

    assert [trial.error for trial in done] == [None, "needs attention, and there is none", "out of memory", None]
    assert [trial.explanation is None for trial in done] == [False, True, True, False]
    for trial in (done[0], done[3]):
        assert trial.seconds > 0
        assert trial.forwards > 0
        assert trial.method.title in trial.caption


def test_a_map_is_that_of_explain(model, photo):
    """Also its place on the photograph, although the picture was prepared only once."""
    from limelight import explain

    (trial,) = comparison.trials(model, photo, [get("layercam")], target="espresso", layer="layer3", fit="pad")
    alone = explain(model, photo, "espresso", "layercam", "layer3", fit="pad")
    assert trial.explanation is not None
    torch.testing.assert_close(trial.explanation.raw, alone.raw)
    torch.testing.assert_close(trial.explanation.heat(), alone.heat())
    assert trial.explanation.peaks.tolist() == alone.peaks.tolist()


def test_a_question_that_no_method_can_be_asked_is_raised(model, photo):
    with pytest.raises(TargetError, match="tabbi"):
        list(comparison.trials(model, photo, choose("gradcam,layercam"), target="tabbi"))


def test_no_map_at_all_is_an_error_with_the_reason(model, photo):
    with pytest.raises(MethodError, match="needs attention"):
        comparison.check(list(comparison.trials(model, photo, [get(refusing)])))


# ---- agreement


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_agreement_is_spearmans_rank_correlation(seed, levels):
    """With many ties, as rectified maps have them."""
    maps = torch.randint(levels, (3, GRID, GRID), generator=torch.Generator().manual_seed(seed)).float()
    expected = torch.from_numpy(spearmanr(maps.flatten(1).numpy(), axis=1).statistic)
    torch.testing.assert_close(agreement(list(maps)), expected, rtol=0, atol=1e-9)


def test_agreement_compares_order_not_scale_and_maps_of_any_size():
    ramp = torch.linspace(0, 1, 10 * GRID).expand(10 * GRID, -1)
    small = torch.linspace(0, 1, GRID).expand(GRID, -1)
    correlations = agreement([ramp, small**3 * 7, 1 - small])
    torch.testing.assert_close(correlations[0], torch.tensor([1.0, 1.0, -1.0]).double())


def test_a_map_without_any_evidence_agrees_with_none(model, photo):
    """And is told, in the record as nothing rather than as a number that is none."""
    done = list(comparison.trials(model, photo, choose("gradcam,lafam"), target=SILENT))
    found = comparison.record(photo, done)

    assert math.isnan(agreement(comparison.shown(done))[0, 1])
    assert found["agreement"]["rank_correlation"] == [[None, None], [None, 1.0]]
    assert "zero everywhere" in found["methods"][0]["warning"]


# ---- the page


def test_pixel_sized_maps_are_drawn_in_cells_that_can_be_seen(model, photo):
    """A photograph under a map of single pixels would look untouched; coarse maps stay as they are."""
    fine, coarse = comparison.trials(model, photo, choose("saliency,gradcam"), target="tabby")
    assert fine.explanation is not None
    assert coarse.explanation is not None

    assert fine.explanation.raw.shape[-1] > FINEST
    assert comparison.drawable(fine.explanation).raw.shape[-2:] == (FINEST, FINEST)
    assert comparison.drawable(coarse.explanation).raw is coarse.explanation.raw


def test_the_page_has_a_tile_for_each_map_and_the_matrix_below(model, photo):
    done = list(comparison.trials(model, photo, [get("gradcam"), get(refusing), get("lafam")], target=LABELS[0]))

    one, two = comparison.sheet(done[:1]), comparison.sheet(done)
    assert min(one.size) > max(SIZE)
    assert two.width > one.width
    assert two.height > one.height + 2 * 12
