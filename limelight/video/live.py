"""Cameras and network streams: what is shown is what is there now; frames that nobody had time for are dropped."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

from limelight.errors import InputError
from limelight.video.film import Frame, pyav, rate_of, upright

T = TypeVar("T")
CAMERA = "camera:"
STREAMS = ("rtsp://", "rtsps://", "rtmp://", "rtp://", "udp://", "tcp://", "srt://")
SILENT = 10.0
"""Seconds without a frame after which a source has ended."""
UNIT = Fraction(1, 1000)
PROMPT = {"analyzeduration": "1000000", "fflags": "nobuffer"}
"""FFmpeg looks at a source for a second, not five, before it gives the first frame, and keeps none back."""
DRIVERS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


def is_live(source: str) -> bool:
    """Whether this is a camera (``camera:0``, ``camera:/dev/video2``) or a network stream (``rtsp://...``)."""
    return source.startswith((CAMERA, *STREAMS))


class Newest(Generic[T]):
    """The newest of what comes, with its number, for whoever asks; what nobody asked for in time is dropped."""

    def __init__(self, source: Iterable[T]):
        self._one: list[tuple[int, T]] = []
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._receiver = threading.Thread(target=self._receive, args=(source,), daemon=True, name="limelight-live")
        self._receiver.start()

    def end(self) -> None:
        """Let nothing come any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def closed(self) -> None:
        """End, and wait until nobody reads the source any more, so that it can be closed."""
        self.end()
        self._receiver.join()

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Each time the newest, waited for where the last one was given already.

        Raises:
            Exception: the source's own, when it fails.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._one or self._ended)
                if not self._one:
                    break
                one = self._one.pop()
            yield one
        if self._error is not None:
            raise self._error

    def _receive(self, source: Iterable[T]) -> None:
        try:
            for numbered in enumerate(source):
                with self._changed:
                    if self._ended:
                        return
                    self._one = [numbered]
                    self._changed.notify_all()
        except Exception as error:  # it is the reader's to hear of
            self._error = error
        finally:
            self.end()


@dataclass
class Live:
    """A source that does not wait; made by :func:`watching`.

    Attributes:
        container: PyAV's.
        picture: its stream of pictures.
        seconds: how long it is watched; None until it ends, or Ctrl-C.
        sounds: none: what is left out of the pictures can't be left out of the sound.
    """

    container: Any
    picture: Any
    seconds: float | None = None
    sounds: tuple[Any, ...] = ()
    unit: Fraction = UNIT

    @property
    def rate(self) -> Fraction:
        """Frames a second that are asked for; how many come out depends on the network."""
        return rate_of(self.picture)

    def read(self) -> Iterator[Frame]:
        """The newest frame, as often as it is asked for; its time is the clock's. Dropped ones' numbers are missing."""
        newest = Newest(self._decoded())
        start, last = None, -1
        try:
            with _interrupted(newest.end):
                for number, frame in newest:
                    now = time.monotonic()
                    start = now if start is None else start
                    if self.seconds is not None and now - start > self.seconds:
                        break
                    last = max(round((now - start) / UNIT), last + 1)
                    yield Frame(number, float(last * UNIT), last, upright(frame))
        finally:
            newest.closed()
        if start is None:
            raise InputError(f"{self.container.name} gave no frame")

    def _decoded(self) -> Iterator[Any]:
        """Frames until the source ends or is silent; a damaged one, as a network loses parts, is passed over."""
        from av.error import ExitError, FFmpegError

        packets = self.container.demux(self.picture)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, ExitError, FFmpegError):
                return
            with suppress(FFmpegError):
                yield from packet.decode()


@contextmanager
def watching(source: str, seconds: float | None = None) -> Iterator[Live]:
    """A camera or a stream, to be read.

    Raises:
        InputError: it can't be reached, or shows no pictures.
        MissingExtra: PyAV is not installed.
    """
    av = pyav()
    how: dict[str, Any] = {"timeout": SILENT, "options": dict(PROMPT)}
    where = source
    if source.startswith(CAMERA):
        driver, path = DRIVERS.get(sys.platform, DRIVERS["linux"])
        device = source.removeprefix(CAMERA)
        where, how["format"] = (path.format(device) if device.isdecimal() else device), driver
    elif source.startswith("rtsp"):
        how["options"]["rtsp_transport"] = "tcp"
    try:
        container = av.open(where, **how)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(f"{source} can't be watched: {said}; check that it is there and shows pictures") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{source} shows no pictures: give a camera or a stream with video")
        yield Live(container, container.streams.video[0], seconds)


@contextmanager
def _interrupted(end: Callable[[], None]) -> Iterator[None]:
    """While this lasts Ctrl-C ends the source, so that what was seen is written; only the main thread hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: end())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
