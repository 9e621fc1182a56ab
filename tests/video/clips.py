"""Short films made on the spot: pictures that move, and a tone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE, SOUND = 24, 44_100


def moving(picture: Image.Image, frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """A window of a size going over a picture from its left to its right."""
    width, height = size
    far, down = picture.width - width, (picture.height - height) // 2
    places = [round(far * number / max(frames - 1, 1)) for number in range(frames)]
    return [np.asarray(picture.crop((x, down, x + width, down + height))) for x in places]


def write(
    file: Path, frames: Sequence[np.ndarray], sound: bool = True, when: Callable[[int], int] = lambda number: number
) -> Path:
    """A film of these frames, ``(height, width, 3)``; frame ``n`` is shown at ``when(n) / RATE`` seconds."""
    with av.open(str(file), "w") as out:
        picture = out.add_stream("h264", rate=RATE)
        picture.height, picture.width = frames[0].shape[:2]
        picture.pix_fmt, picture.options = "yuv420p", {"crf": "12", "preset": "veryfast"}
        tone = out.add_stream("aac", rate=SOUND, layout="mono") if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = when(number), Fraction(1, RATE)
            out.mux(picture.encode(frame))
        out.mux(picture.encode())
        if tone is not None:
            for start in range(0, int((when(len(frames) - 1) + 1) / RATE * SOUND) - 1024, 1024):
                wave = np.sin(np.arange(start, start + 1024) * (2 * np.pi * 440 / SOUND)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(wave[None] * 0.3, format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = SOUND, start, Fraction(1, SOUND)
                out.mux(tone.encode(samples))
            out.mux(tone.encode())
    return file


def sound_of(file: Path) -> list[tuple[float, bytes]]:
    """When and what each packet of sound is."""
    with av.open(str(file)) as film:
        packets = [packet for packet in film.demux(audio=0) if packet.dts is not None]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def frames_of(file: Path) -> tuple[list[float], list[np.ndarray]]:
    """When each frame is shown, and its pixels."""
    with av.open(str(file)) as film:
        found = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    return [when for when, _ in found], [pixels for _, pixels in found]
