"""The metrics beside the peers' own, on the same maps and networks, to 1e-5.

torchcam, pytorch-grad-cam, captum and saliency here; Quantus, whose import alone takes seconds, among the slow tests.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from limelight.evaluation import Case, Scene, explainer, get
from limelight.evaluation.imputation import noisy_linear
from limelight.evaluation.information import information_curve
from tests.evaluation.worlds import square

CLASSES = 5
close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)


def small() -> nn.Sequential:
    torch.manual_seed(3)
    body = [nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, CLASSES))
    with torch.no_grad():
        network[-1].weight.mul_(20)
    return network.eval()


@pytest.fixture
def pictures():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    """Without ties, so that every order is the same."""
    return torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def case(pictures, maps):
    return Case.of(Scene.of(small(), pictures), maps, masks=square(4, (32, 32), slice(4, 20), slice(10, 25)))


@pytest.fixture
def classes(pictures):
    return small()(pictures).argmax(dim=1)


# ---- torchcam


class Extractor:
    """As much of a torchcam extractor as its metrics ask of one."""

    def __init__(self, network, maps):
        self.model, self.maps, self._hooks_off = network, maps, nullcontext

    def __call__(self, *args, **options):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]


def test_torchcams_deletion_and_insertion(case, maps, pictures):
    from torchcam.metrics import DeletionInsertionMetric

    metric = DeletionInsertionMetric(Extractor(small(), maps), lambda out: out.softmax(dim=-1), steps=16)
    metric.update(pictures)
    theirs = metric.summary()
    for name in ("deletion", "insertion"):
        ours = case.measure(get(name)(steps=16, baseline="zero")).mean()
        assert float(ours) == pytest.approx(theirs[f"{name}_auc"], abs=1e-5)


def test_torchcams_average_drop_and_increase(case, maps, pictures):
    from torchcam.metrics import ClassificationMetric

    shown = maps / maps.amax(dim=(1, 2), keepdim=True)
    metric = ClassificationMetric(Extractor(small(), shown), lambda out: out.softmax(dim=-1))
    metric.update(pictures)
    theirs = metric.summary()
    assert float(case.measure("average_drop").mean()) == pytest.approx(theirs["avg_drop"], abs=1e-5)
    assert float(case.measure("average_increase").mean()) == pytest.approx(theirs["conf_increase"], abs=1e-5)


# ---- pytorch-grad-cam


def softmax_targets(classes):
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    return [ClassifierOutputSoftmaxTarget(int(c)) for c in classes]


def test_grad_cams_noisy_linear_imputation(pictures, maps):
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    removed = torch.stack([maps > 0.7, maps > 0.2])
    ours = noisy_linear(pictures, removed, noise=0, tolerance=1e-7)
    for few in range(2):
        for i in range(2):
            theirs = NoisyLinearImputer(noise=0)(pictures[i], 1 - removed[few, i].float())
            close(ours[few, i], theirs)


def test_grad_cams_road(case, maps, pictures, classes, monkeypatch):
    """ROADCombined, without the noise on either side. What is below a percentile stays: to the pixel what we keep."""
    from pytorch_grad_cam.metrics import road as theirs

    class Quiet(theirs.NoisyLinearImputer):
        def __init__(self):
            super().__init__(noise=0)

    monkeypatch.setattr(theirs, "NoisyLinearImputer", Quiet)
    monkeypatch.setattr("limelight.evaluation.perturb.noisy_linear", partial(noisy_linear, noise=0, tolerance=1e-7))
    shares = (0.25, 0.5, 0.75)  # of 1,024 pixels, where a percentile falls between two of them
    found = theirs.ROADCombined([100 * share for share in shares])(
        pictures, maps.numpy(), softmax_targets(classes), small()
    )
    close(case.measure(get("road")(percentiles=shares)), torch.from_numpy(found))


def test_grad_cams_cam_mult_image(case, maps, pictures, classes):
    from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange

    shown = (maps / maps.amax(dim=(1, 2), keepdim=True))[:, None].numpy()
    theirs = CamMultImageConfidenceChange()(pictures, shown, softmax_targets(classes), small())
    close(case.measure("cam_mult_image"), torch.from_numpy(theirs))


# ---- captum


def test_captums_sensitivity(pictures, classes):
    from captum.attr import Saliency
    from captum.metrics import sensitivity_max

    network, method = small(), explainer("saliency")
    own = Case.of(Scene.of(network, pictures), method(network, pictures, None), explainer=method)
    noise = own.around(5, 0.05, 0).inputs

    def perturb(inputs):
        return (noise.transpose(0, 1).flatten(0, 1),)

    # Saliency's colours are reduced to their largest magnitude, as ours are.
    def explain(inputs, target):
        return (Saliency(network).attribute(inputs[0], target).amax(dim=1),)

    theirs = sensitivity_max(
        explain, pictures, perturb, n_perturb_samples=5, max_examples_per_batch=None, target=classes
    )
    close(own.measure(get("max_sensitivity")(samples=5, radius=0.05)).float(), theirs)


def test_captums_infidelity(case, pictures, maps, classes):
    """Perturbations are what is taken off the input, and the map says how much each taken pixel adds to the score."""
    from captum.metrics import infidelity

    samples, side = 40, 8
    gone = case.scene.subsets(samples, side, 0.2, "zero", 0).gone
    labels = torch.arange(32) * side // 32
    masks = gone[:, (labels[:, None] * side + labels)].float()  # (samples, rows, columns)

    def perturb(inputs):
        removed = masks.repeat(4, 1, 1)[:, None]  # captum repeats each picture as often as there are samples
        return removed.expand_as(inputs), inputs * (1 - removed)

    network = small()
    spread = (maps / 3)[:, None].expand(-1, 3, -1, -1)  # the same on each colour
    for scaled in (True, False):
        theirs = infidelity(
            lambda x: network(x).softmax(dim=1),
            perturb,
            pictures,
            spread,
            target=classes,
            n_perturb_samples=samples,
            normalize=scaled,
        )
        ours = case.measure(get("infidelity")(samples=samples, side=side, share=0.2, baseline="zero", scaled=scaled))
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-5)


# ---- saliency


def test_saliencys_information_curve(monkeypatch):
    """The same area under the same points."""
    from saliency.metrics import pic

    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # what numpy 2.4 took away and it still asks for
    answers, lengths = [0.1, 0.3, 0.25, 0.6, 0.9], [100, 180, 230, 300, 500]
    monkeypatch.setattr(pic, "create_blurred_image", lambda full_img, pixel_mask: full_img + pixel_mask.sum())
    steps = iter(lengths[-1:] + lengths[:1] + lengths[1:-1])
    monkeypatch.setattr(pic, "estimate_image_entropy", lambda image: next(steps))
    replies = iter(answers[-1:] + answers[:1] + answers[1:-1])
    result = pic.compute_pic_metric(
        img=np.zeros((4, 4, 3), np.uint8),
        saliency_map=np.random.default_rng(0).random((4, 4)),
        random_mask=np.zeros((4, 4), bool),
        pred_func=lambda images: [next(replies)],
        saliency_thresholds=[0.1, 0.3, 0.5],
        num_data_points=1000,
    )
    scaled = (torch.tensor(answers, dtype=torch.float64) - 0.1) / 0.8
    assert float(information_curve(scaled, torch.tensor(lengths).double())) == pytest.approx(result.auc, abs=1e-5)


# ---- Quantus


@pytest.fixture
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus", reason="Quantus is not installed")


PLAIN = {"normalise": False, "abs": False, "disable_warnings": True, "return_aggregate": False}


def ask(metric, network, x, y, maps, masks=None, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = metric(
            model=network,
            x_batch=x.numpy(),
            y_batch=y.numpy(),
            a_batch=maps[:, None].numpy().copy(),
            s_batch=None if masks is None else masks[:, None].numpy(),
            channel_first=True,
            softmax=True,
            device="cpu",
            **more,
        )
    return torch.tensor(np.array(values, dtype=np.float64)).squeeze(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (get("relevance_mass"), "RelevanceMassAccuracy", {}),
        (get("relevance_rank"), "RelevanceRankAccuracy", {}),
        (get("attribution_localisation"), "AttributionLocalisation", {}),
        (get("top_k")(k=100), "TopKIntersection", {"k": 100}),
        (get("pointing")(tolerance=0), "PointingGame", {}),
        (get("sparseness"), "Sparseness", {}),
        (get("entropy"), "Complexity", {}),
    ],
)
def test_quantus_on_maps_alone(quantus, case, pictures, classes, maps, ours, theirs, settings):
    value = ask(getattr(quantus, theirs)(**settings, **PLAIN), None, pictures, classes, maps, case.masks)
    close(case.measure(ours).double(), value.double().view(-1))


@pytest.mark.slow
def test_quantus_effective_complexity(quantus, case, pictures, classes, maps):
    value = ask(quantus.EffectiveComplexity(eps=0.5, **PLAIN), None, pictures, classes, maps)
    own = case.with_maps(maps / maps.amax(dim=(1, 2), keepdim=True))
    shares = 0.5 / maps.amax(dim=(1, 2))
    for i, share in enumerate(shares.tolist()):
        assert own.measure(get("effective_complexity")(threshold=share))[i] == value[i]


@pytest.mark.slow
def test_quantus_pixel_flipping(quantus, case, pictures, classes, maps):
    metric = quantus.PixelFlipping(features_in_step=3 * 32, perturb_baseline=0.0, **PLAIN)
    from quantus.helpers import asserts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asserts, "assert_features_in_step", lambda **given: None)
        curves = ask(metric, small(), pictures, classes, maps.expand(4, 32, 32))
    ours = case.removal([i / 32 for i in range(33)], "zero")
    close(ours[1:].double().T, curves)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_quantus_region_perturbation(quantus, case, pictures, classes, maps, order):
    metric = quantus.RegionPerturbation(patch_size=8, regions_evaluation=16, order=order, perturb_baseline=0.0, **PLAIN)
    falls = ask(metric, small(), pictures, classes, maps)
    curve = case.removal([i / 16 for i in range(17)], "zero", 8, least=order == "lerf")
    close((curve[0] - curve[1:]).double().T, falls)
    ours = case.measure(get("aopc")(steps=16, baseline="zero", region=8, least=order == "lerf"))
    close(ours.double(), falls.sum(dim=1) / 17)


@pytest.mark.slow
def test_quantus_selectivity(quantus, case, pictures, classes, maps):
    metric = quantus.Selectivity(patch_size=8, perturb_baseline=0.0, **PLAIN)
    curves = ask(metric, small(), pictures, classes, maps)
    close(case.removal([i / 16 for i in range(1, 17)], "zero", 8).double().T, curves)


@pytest.mark.slow
def test_quantus_random_logit_on_magnitudes(quantus, pictures, classes):
    """Given our structural similarity; of two classes the other one is drawn by both."""
    network = nn.Sequential(small(), nn.Linear(CLASSES, 2)).eval()
    method = explainer("saliency")
    y = network(pictures).argmax(dim=1)
    own = Case.of(Scene.of(network, pictures), method(network, pictures, None), explainer=method)

    def explain(model, inputs, targets, **options):
        maps = method(network, torch.as_tensor(inputs), [int(t) for t in targets])
        return (maps / maps.amax(dim=(1, 2), keepdim=True))[:, None].numpy()

    from limelight.evaluation.similarity import ssim

    metric = quantus.RandomLogit(
        num_classes=2,
        similarity_func=lambda a, b, **_: ssim(
            torch.as_tensor(a).view(4, 32, 32), torch.as_tensor(b).view(4, 32, 32)
        ).numpy(),
        **PLAIN,
    )
    shown = own.maps / own.maps.amax(dim=(1, 2), keepdim=True)
    close(own.measure("random_logit").double(), ask(metric, network, pictures, y, shown, explain_func=explain).double())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["input", "output", "representation"])
def test_quantus_relative_stability(quantus, pictures, classes, kind):
    """Its objective, of one perturbed picture."""
    network, method = small(), explainer("saliency")
    own = Case.of(Scene.of(network, pictures), method(network, pictures, None), explainer=method)
    nearby = own.around(1, 0.05, 0)
    metric = getattr(quantus, f"Relative{kind.title()}Stability")(**PLAIN)
    e, es = own.maps[:, None].double().numpy(), nearby.maps[0][:, None].double().numpy()
    if kind == "input":
        theirs = metric.relative_input_stability_objective(
            pictures.double().numpy(), nearby.inputs[0].double().numpy(), e, es
        )
    elif kind == "output":
        theirs = metric.relative_output_stability_objective(
            nearby.own_logits.double().numpy(), nearby.logits[0].double().numpy(), e, es
        )
    else:
        theirs = metric.relative_representation_stability_objective(
            nearby.own_activations.flatten(1).double().numpy(),
            nearby.activations[0].flatten(1).double().numpy(),
            e,
            es,
        )
    ours = own.measure(get(f"relative_{kind}_stability")(samples=1))
    same = nearby.same[0]
    torch.testing.assert_close(ours[same], torch.from_numpy(theirs)[same], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_quantus_irof(quantus, case, pictures, classes, maps):
    """The areas over the curve differ by its start, which Quantus leaves out: compare the curves' points."""
    from limelight.evaluation.segments import segment_ranks

    segments = torch.arange(32) // 8
    segments = (segments[:, None] * 4 + segments).expand(4, -1, -1)
    ranked = segment_ranks(maps, segments)
    from quantus.helpers import utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "get_superpixel_segments", lambda img, segmentation_method: segments[0].numpy())
        patch.setattr(np, "trapz", np.trapezoid, raising=False)
        metric = quantus.IROF(perturb_func=lambda arr, mask, **_: np.where(mask, 0.0, arr), **PLAIN)
        theirs = ask(metric, small(), pictures, classes, maps)
    fill = case.scene.fill("zero")
    scores = case.scene.ask(lambda few: fill(ranked < few.view(-1, 1, 1, 1) + 1), 16) / case.scores
    close(16 - torch.trapezoid(scores.double(), dim=0), theirs)
