"""A scene and its cases: what is asked of the network, how often, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.engines import Engine
from limelight.errors import InputError, MetricError
from limelight.evaluation import REGISTRY, Case, Scene, chance_maps, explainer, get
from limelight.evaluation.case import KNOWN
from limelight.evaluation.registry import QUESTIONS
from tests.evaluation.worlds import Linear, grad_cam_case, linear_case, noise, square
from tests.networks import Plain, pictures, untouched

listed = pytest.mark.parametrize("name", REGISTRY)


def everything(network=None, x=None) -> Case:
    """A case that was given all there is."""
    x = pictures(3) if x is None else x
    with torch.random.fork_rng():
        torch.manual_seed(7)
        mislabelled = Plain().to(x.dtype)
    return grad_cam_case(
        network or Plain(),
        x,
        2,
        masks=square(len(x), (12, 12), slice(3, 9), slice(2, 7)),
        controls=torch.linspace(0, 1, 36).view(1, 6, 6).expand(len(x), -1, -1),
        mislabelled=mislabelled,
    )


# ---- what every metric must keep


@listed
def test_a_finite_value_in_range_for_each_picture_from_a_network_that_leaves_as_it_came(name):
    network = Plain()
    with untouched(network):
        values = everything(network).measure(name)
    assert values.shape == (3,)
    assert values.isfinite().all()
    low, high = REGISTRY[name].range
    assert (values >= low - 1e-6).all()
    assert (values <= high + 1e-6).all()


@listed
def test_a_picture_alone_is_the_picture_in_a_batch(name):
    torch.manual_seed(0)
    network = Plain().eval().double()
    x = pictures(3, dtype=torch.float64)
    together = everything(network, x).measure(name)
    torch.testing.assert_close(everything(network, x[1:2]).measure(name), together[1:2], rtol=1e-4, atol=1e-6)


@listed
def test_measured_twice_it_answers_the_same(name):
    network = Plain().eval()
    assert torch.equal(everything(network).measure(name), everything(network).measure(name))


@listed
def test_the_registry_says_what_a_reader_must_know(name):
    metric = REGISTRY[name]
    assert metric.name == name
    assert metric.title
    assert metric.source
    assert metric.question in QUESTIONS
    assert metric.better in ("higher", "lower", None)
    assert metric.range[0] < metric.range[1]
    assert metric.function.__doc__
    assert set(metric.needs) <= KNOWN
    assert metric(**metric.options).options == metric.options
    assert get(name.replace("_", "-").upper()) is get(metric) is metric


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(MetricError, match=r"no metric is called 'deltion'\. Did you mean 'deletion'"):
        get("deltion")
    with pytest.raises(MetricError, match="metric 'deletion' has no setting 'colour'; its settings: steps"):
        get("deletion")(colour=1)


# ---- the scene


def test_a_class_is_scored_on_the_scale_asked_for():
    torch.manual_seed(0)
    network, x = Plain().eval(), pictures()
    logits = network(x).detach()
    best = logits.argmax(dim=1)
    for scale, of in [
        ("probability", logits.softmax(dim=1)),
        ("logit", logits),
        ("log probability", logits.log_softmax(dim=1)),
    ]:
        torch.testing.assert_close(Scene.of(network, x, scale=scale).scores, of.gather(1, best[:, None])[:, 0])
        torch.testing.assert_close(Scene.of(network, x, [0, 3], scale=scale).scores, of[[0, 1], [0, 3]])
    torch.testing.assert_close(Scene.of(network, x, ll.log_probability(1)).scores, logits.log_softmax(dim=1)[:, 1])
    torch.testing.assert_close(
        Scene.of(network, x, lambda out: out[:, 0] - out[:, 1]).scores, logits[:, 0] - logits[:, 1]
    )


class Counting(Plain):
    """Counts the pictures it is shown."""

    def __init__(self):
        super().__init__()
        self.pictures = 0

    def forward(self, x):
        self.pictures += len(x)
        return super().forward(x)


def test_no_perturbed_picture_is_asked_about_twice(monkeypatch):
    monkeypatch.setattr("limelight.head.WORTH", 10**9)  # so that the network is seen to run
    network = Counting()
    case = grad_cam_case(network, pictures(3), 2)
    network.pictures = 0
    case.measure(get("deletion")(steps=10))
    assert network.pictures == 3 * 10  # the picture as it is has been seen
    case.measure(get("insertion")(steps=10))
    assert network.pictures == 3 * 19  # nor is the empty one seen again
    for name in ("margin", "deletion", "insertion"):
        case.measure(get(name)(steps=10))
    case.measure(get("comprehensiveness")(bins=(0.1, 0.2, 0.5)))
    assert network.pictures == 3 * 19
    other = case.with_maps(-case.maps)
    other.measure(get("deletion")(steps=10))
    assert network.pictures == 3 * 28, "of other maps, the empty picture is known"


def test_a_scene_of_a_layer_asks_the_head_alone():
    torch.manual_seed(0)
    network, x = Plain().eval(), pictures()
    scene = Scene.of(network, x, 2, layer="cut")
    assert scene.images.shape == (2, 8, 6, 6)
    case = Case.of(scene, explainer("gradcam", "cut")(network, x, 2))
    removed = torch.zeros(1, 2, 6, 6, dtype=torch.bool)
    removed[..., :3, :] = True
    expected = []
    for activations in torch.where(removed[0, :, None], 0, network.features(x)):
        expected.append(network.fc(network.head(activations[None])).softmax(dim=1)[0, 2])
    torch.testing.assert_close(scene.ask(lambda few: scene.fill("zero")(removed), 1)[0], torch.stack(expected).detach())
    assert case.measure(get("deletion")(steps=36, baseline="mean")).shape == (2,)


# ---- bad input


def test_what_does_not_fit_is_refused_in_one_line():
    network, x = Plain(), pictures()
    scene = Scene.of(network, x)
    maps = torch.rand(2, 6, 6)
    mask = square(2, (12, 12), slice(2, 4), slice(2, 4))
    empty = mask & (torch.arange(2) < 1)[:, None, None]
    for message, make in {
        "a picture at least": lambda: Scene.of(network, x[0]),
        "one question an image, and 2": lambda: Scene.of(network, x, ll.top(2)),
        "no scale is called 'odds'": lambda: Scene.of(network, x, scale="odds"),
        "maps of shape (3, 6, 6) for 2 pictures": lambda: Case.of(scene, torch.rand(3, 6, 6)),
        "NaN or infinity": lambda: Case.of(scene, maps * torch.nan),
        "masks of shape (2, 6, 6) do not fit 2 inputs of 12 x 12 pixels": lambda: Case.of(scene, maps, masks=maps > 0),
        "the mask of picture 1 marks nothing": lambda: Case.of(scene, maps, masks=empty),
        "box 2, 3, 13, 5 is empty or lies outside its picture of 12 x 12 pixels": lambda: Case.of(
            scene, maps, boxes=[torch.tensor([[2.0, 3, 13, 5]])] * 2
        ),
        "boxes for 1 pictures, where there are 2": lambda: Case.of(scene, maps, boxes=[torch.tensor([[2.0, 3, 4, 5]])]),
        "needs masks or boxes": lambda: Case.of(scene, maps).measure("pointing"),
        "needs an explainer": lambda: Case.of(scene, maps).measure("coherence"),
        "no baseline is called 'black'": lambda: Case.of(scene, maps).measure(get("deletion")(baseline="black")),
    }.items():
        with pytest.raises((MetricError, InputError)) as raised:
            make()
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_case_knows_what_it_can_be_asked():
    bare = linear_case()
    assert bare.can("deletion")
    assert not bare.can("pointing")
    assert not bare.can("coherence")
    assert everything().can("pointing")
    assert everything().can("coherence")
    assert linear_case(boxes=[torch.tensor([[0.0, 0, 3, 3]])] * 3).can("pixel_ap")


# ---- chance


@pytest.mark.parametrize("kind", ["random", "centre", "edges"])
def test_chance_maps_are_measured_like_any_other(kind):
    case = everything()
    chance = case.chance(kind)
    torch.testing.assert_close(chance.maps, chance_maps(kind, case.inputs, (4, 4)))
    assert chance.maps.shape == case.maps.shape == (3, 4, 4)
    assert not chance.can("coherence"), "nobody made it who could be asked again"
    assert chance.measure("deletion").isfinite().all()


def test_a_random_map_belongs_to_its_picture_and_not_to_its_batch():
    x = noise()
    whole = chance_maps("random", x, (6, 6))
    assert torch.equal(chance_maps("random", x[1:], (6, 6), first=1), whole[1:])
    assert not torch.equal(whole[0], whole[1])


def test_a_chance_map_that_is_not_known_is_refused():
    with pytest.raises(MetricError, match="no chance map is called 'nothing'; there are random, centre, edges"):
        chance_maps("nothing", noise(), (6, 6))


def test_edges_lie_where_the_picture_changes():
    x = torch.zeros(1, 3, 40, 40)
    x[..., 20:] = 1
    found = chance_maps("edges", x, (40, 40))[0]
    assert found[:, 18:22].mean() > 20 * found[:, :8].mean()


def test_the_method_asked_again_is_asked_the_same():
    network, x = Plain().eval(), pictures()
    case = grad_cam_case(network, x)
    torch.testing.assert_close(case.explain(x), case.maps)
    classes = network(x).argmax(dim=1).tolist()
    moved = x.flip(0)
    torch.testing.assert_close(case.explain(moved), ll.explain(network, moved, classes).raw[:, 0])


def test_linear_networks_and_layers_of_several_maps_are_explained_too():
    assert explainer("saliency")(Linear().float(), noise().float(), 0).shape == (3, 12, 12)
    torch.manual_seed(0)
    assert explainer("gradcam", ["stem", "cut"])(Plain(), pictures(), 1).shape == (2, 12, 12)


# ---- an engine in the network's place


def by(network: nn.Module, precision: str = "float32", scale: float = 1.0) -> Engine:
    """An engine of the network's own scores, off by a factor."""
    made = ll.engine("eager", network, size=12, target=0)
    seen: list[int] = []

    def scores(images):
        seen.append(len(images))
        return network(images) * scale

    engine = replace(made, precision=precision, bare=lambda: scores)
    object.__setattr__(engine, "seen", seen)
    return engine


