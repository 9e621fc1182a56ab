"""Films in and out, by PyAV: frames as pixels, sound as it came."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from limelight.errors import InputError, LimelightWarning, MissingExtra
from limelight.files import aside

RATE = Fraction(25)
"""Frames a second of a film that doesn't say."""


@dataclass(frozen=True)
class Frame:
    """One picture of a film.

    Attributes:
        number: its place, from 0.
        seconds: when it is shown, from the beginning.
        pts: the same in the film's own unit.
        pixels: ``(height, width, 3)`` uint8 RGB, upright.
    """

    number: int
    seconds: float
    pts: int
    pixels: np.ndarray = field(repr=False)


class Source(Protocol):
    """What frames come from: a film, or something that is watched while it happens."""

    @property
    def unit(self) -> Fraction:
        """Seconds that the frames' ``pts`` count in."""
        ...

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        ...

    @property
    def sounds(self) -> tuple[Any, ...]:
        """PyAV's streams of sound."""
        ...

    def read(self) -> Iterator[Frame | Any]:
        """Frames, and packets of the sound."""
        ...


@dataclass(frozen=True)
class Film:
    """A film that is open for reading; made by :func:`opened`.

    Attributes:
        container: PyAV's.
        picture: its stream of pictures, the first.
        sounds: its streams of sound.
    """

    container: Any
    picture: Any
    sounds: tuple[Any, ...]

    @property
    def unit(self) -> Fraction:
        """Seconds that ``pts`` counts in."""
        return self.picture.time_base

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return rate_of(self.picture)

    @property
    def count(self) -> int:
        """How many frames there are, as far as the file says."""
        if self.picture.frames:
            return self.picture.frames
        seconds = (self.container.duration or 0) / 1e6
        return max(round(seconds * self.rate), 1)

    def read(self) -> Iterator[Frame | Any]:
        """Its frames, and PyAV's packets of its sound, as they lie in the file.

        Warns:
            LimelightWarning: a part is damaged, and was left out.
        """
        number, broken, last = 0, 0, -1
        for packet in self._packets():
            if packet.stream.type == "audio":
                yield packet
                continue
            for frame in self._decoded(packet):
                if frame is None:
                    broken += 1
                    continue
                pts = frame.pts if frame.pts is not None and frame.pts > last else last + self._step
                last = pts
                yield Frame(number, float(pts * self.picture.time_base), pts, upright(frame))
                number += 1
        if broken:
            said = f"{broken} damaged part{'s' * (broken > 1)} of the film could not be decoded: left out"
            warnings.warn(said, LimelightWarning, stacklevel=2)
        if not number:
            raise InputError(f"{self.container.name} has no frame that can be decoded")

    @property
    def _step(self) -> int:
        return max(round(1 / (self.rate * self.picture.time_base)), 1)

    def _packets(self) -> Iterator[Any]:
        from av.error import FFmpegError

        packets = self.container.demux(self.picture, *self.sounds)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:  # cut short: what there was has been given
                return
            yield packet

    def _decoded(self, packet: Any) -> Iterator[Any]:
        """The frames of a packet, or None where it is damaged."""
        from av.error import FFmpegError

        try:
            yield from packet.decode()
        except FFmpegError:
            yield None


@contextmanager
def opened(source: str | Path) -> Iterator[Film]:
    """A film, to be read.

    Raises:
        InputError: it does not exist, is no film, or has no pictures.
        MissingExtra: PyAV is not installed.
    """
    av = pyav()
    try:
        container = av.open(str(source))
    except FileNotFoundError:
        raise InputError(f"{source} does not exist: check the path") from None
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{source} can't be read as a film: {getattr(error, 'strerror', None) or error}") from error
    with container:
        pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not pictures:
            others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise InputError(f"{source} holds no video, only {others}: give a film")
        pictures[0].thread_type = "AUTO"
        yield Film(container, pictures[0], tuple(container.streams.audio))


@dataclass
class Writer:
    """A film that is being written; made by :func:`written`."""

    container: Any
    picture: Any
    sounds: dict[int, Any]
    unit: Fraction
    size: tuple[int, int] | None = None
    early: list[Any] = field(default_factory=list)

    def put(self, pixels: np.ndarray, pts: int) -> None:
        """A frame, ``(height, width, 3)`` uint8; all are of the first one's size."""
        av = pyav()
        height, width = (side - side % 2 for side in pixels.shape[:2])  # most encoders want even sides
        if self.size is None:
            self.size = width, height
            self.picture.width, self.picture.height = self.size
            early, self.early = self.early, []
            for packet in early:
                self.sound(packet)
        if (width, height) != self.size:
            raise InputError(f"the film changes its size, from {self.size} to {(width, height)}: cut it there")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        frame.pts, frame.time_base = pts, self.unit
        self.container.mux(self.picture.encode(frame))

    def sound(self, packet: Any) -> None:
        """A packet of sound, as it came."""
        if self.size is None:  # a film's head, which says its size, is written with the first packet
            self.early.append(packet)
            return
        own = self.sounds.get(packet.stream.index)
        if own is not None and packet.dts is not None:
            packet.stream = own
            self.container.mux(packet)


@contextmanager
def written(out: Path, film: Source) -> Iterator[Writer]:
    """A film to be written, there whole or not at all, with the sound of another.

    Raises:
        InputError: no film ends like that, it can't hold the sound, or it can't be written.
    """
    av = pyav()
    with aside(out) as partial:
        try:
            container = av.open(str(partial), "w")
        except ValueError as error:
            raise InputError(f"{out} is no name for a film: let it end in .mp4, .mkv, .webm or .mov") from error
        try:
            picture = container.add_stream(container.default_video_codec, rate=film.rate)
            picture.pix_fmt = "yuv420p"
            picture.codec_context.time_base = film.unit
            if container.default_video_codec == "h264":
                picture.options = {"crf": "20", "preset": "veryfast"}
            writer = Writer(container, picture, _sounds(container, film, out), film.unit)
            yield writer
            if writer.size is not None:
                container.mux(picture.encode())
        finally:
            container.close()


def _sounds(container: Any, film: Source, out: Path) -> dict[int, Any]:
    found = {}
    for stream in film.sounds:
        try:
            found[stream.index] = container.add_stream_from_template(stream)
        except Exception as error:  # PyAV says a codec that does not fit in more than one way
            raise InputError(
                f"the sound ({stream.codec_context.name}) can't be kept in {out.suffix}: let {out.stem} end in .mkv"
            ) from error
    return found


def _is_cover(stream: Any) -> bool:
    """Whether it is the picture on a record's sleeve."""
    return "attached_pic" in str(getattr(stream, "disposition", "")).lower()


def rate_of(picture: Any) -> Fraction:
    """Frames a second of a stream of pictures, as far as it says."""
    return picture.average_rate or picture.guessed_rate or RATE


def upright(frame: Any) -> np.ndarray:
    """A frame's pixels: a telephone writes how it was held, and does not turn them."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(getattr(frame, "rotation", 0) / 90) % 4)


def pyav() -> Any:
    """PyAV.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
        import av.error  # pyright: ignore[reportUnusedImport]
    except ImportError as missing:
        raise MissingExtra("av", "video", "A film") from missing
    return av
