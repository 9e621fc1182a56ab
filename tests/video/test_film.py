"""A film comes out as long as it went in, with its own sound, and what is wrong with one is a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import limelight as ll
from limelight import models
from limelight.cli import main
from limelight.errors import InputError, LimelightWarning
from limelight.video.explaining import explain_film
from tests.pictures import noise
from tests.tiny import tiny

pytest.importorskip("av", reason="PyAV is not installed: pip install 'limelight[video]'")

from tests.video.clips import frames_of, moving, sound_of, write

COUNT = 30
SIZE = (98, 66)


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two shots, with sound."""
    frames = [f for seed in (1, 2) for f in moving(noise(seed).resize((160, 66)), COUNT // 2, SIZE)]
    return write(tmp_path_factory.mktemp("clip") / "in.mp4", frames)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_frames_and_sound_come_out_as_they_went_in(model, clip, tmp_path, ending):
    """Every frame at its time with the sound, and the very bytes of it; Matroska has all of it begin at 0."""
    told = explain_film(model, clip, tmp_path / f"out.{ending}")
    when, pixels = frames_of(tmp_path / f"out.{ending}")
    before, _ = frames_of(clip)
    assert len(told) == COUNT
    assert {frame.shape for frame in pixels} == {(SIZE[1], SIZE[0], 3)}
    sounds, own = sound_of(tmp_path / f"out.{ending}"), sound_of(clip)
    assert [content for _, content in sounds] == [content for _, content in own]
    shift = sounds[0][0] - own[0][0]
    assert ending == "mkv" or shift == pytest.approx(0, abs=1e-3)
    assert [at - shift for at in when] == pytest.approx(before, abs=1e-3)
    assert [at - shift for at, _ in sounds] == pytest.approx([at for at, _ in own], abs=2e-3)


def test_a_frame_shows_the_map_that_explain_gives(model, clip, tmp_path):
    """Without smoothing what is drawn is the overlay of that very frame, but for the caption and the encoder's loss."""
    _, frames = frames_of(clip)
    told = explain_film(model, clip, tmp_path / "out.mkv", 1, smooth=0)
    _, shown = frames_of(tmp_path / "out.mkv")
    for number in (0, 20):
        wanted = ll.explain(model, frames[number], 1, fit="whole")
        overlay = np.asarray(wanted.overlay(), float)[:40]
        assert np.abs(overlay - shown[number][:40]).mean() < 12
        assert told[number].probability == pytest.approx(float(wanted.probabilities), abs=1e-4)
        assert told[number].peak == pytest.approx(wanted.peaks[0, 0].tolist(), abs=0.1)
    assert [one.shot for one in told] == [0] * (COUNT // 2) + [1] * (COUNT // 2)


def test_every_nth_frame_and_the_first_of_each_shot_are_asked(model, clip, tmp_path):
    told = explain_film(model, clip, tmp_path / "out.mp4", every=4)
    assert [one.frame for one in told if one.said is not None] == sorted({*range(0, COUNT, 4), COUNT // 2})
    assert all(one.label for one in told)


def test_frames_at_uneven_times_stay_there(model, tmp_path):
    """As a telephone films."""
    frames = moving(noise(1).resize((160, 66)), 12, SIZE)
    clip = write(tmp_path / "uneven.mp4", frames, sound=False, when=lambda number: number + (number > 5) * 7)
    explain_film(model, clip, tmp_path / "out.mp4")
    assert frames_of(tmp_path / "out.mp4")[0] == pytest.approx(frames_of(clip)[0], abs=1e-3)


def test_a_film_that_is_cut_short_gives_what_it_holds(model, tmp_path):
    clip = write(tmp_path / "in.mkv", moving(noise(3).resize((400, 66)), 40, SIZE))
    (tmp_path / "cut.mkv").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    told = explain_film(model, tmp_path / "cut.mkv", tmp_path / "out.mkv")
    assert 0 < len(told) < 40
    assert len(frames_of(tmp_path / "out.mkv")[0]) == len(told)


def test_a_damaged_part_is_left_out_and_told(model, tmp_path):
    clip = write(tmp_path / "in.mkv", moving(noise(3).resize((400, 66)), 60, SIZE), sound=False)
    content = bytearray(clip.read_bytes())
    third = len(content) // 3
    content[third : third + 300] = bytes(range(256)) + bytes(44)
    (tmp_path / "bad.mkv").write_bytes(content)
    try:
        told = explain_film(model, tmp_path / "bad.mkv", tmp_path / "out.mkv")
    except LimelightWarning as warned:  # the tests' setting makes it an error
        assert "damaged" in str(warned)
    else:
        assert 0 < len(told) <= 60


def test_what_can_not_be_a_film_is_one_line_and_leaves_nothing(model, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no film at all")
    write_sound(tmp_path / "sound.m4a")
    noise().save(tmp_path / "cover.png")
    cases = [
        (tmp_path / "gone.mp4", "out.mp4", "does not exist"),
        (tmp_path / "text.mp4", "out.mp4", "can't be read as a film"),
        (tmp_path / "sound.m4a", "out.mp4", "holds no video, only audio"),
        (clip, "out.film", "is no name for a film"),
        (clip, "out.webm", "sound .aac. can't be kept"),
    ]
    for source, out, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            explain_film(model, source, tmp_path / out)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / out).exists()
    with pytest.raises(InputError, match="the film itself"):
        explain_film(model, clip, clip)
    with pytest.raises(InputError, match="one map"):
        explain_film(model, clip, tmp_path / "out.mp4", ll.top(2))
    assert not list(tmp_path.glob(".*"))


def write_sound(file: Path) -> None:
    import av

    with av.open(str(file), "w", format="mp4") as out:
        tone = out.add_stream("aac", rate=44_100, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44_100
        out.mux(tone.encode(samples))
        out.mux(tone.encode())


# ---- the command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(models.save(tiny(), tmp_path_factory.mktemp("checkpoint") / "tiny"))


def video(*args: object) -> Result:
    return CliRunner().invoke(main, ["video", *map(str, args)])


def test_the_command_writes_a_film_a_table_and_a_plot(checkpoint, clip, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.mp4"
    result = video(clip, out, "--model", checkpoint, "--target", "tabby", "--every", 3, "--stats", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["frames"], found["shots"]) == (COUNT, 2)
    assert found["files"] == [str(out), str(tmp_path / "out.frames.parquet"), str(tmp_path / "out.frames.png")]
    rows = parquet.read_table(tmp_path / "out.frames.parquet").to_pylist()
    assert [row["frame"] for row in rows] == list(range(COUNT))
    assert {row["label"] for row in rows} == {"tabby"}
    assert (tmp_path / "out.frames.png").read_bytes().startswith(b"\x89PNG")


def test_an_engine_makes_the_maps(checkpoint, clip, tmp_path):
    """The network in bfloat16, an engine like any, which is made in no time."""
    out = tmp_path / "out.mp4"
    result = video(clip, out, "--model", checkpoint, "--target", "tabby", "--precision", "bfloat16", "--every", 5)
    assert result.exit_code == 0 and "engine: eager in bfloat16" in result.stderr
    assert len(frames_of(out)[1]) == COUNT


def test_a_source_without_video_is_one_line_before_a_network_is_loaded(tmp_path):
    write_sound(tmp_path / "sound.m4a")
    result = video(tmp_path / "sound.m4a", tmp_path / "out.mp4", "--model", "no such network")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [f"error: {tmp_path}/sound.m4a holds no video, only audio: give a film"]


@pytest.mark.slow
def test_ten_seconds_with_sound(model, tmp_path):
    """Three shots, at a size that people film in: the same length and sound, and it decodes to its end."""
    frames = [f for seed in (1, 2, 3) for f in moving(noise(seed).resize((700, 480)), 84, (640, 480))]
    clip = write(tmp_path / "in.mp4", frames)
    told = explain_film(model, clip, tmp_path / "out.mp4", every=4)
    when, pixels = frames_of(tmp_path / "out.mp4")
    assert when == pytest.approx(frames_of(clip)[0], abs=1e-3)
    assert when[-1] > 10
    assert len(pixels) == len(told) == len(frames)
    assert [one for _, one in sound_of(tmp_path / "out.mp4")] == [one for _, one in sound_of(clip)]
    assert told[-1].shot == 2


def test_the_layers_worth_most_are_no_one_layer(model, clip, tmp_path):
    with pytest.raises(InputError, match="maps of one layer"):
        explain_film(model, clip, tmp_path / "out.mp4", layer="auto")
