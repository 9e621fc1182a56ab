"""Each protocol gives the figure that is known beforehand, of a network that sees colours and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from limelight.errors import InputError
from limelight.models import Model
from limelight.paper import PROTOCOLS, Bench, bias, reproduce
from limelight.paper.layouts import found
from limelight.paper.localisation import CLASSIFIED, PUBLISHED
from limelight.paper.pointing import best_threshold, crossed, hits
from limelight.paper.protocol import RELU_LAYERS, is_network
from limelight.paper.shown import gathered
from tests.paper.world import colours, voc

LEFT, RIGHT, MIDDLE = (0, 16, 24, 40), (40, 16, 64, 40), (24, 24, 40, 64)


def run(name, folder, tmp_path, **more):
    """A protocol over a VOC year, with the network that sees colours; Grad-CAM unless said otherwise."""
    model = colours()
    bench = replace(Bench(model, gathered(model, found(folder)), judge=model, layer="cells"), **more)
    ready = reproduce(PROTOCOLS[name], bench, tmp_path / name)
    for _ in ready.run():
        pass
    assert not ready.errors()
    return {(one.what, one.method): one for one in ready.outcome().figures}


def test_a_box_from_the_map_is_right_where_name_and_place_are(tmp_path):
    """Right; in the wrong place; called something else, which only the second guess mends."""
    pictures = {name: {"red": LEFT} for name in "abc"}
    folder = voc(tmp_path / "VOC", pictures, {"b": {"red": RIGHT}, "c": {"green": LEFT}})
    told = run("localisation", folder, tmp_path)
    assert told["Classification error, top-1", ""].found == pytest.approx(1 / 3)
    assert told["Classification error, top-5", ""].found == 0, "the network has three classes"
    assert told["Localisation error, top-1", "gradcam"].found == pytest.approx(2 / 3)
    # Nothing on c speaks for green, so its own map is empty and its box fits nothing.
    assert told["Localisation error, top-5", "gradcam"].found == pytest.approx(2 / 3)
    assert told["Localisation error, top-1", "centre"].control
    assert told["Localisation error, top-1", "gradcam"].published is None


def test_published_figures_are_of_the_network_that_they_are_of():
    assert is_network("torchvision/vgg16.IMAGENET1K_V1", "vgg16") and is_network("vgg16", "vgg16")
    assert not is_network("torchvision/vgg16_bn", "vgg16")
    assert {network for network, _ in PUBLISHED} == set(CLASSIFIED)
    assert all(PUBLISHED[network, method][0] > CLASSIFIED[network][0] for network, method in PUBLISHED)


@pytest.mark.parametrize(("name", "kind"), [("vgg16", nn.ReLU), ("alexnet", nn.ReLU), ("googlenet", nn.Module)])
def test_the_papers_networks_are_cut_at_their_last_rectified_convolution(name, kind):
    """Behind the layer there is no convolution any more, and what it gives is not negative."""
    from torchvision import models

    with torch.device("meta"):
        quickly = {"init_weights": False} if name == "googlenet" else {}
        network = models.get_model(name, weights=None, **quickly).eval()
    modules = dict(network.named_modules())
    layer = modules[RELU_LAYERS[name]]
    after = list(modules)[list(modules).index(RELU_LAYERS[name]) + len(list(layer.named_modules())) :]
    assert isinstance(layer, kind)
    assert not any(isinstance(modules[each], nn.Conv2d) for each in after if not each.startswith("aux"))
    bench = Bench(Model(network, None, None, f"torchvision/{name}", "none"), [])
    assert bench.place("gradcam") == RELU_LAYERS[name] and bench.place("guidedbackprop") is None
    assert replace(bench, layer="features.0").place("gradcam") == "features.0"


def test_the_pointing_game_asks_what_is_there_and_rejects_what_is_not(tmp_path):
    pictures = {"a": {"red": LEFT, "green": RIGHT}, "b": {"blue": MIDDLE}, "c": {"red": RIGHT}, "d": {"green": LEFT}}
    told = run("pointing", voc(tmp_path / "VOC", pictures), tmp_path)
    assert told["Pointing game, of what is there", "gradcam"].found == 1
    assert told["Pointing game, of what is there", "centre"].found == pytest.approx(1 / 4, abs=1e-6)
    assert told["Top-5 with rejection (recall)", "gradcam"].found == 1, "a map of what is absent is empty"
    # Two of three are there on a, one of three on each of the others.
    assert told["Top-5, no map is ever rejected", "gradcam"].found == pytest.approx((2 + 1 + 1 + 1) / 12)
    assert told["Top-5, every map is rejected", "gradcam"].found == pytest.approx((1 + 2 + 2 + 2) / 12)


def test_a_threshold_is_found_on_the_other_half():
    """Brute force: on the even pictures 2 is best, on the odd ones 0.5, and each is used on the other half."""
    even = torch.tensor([[3.0, 1, 1], [1.0, 0, 0]])
    odd = torch.tensor([[0.5, 1, 1], [0.1, 0, 0]])
    assert best_threshold([even]) == 3 and best_threshold([odd]) == 0.5
    assert hits(even, 0.5).tolist() == [1, 0] and hits(odd, 3).tolist() == [0, 1]
    values, thresholds = crossed([even, odd, even, odd])
    assert values == [0.5, 0.5, 0.5, 0.5] and thresholds == (0.5, 3)


def test_occlusion_agrees_with_what_the_network_sees(tmp_path):
    told = run("faithfulness", voc(tmp_path / "VOC", {"a": {"red": LEFT}, "b": {"green": MIDDLE}}), tmp_path)
    own = told["Rank correlation with occlusion", "gradcam"]
    middle = told["Rank correlation with occlusion", "centre"]
    assert own.found > 0.7 > middle.found and own.published == 0.254 and not own.percent


def test_a_second_network_names_the_class_from_what_is_marked(tmp_path):
    """Two squares: shown one of them alone it is right, shown both or a random part it says one thing of either."""
    pictures = {"a": {"red": LEFT, "green": RIGHT}, "b": {"green": LEFT, "blue": RIGHT}}
    told = run("discrimination", voc(tmp_path / "VOC", pictures), tmp_path)
    marked = "The class is named from the marked part"
    assert told[marked, "gradcam"].found == 1
    assert told[marked, "the whole picture"].found == 0.5
    assert told["By guessing among the classes that are there", ""].found == 0.5


def test_pictures_of_one_class_are_put_beside_others(tmp_path):
    pictures = {"a": {"red": LEFT}, "b": {"green": LEFT}, "c": {"blue": RIGHT}}
    folder = voc(tmp_path / "VOC", pictures)
    model = colours()
    bench = Bench(model, gathered(model, found(folder)), judge=model, layer="cells")
    ready = reproduce(PROTOCOLS["discrimination"], bench, tmp_path / "three")
    list(ready.run())
    with pytest.raises(InputError, match="nothing could be measured: no picture has two classes"):
        ready.outcome()  # a mosaic takes four classes, and the network has three
    with pytest.raises(InputError, match="name one with --judge"):
        reproduce(PROTOCOLS["discrimination"], replace(bench, judge=None), tmp_path / "none")


def test_a_class_gains_when_what_speaks_against_it_is_gone(tmp_path):
    pictures = {"a": {"red": LEFT, "green": RIGHT}, "b": {"green": MIDDLE, "blue": LEFT}}
    told = run("counterfactual", voc(tmp_path / "VOC", pictures), tmp_path)
    against, speaks = (
        told[f"Probability gained without {kind}", "gradcam"].found
        for kind in ("what speaks against it", "what speaks for it")
    )
    assert against > 0.03 and speaks < -0.03, "a blur leaves much of what is linear in the colours"
    other = told["Share of what speaks against it on the other objects", "gradcam"].found
    assert other > 0.8 > 0.2 > told["Area of the other objects", "gradcam"].found


def test_attacks_are_measured_beside_noise(tmp_path):
    told = run("adversarial", voc(tmp_path / "VOC", {"a": {"red": LEFT}, "b": {"blue": MIDDLE}}), tmp_path)
    assert 0 <= told["Attacks that reached their class", ""].found <= 1
    assert told["The true class's map points at it, before", "gradcam"].found == 1
    noise = told["Correlation of the true class's map with the one before, with noise of the same size", "gradcam"]
    assert noise.found > 0.9 and noise.control


def test_a_run_that_was_stopped_goes_on_and_another_is_refused(tmp_path):
    folder = voc(tmp_path / "VOC", {str(number): {"red": LEFT} for number in range(17)})
    model = colours()
    bench = Bench(model, gathered(model, found(folder)), layer="cells")
    whole = reproduce(PROTOCOLS["localisation"], bench, tmp_path / "whole")
    assert list(whole.run()) == [0, 1, 2]
    broken = reproduce(PROTOCOLS["localisation"], bench, tmp_path / "broken")
    next(broken.run())
    again = reproduce(PROTOCOLS["localisation"], bench, tmp_path / "broken")
    assert again.store.done() == {0}
    list(again.run())
    assert again.rows() == whole.rows() and len({row["picture"] for row in again.rows()}) == 17
    with pytest.raises(InputError, match=r"holds another evaluation \(not the same: seed\)"):
        reproduce(PROTOCOLS["localisation"], replace(bench, seed=1), tmp_path / "broken")


def test_pictures_that_a_protocol_cannot_use_are_counted(tmp_path):
    folder = voc(tmp_path / "VOC", {"a": {"red": LEFT, "green": RIGHT}, "b": {"red": LEFT}})
    model = colours()
    bench = Bench(model, gathered(model, found(folder)), layer="cells")
    ready = reproduce(PROTOCOLS["localisation"], bench, tmp_path / "out")
    assert ready.left_out == 1 and "1 pictures of the data set are left out" in ready.differences(found(folder))[-1]
    only = replace(bench, pictures=bench.pictures[:1])
    with pytest.raises(InputError, match="takes pictures with one true class, and boxes of it, and none of 1 has that"):
        reproduce(PROTOCOLS["localisation"], only, tmp_path / "none")


def test_what_a_study_says_of_a_bias_stands_beside_the_papers_figures():
    before, after = ({"accuracy": a, "interval": [a - 0.1, a + 0.1], "pictures": 50} for a in (0.7, 0.8))
    finding = {"name": "border's colour", "sentence": "The border tells the classes apart."}
    facts = {"good": before, "findings": [finding], "remedy": {"finding": "border", "before": before, "after": after}}
    mended = bias.outcome(facts)
    assert [(one.found, one.published) for one in mended.figures] == [(0.7, 0.82), (0.8, 0.90)]
    assert "+10.0 points" in mended.answer and mended.notes == [finding["sentence"]]
    found_only = bias.outcome(facts | {"remedy": None})
    assert len(found_only.figures) == 1 and "nothing was taken away" in found_only.answer
    assert "Nothing was found" in bias.outcome(facts | {"remedy": None, "findings": []}).answer