def test_an_engine_runs_the_altered_pictures_and_the_values_are_the_networks():
    network, x = Plain(), pictures(3)
    maps = chance_maps("random", x, (6, 6))
    engine = by(network.eval())
    own, other = Scene.of(network, x, 2), Scene.of(network, x, 2, engine=engine)
    for name in ("deletion", "insertion", "average_drop", "sensitivity_n"):
        torch.testing.assert_close(Case.of(other, maps).measure(name), Case.of(own, maps).measure(name))
    assert sum(engine.seen) > 60


@pytest.mark.parametrize(("precision", "scale"), [("float32", 1.1), ("bfloat16", 3.0), ("float32", float("nan"))])
def test_an_engine_that_scores_the_pictures_otherwise_is_refused(precision, scale):
    network = Plain().eval()
    with pytest.raises(MetricError, match=r"off the network's scores of these pictures, where .* is let pass"):
        Scene.of(network, pictures(3), 2, scale="logit", engine=by(network, precision, scale))


def test_an_engine_is_for_the_whole_network_and_class_scores():
    network = Plain().eval()
    with pytest.raises(MetricError, match="engine eager runs the whole network"):
        Scene.of(network, pictures(2), 2, layer="cut", engine=by(network))
    dense = nn.Conv2d(3, 4, 1)
    with pytest.raises(MetricError, match="gives class scores, and the network's outputs are others"):
        Scene.of(dense, pictures(2), lambda out: out[:, 0].mean((1, 2)), engine=by(network))
