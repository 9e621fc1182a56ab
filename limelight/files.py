"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limelight import stores
from limelight.errors import InputError

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space, or write elsewhere",
    errno.EDQUOT: "your disk quota is used up: free some space, or write elsewhere",
    errno.EACCES: "it may not be written: choose another folder",
    errno.EPERM: "it may not be written: choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "there is a folder of that name",
}


@contextmanager
def aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, beside ``path``; renamed into its place when the block ends well, removed when it does not.

    A reader never meets half a file, and what stood at ``path`` stays until the new one is whole. The folder is made if
    need be. The name aside is hidden and ends as ``path`` does, for writers that go by the ending. For a file in a
    store (:mod:`limelight.stores`) it is a temporary one of this machine, which is then sent there.

    Raises:
        InputError: it can't be written: a full disk, a folder that may not be written.
    """
    path = stores.path_of(path)
    if stores.is_url(path):
        with tempfile.TemporaryDirectory(prefix="limelight-") as folder:
            partial = Path(folder) / path.name
            yield partial
            stores.put(partial, path)
        return
    partial = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part.{path.name}")
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file that is there whole or not at all (see :func:`aside`); text as UTF-8. Gives the path."""
    with aside(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return stores.path_of(path)


def forget_partial(folder: str | os.PathLike[str]) -> None:
    """Remove what killed writers left aside in ``folder`` and below it; what this process is writing stays."""
    if stores.is_url(folder):  # there nothing is written aside
        return
    for left in Path(folder).rglob(".*.part.*"):
        if not left.name.startswith(f".{os.getpid()}-"):
            left.unlink(missing_ok=True)


@contextmanager
def told(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system says when ``path`` can't be written, as one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise InputError(f"{path} can't be written: {reason}") from error
