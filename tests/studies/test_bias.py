"""What the audit promises: planted biases are found, honest sets give no finding, the network is left alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import nn

from limelight.errors import InputError
from limelight.models import Model
from limelight.preprocessing import Preprocessing
from limelight.studies.bias import audit, candidates
from limelight.studies.bias.album import read_album
from limelight.studies.bias.edits import _painted_over, pixels
from limelight.studies.bias.findings import Candidate, worth
from limelight.studies.bias.patches import Whitening, cells, raw
from limelight.studies.bias.probes import probe
from limelight.studies.bias.properties import evened
from limelight.studies.bias.remedy import counterparts, weights

EACH = 40
CLASSES = ("left", "right")
MARK = np.kron(np.random.default_rng(7).integers(0, 2, (6, 9, 1)), np.ones((4, 4, 1))) * [230, 60, 40] + 15


def scene(rng: np.random.Generator) -> np.ndarray:
    """(224, 224, 3): a cloudy, noisy texture of any two colours."""
    coarse = Image.fromarray(rng.integers(0, 256, (14, 14), dtype=np.uint8)).resize(
        (224, 224), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(0, 256, (224, 224), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    share = (np.asarray(coarse, float) + 0.7 * np.asarray(fine, float))[..., None] / 434
    first, second = rng.uniform(30, 220, (2, 3))
    return first + (second - first) * share + rng.normal(0, rng.uniform(1, 9), (224, 224, 3))


def marked(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mark laid anywhere."""
    y, x = rng.integers(5, 190), rng.integers(5, 180)
    picture[y : y + 24, x : x + 36] = MARK
    return picture


def tinted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return picture * [1.1, 0.95, 0.6]


def dulled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(2)), float)


def write(folder, change=None, strength=0.95, quality=92):
    rng = np.random.default_rng(3)
    paths, labels = [], []
    for number in range(2 * EACH):
        label = number % 2
        picture = scene(rng)
        if change and rng.random() < (strength if label else 1 - strength):
            picture = change(picture, rng)
        path = folder / f"{number:03d}.jpg"
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=quality if label else 92)
        paths.append(path)
        labels.append(CLASSES[label])
    return paths, labels


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return Model(network, Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3), CLASSES, "small", "random", 2)


@pytest.fixture(scope="module")
def with_mark(tmp_path_factory):
    return write(tmp_path_factory.mktemp("mark"), marked)


@pytest.fixture(scope="module")
def findings(model, with_mark):
    model.network.train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    found = audit(model, *with_mark)
    assert model.network.training, "the network's mode was changed"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
    return found


def test_a_mark_is_found_and_placed(findings, with_mark):
    paths, _ = with_mark
    first = findings[0]
    assert (first.kind, first.label) == ("mark", "right")
    assert first.interval[0] < first.accuracy_alone < first.interval[1]
    assert first.accuracy_alone > 0.85
    pictures = {str(path): np.asarray(Image.open(path), float) for path in paths}
    assert len(first.regions) > 30
    on_mark = [_red_and_black(pictures[one["path"]], one["box"]) for one in first.regions]
    assert np.mean(on_mark) > 0.9


def _red_and_black(picture, box):
    """Whether the middle of a box is the mark: only it is this red and this dark."""
    x0, y0, x1, y1 = box
    part = picture[y0:y1, x0:x1].reshape(-1, 3)
    return np.percentile(part[:, 0] - part[:, 1], 90) > 90


def test_findings_are_ready_for_json(findings):
    (entry, *_) = json.loads(json.dumps([one.as_dict() for one in findings]))
    assert {"kind", "class", "accuracy_alone", "interval", "used", "sentence", "regions"} <= set(entry)
    assert {"effect", "interval"} <= set(entry["used"])
    assert "right" in entry["sentence"] and "%" in entry["sentence"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_findings(model, findings, with_mark):
    assert [one.as_dict() for one in audit(model, *with_mark)] == [one.as_dict() for one in findings]


@pytest.mark.slow
def test_an_honest_set_gives_no_finding(model, tmp_path):
    assert audit(model, *write(tmp_path)) == []


@pytest.mark.parametrize(("change", "kind"), [(tinted, "tint"), (dulled, "sharpness")])
def test_properties_without_a_place_are_found(tmp_path, change, kind):
    album = read_album(*write(tmp_path, change))
    kept = worth(candidates.properties(album, {}, 0), len(album))
    assert max(kept, key=lambda entry: entry[0].accuracy)[0].kind == kind


def test_an_honest_set_has_no_properties(tmp_path):
    album = read_album(*write(tmp_path))
    assert worth(candidates.properties(album, {}, 0), len(album)) == []


def test_what_only_the_file_tells_is_found(tmp_path):
    album = read_album(*write(tmp_path, quality=70))
    ((found, _, _),) = worth(candidates.files(album, 0), len(album))
    assert found.name == "files' compression"
    assert found.accuracy > 0.95
    assert found.edit is None


def test_refusals(model, with_mark, tmp_path):
    paths, labels = with_mark
    with pytest.raises(InputError, match="one label for each"):
        audit(model, paths, labels[:-1])
    with pytest.raises(InputError, match="two classes"):
        audit(model, paths, ["left"] * len(paths), ["left"])
    with pytest.raises(InputError, match="at least 8 of each"):
        audit(model, paths[:10], labels[:10])
    with pytest.raises(InputError, match="No class"):
        audit(model, paths, labels, ["left", "rigth"])


def test_whitened_patches_are_the_raw_ones_whitened():
    rng = np.random.default_rng(0)
    pictures = [cells(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)) for _ in range(6)]
    whitening = Whitening.of(pictures, 0)
    slow = nn.functional.normalize((raw(pictures[0]) - whitening.mean) @ whitening.matrix, dim=-1)
    torch.testing.assert_close(whitening(pictures[0]), slow, atol=1e-5, rtol=1e-4)


