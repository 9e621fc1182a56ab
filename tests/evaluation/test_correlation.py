"""Does the map say how much each part counts: each metric written out for one picture, and exact attributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, pearsonr, spearmanr

from limelight.evaluation import Case, Scene, get
from limelight.evaluation.perturb import noise as noise_like
from limelight.evaluation.similarity import mean_ranks, pearson, spearman, ssim
from limelight.evaluation.subsets import cells_of, random_subsets
from tests.evaluation.worlds import Linear, linear_case, noise

# ---- how alike two rows are


def test_correlations_are_scipys_with_ties_too():
    a, b = torch.randn(4, 30).round(decimals=0), torch.randn(4, 30)
    for found, expected in [(pearson(a, b), pearsonr), (spearman(a, b), spearmanr)]:
        reference = [expected(x.numpy(), y.numpy()).statistic for x, y in zip(a, b, strict=True)]
        assert found.tolist() == pytest.approx(reference, abs=1e-6)
    assert kendalltau(mean_ranks(a)[0], a[0]).statistic == pytest.approx(1)


def test_a_constant_row_is_like_nothing():
    assert pearson(torch.ones(1, 5), torch.randn(1, 5)).tolist() == [0]
    assert spearman(torch.randn(1, 5), torch.zeros(1, 5)).tolist() == [0]


def test_structural_similarity_is_scikit_images():
    from skimage.metrics import structural_similarity

    a, b = torch.rand(3, 20, 24), torch.rand(3, 20, 24)
    expected = [
        structural_similarity(x.double().numpy(), y.double().numpy(), data_range=1.0, win_size=7)
        for x, y in zip(a, b, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-5)
    assert ssim(a, a).tolist() == pytest.approx([1, 1, 1])


# ---- by hand


def cells(case: Case, side: int) -> np.ndarray:
    return cells_of(case.scene, side)[0].numpy()


def held(case: Case, side: int) -> np.ndarray:
    labels = cells(case, side)
    return np.array([[m[labels == n].sum() for n in range(labels.max() + 1)] for m in case.maps.numpy()])


def lost(case: Case, i: int, gone: np.ndarray, instead: torch.Tensor) -> float:
    """What picture ``i``'s score loses when the marked pixels are replaced."""
    x = case.scene.inputs[i]
    altered = torch.where(torch.from_numpy(gone), instead[i], x)
    with torch.no_grad():
        return float(case.scene.network(x[None])[0, 0] - case.scene.network(altered[None])[0, 0])


def noisy_case() -> Case:
    """A map that is partly right."""
    case = linear_case()
    return case.with_maps(case.maps + 0.05 * torch.randn(case.maps.shape, dtype=torch.float64))


@pytest.mark.parametrize("name", ["faithfulness_correlation", "mufidelity", "infidelity", "sensitivity_n"])
def test_subsets_written_out(name):
    case, side, samples = noisy_case(), 6, 40
    grey = torch.zeros_like(case.scene.inputs)
    labels, sums = cells(case, side), held(case, side)
    shares = (0.1, 0.5) if name == "sensitivity_n" else (0.2,)
    settings = {"shares": shares} if name == "sensitivity_n" else {"share": 0.2}
    found = case.measure(get(name)(samples=samples, side=side, baseline="zero", **settings))
    expected = []
    for i in range(3):
        values = []
        for share in shares:
            gone = random_subsets(samples, side * side, share, 0).numpy()
            said = np.array([sums[i][subset].sum() for subset in gone])
            drops = np.array([lost(case, i, subset[labels], grey) for subset in gone])
            if name == "infidelity":
                scale = (said * drops).mean() / (said**2).mean()
                values.append(((scale * said - drops) ** 2).mean())
            else:
                values.append((spearmanr if name == "mufidelity" else pearsonr)(said, drops).statistic)
        expected.append(np.mean(values))
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["faithfulness_estimate", "non_sensitivity", "monotonicity_correlation"])
def test_cell_by_cell_written_out(name):
    case, side = noisy_case(), 4
    labels, sums = cells(case, side), held(case, side)
    expected = []
    for i in range(3):
        if name == "monotonicity_correlation":
            found = case.measure(get(name)(side=side, samples=3))
            draws = [noise_like(case.scene.inputs, seed) for seed in range(3)]
            vary = [np.mean([lost(case, i, labels == n, draw) ** 2 for draw in draws]) for n in range(16)]
            expected.append(spearmanr(np.abs(sums[i]), vary).statistic)
            continue
        found = case.measure(get(name)(side=side, baseline="mean", **({"threshold": 0.1} if "non" in name else {})))
        grey = case.scene.inputs.mean(dim=(2, 3), keepdim=True)
        drops = np.array([lost(case, i, labels == n, grey) for n in range(16)])
        if name == "faithfulness_estimate":
            expected.append(pearsonr(sums[i], drops).statistic)
        else:
            small = [np.abs(v) <= 0.1 * np.abs(v).max() for v in (sums[i], drops)]
            expected.append(np.mean(small[0] ^ small[1]))
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_a_linear_networks_exact_attribution_says_exactly_what_is_lost():
    case = linear_case()
    for name in ("faithfulness_correlation", "mufidelity", "faithfulness_estimate", "sensitivity_n"):
        metric = get(name)(baseline="zero", side=6)
        torch.testing.assert_close(case.measure(metric), torch.ones(3, dtype=torch.float64), msg=name)
        back = case.with_maps(-case.maps)
        torch.testing.assert_close(back.measure(metric), -torch.ones(3, dtype=torch.float64), msg=name)
    exact = get("infidelity")(baseline="zero", scaled=False, side=6)
    assert case.measure(exact).abs().max() < 1e-20
    assert case.with_maps(3 * case.maps).measure(exact).min() > 1e-3
    assert case.with_maps(3 * case.maps).measure(get("infidelity")(baseline="zero", side=6)).abs().max() < 1e-20
    assert case.measure("completeness").abs().max() < 1e-9
    assert case.with_maps(2 * case.maps).measure("completeness").tolist() == pytest.approx([1, 1, 1])
    assert case.measure(get("non_sensitivity")(baseline="zero", threshold=1e-9)).max() == 0


