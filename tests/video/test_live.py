"""What is watched as it happens is never late: frames that there is no time for are dropped."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from limelight.cli import main
from limelight.errors import InputError
from limelight.video.live import Newest, is_live
from tests.tiny import LABELS, tiny

pytest.importorskip("av", reason="PyAV is not installed: pip install 'limelight[video]'")

import av

from limelight.video.explaining import explain_film
from tests.video.clips import frames_of

RATE, SIDE = 24, 64


def test_the_newest_is_given_and_what_nobody_asked_for_is_dropped():
    sent: queue.Queue[str | None] = queue.Queue()
    newest = Newest(iter(sent.get, None))
    reader = iter(newest)
    sent.put("a")
    assert next(reader) == (0, "a")
    for one in "bcd":
        sent.put(one)
    while newest._one != [(3, "d")]:
        time.sleep(0.001)
    sent.put(None)
    assert list(reader) == [(3, "d")]


def test_what_fails_is_heard_of_after_what_came_before():
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the cable was pulled")

    reader = iter(Newest(source()))
    assert next(reader) == (0, 1)
    with pytest.raises(OSError, match="cable"):
        next(reader)


def test_one_that_is_ended_gives_no_more():
    waiting: queue.Queue[None] = queue.Queue()
    newest = Newest(iter(waiting.get, 1))
    newest.end()
    assert list(newest) == []


@pytest.fixture
def stream() -> Iterator[str]:
    """A network stream of grey pictures, each lighter than the one before, in real time until it is done with."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = threading.Event()

    def send() -> None:
        with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as out:
            picture = out.add_stream("mpeg2video", rate=RATE)
            picture.width = picture.height = SIDE
            picture.pix_fmt, picture.options = "yuv420p", {"g": "4"}
            start = time.monotonic()
            for number in range(60 * RATE):
                frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), number % 250, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                out.mux(picture.encode(frame))
                if done.wait(max(start + number / RATE - time.monotonic(), 0)):
                    return

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield f"udp://127.0.0.1:{port}"
    done.set()
    sender.join()


def slow(images: torch.Tensor):
    """An engine that takes longer than a frame lasts."""
    time.sleep(4 / RATE)
    return torch.zeros(len(images), len(LABELS)), torch.zeros(len(images), dtype=torch.int64), torch.rand(1, 4, 4)


def test_a_slow_network_sees_fewer_frames_not_older_ones(stream, tmp_path):
    """The light of each frame tells when it was sent: what is shown keeps up with the clock, whatever is dropped."""
    told = explain_film(tiny(), stream, tmp_path / "out.mkv", engine=slow, smooth=0, seconds=2, look={"alpha": 0})
    when, pixels = frames_of(tmp_path / "out.mkv")
    assert len(told) == len(when) and told[-1].frame + 1 > 2 * len(told), "more were dropped than shown"
    assert when[-1] <= 2.1
    lights = [float(frame[:32].mean()) for frame in pixels]
    sent = np.asarray([one.frame for one in told[1:]]) - told[1].frame
    np.testing.assert_allclose(np.asarray(lights[1:]) - lights[1], sent, atol=12)
    # without dropping, two seconds would end half a second into the stream
    shown = (told[-1].frame - told[1].frame) / RATE
    assert abs(shown - (told[-1].seconds - told[1].seconds)) < 1


def test_control_c_ends_a_stream_and_keeps_what_was_seen(stream, tmp_path):
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    told = explain_film(tiny(), stream, tmp_path / "out.mkv", smooth=0, seconds=30)
    assert 0 < told[-1].seconds < 10
    assert len(frames_of(tmp_path / "out.mkv")[0]) == len(told)


@pytest.mark.parametrize("source", ["camera:/dev/no-such-camera", "rtsp://127.0.0.1:9/door", "udp://nowhere.invalid:1"])
def test_what_can_not_be_watched_is_one_line(source, tmp_path):
    assert is_live(source)
    result = CliRunner().invoke(main, ["video", source, str(tmp_path / "out.mp4")])
    assert result.exit_code == 2
    assert f"{source} can't be watched" in result.stderr
    assert not list(tmp_path.iterdir())


def test_seconds_are_for_what_has_no_end(tmp_path):
    with pytest.raises(InputError, match="seconds are for a camera or a stream"):
        explain_film(tiny(), Path("film.mp4"), tmp_path / "out.mp4", seconds=2)