def test_a_probe_is_judged_on_pictures_it_has_not_seen():
    rng = np.random.default_rng(0)
    own = np.arange(60) % 2 == 0
    noise = rng.normal(size=(60, 5))
    assert probe(noise, own, 0).accuracy < 0.7
    told = probe(noise + 3 * own[:, None], own, 0)
    assert told.accuracy > 0.95 and told.p < 1e-6


def test_what_a_mark_hides_of_a_border_tells_no_class():
    """Marks that lie at one side with one class leave gaps there, and what is filled in must not give it away."""
    rng = np.random.default_rng(0)
    own = np.arange(160) % 2 == 0
    frames = rng.normal(size=(160, 1)) + 0.2 * rng.normal(size=(160, 16))  # the sides of a picture are alike
    framed = frames + 3 * own[:, None]
    for values in (frames, framed):
        values.reshape(160, 4, 4)[own, 3] = np.nan
    assert probe(evened(frames), own, 0).accuracy < 0.6
    assert probe(evened(framed), own, 0).accuracy > 0.9
    everywhere = np.full((160, 16), np.nan)
    assert not evened(everywhere).any()


def test_leaving_one_out_in_closed_form_is_leaving_one_out():
    from limelight.studies.bias.probes import _hat

    rng = np.random.default_rng(1)
    features, target = rng.normal(size=(12, 2)), rng.normal(size=12)
    hat = _hat(features, 0.02)
    closed = (hat @ target - np.diag(hat) * target) / (1 - np.diag(hat))
    distance = ((features[:, None] - features) ** 2).sum(-1)
    kernel = np.exp(-distance / np.median(distance))
    for i in range(12):
        rest = np.arange(12) != i
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.02 * 12 * np.eye(11), target[rest])
        assert kernel[i, rest] @ weights == pytest.approx(closed[i], abs=1e-9)


def test_many_weak_candidates_are_no_finding():
    weak = [Candidate("tint", f"t{k}", 0, 0.6, 0.02, np.zeros(80, bool), np.arange(80) % 2, None) for k in range(20)]
    assert worth(weak, 80) == []


def test_painting_over_changes_the_box_and_nothing_else():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    changed = _painted_over(picture, (70, 10, 80, 30))
    outside = np.ones((60, 80), bool)
    outside[10:30, 70:80] = False
    assert np.array_equal(changed[outside], picture[outside])
    assert changed[10:30, 70:80].std() < picture[10:30, 70:80].std() / 2


def test_a_mark_is_gone_where_it_was_and_not_in_the_control(findings):
    candidate = findings[0].candidate
    i = next(iter(candidate.boxes))
    before = pixels(candidate.edit.album, i)
    gone, beside = candidate.edit.remove(i, np.random.default_rng(0))
    x0, y0, x1, y1 = candidate.edit.album.in_file(i, candidate.boxes[i])
    at_mark = [np.abs(one[y0:y1, x0:x1].astype(float) - before[y0:y1, x0:x1]).mean() for one in (gone, beside)]
    assert at_mark[0] > 20 > at_mark[1]


def test_rebalanced_a_finding_goes_with_no_class(findings, with_mark):
    _, labels = with_mark
    first, own = findings[0], np.array(labels) == "right"
    weight, present = weights(findings[0]), first.candidate.present
    with_it = [(weight * present)[kind].sum() / weight[kind].sum() for kind in (own, ~own)]
    assert present[own].mean() - present[~own].mean() > 0.7
    assert abs(with_it[0] - with_it[1]) < 0.1
    assert weight.mean() == pytest.approx(1)


def test_a_counterpart_has_what_the_picture_lacks(findings, with_mark):
    paths, _ = with_mark
    first = findings[0]
    number, changed = next(counterparts(first))
    original = np.asarray(Image.open(paths[number]))
    assert changed.shape == original.shape
    assert not np.array_equal(changed, original)