def test_a_random_map_says_nothing_of_what_is_lost():
    case = linear_case()
    for name in ("faithfulness_correlation", "mufidelity", "faithfulness_estimate", "sensitivity_n"):
        values = [
            case.with_maps(torch.rand(case.maps.shape, generator=torch.Generator().manual_seed(seed)) - 0.5).measure(
                get(name)(baseline="zero", side=6)
            )
            for seed in range(30)
        ]
        assert torch.stack(values).mean().abs() < 0.1, name


def test_monotonicity_counts_the_steps_that_do_not_fall():
    """Pixels come back, the least marked first: of a linear network's attribution, first those that speak against."""
    case = linear_case()
    curve = case.removal([i / 20 for i in range(21)], "zero").flip(0)
    falls = (curve.diff(dim=0) < 0).double().mean(dim=0)
    torch.testing.assert_close(case.measure(get("monotonicity")(baseline="zero")), 1 - falls)
    assert (falls > 0.2).all()
    network, x = Linear(), noise()
    with torch.no_grad():
        network.weights.abs_()
    positive = Case.of(Scene.of(network, x.abs(), 0, scale="logit"), network.attribution(x.abs()))
    for every in (False, True):
        assert positive.measure(get("monotonicity")(baseline="zero", every=every)).tolist() == [1, 1, 1]
    assert case.measure(get("monotonicity")(baseline="zero", every=True)).tolist() == [0, 0, 0]


def test_selectivity_is_the_area_as_a_share_of_the_start():
    case = linear_case("probability")
    curve = case.removal([i / 9 for i in range(10)], "zero", 4)
    expected = ((curve[:-1] + curve[1:]) / 2).mean(dim=0) / case.scores
    torch.testing.assert_close(case.measure(get("selectivity")(steps=9, region=4)), expected)


def test_irof_takes_superpixels_by_their_mean():
    x = noise(side=24)
    network = Linear(24)
    case = Case.of(Scene.of(network, x, 0), network.attribution(x))
    segments = case.scene.segments(12)
    found = case.measure(get("irof")(segments=12, baseline="zero"))
    for i in range(3):
        labels = segments[i]
        means = [float(case.maps[i][labels == n].mean()) for n in range(int(labels.max()) + 1)]
        altered, curve = x[i].clone(), [1.0]
        for n in np.argsort(means)[::-1]:
            altered[:, labels == int(n)] = 0
            with torch.no_grad():
                curve.append(float(network(altered[None]).softmax(dim=1)[0, 0] / case.scores[i]))
        assert float(found[i]) == pytest.approx(1 - np.trapezoid(curve) / len(means), abs=1e-9)


def test_the_occlusion_map_agrees_with_itself_most():
    case = linear_case()
    own = case.scene.occlusion(4)
    metric = get("occlusion_correlation")(side=6, window=4)
    torch.testing.assert_close(case.with_maps(own).measure(metric), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(case.with_maps(-own).measure(metric), -torch.ones(3, dtype=torch.float64))
    chance = case.with_maps(torch.rand(own.shape, dtype=torch.float64)).measure(metric)
    assert (case.measure(metric) > chance).all()


def test_subsets_are_asked_about_once_for_all_maps(monkeypatch):
    case = linear_case()
    calls = []
    ask = Scene.ask
    monkeypatch.setattr(Scene, "ask", lambda self, alter, count: calls.append(count) or ask(self, alter, count))
    for maps in (case.maps, -case.maps, case.maps.square()):
        for name in ("faithfulness_correlation", "infidelity"):
            case.with_maps(maps).measure(get(name)(side=6, samples=30))
    assert calls == [30]
