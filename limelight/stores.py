"""Files and folders in an object store, named by a URL (``s3://bucket/photos``), beside those of this machine.

fsspec speaks to the store, and universal_pathlib gives its files the methods of paths. Which stores there are, and how
one signs in, is fsspec's affair: its own packages (``s3fs``, ``gcsfs``, ``adlfs``), settings and environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from limelight.errors import InputError, LimelightError, MissingExtra, one_line


def is_url(name: object) -> bool:
    """Whether this names a file or folder in a store."""
    return "://" in str(name)


def path_of(name: str | os.PathLike[str]) -> Path:
    """The path of a file or folder of this machine, or of a store by its URL, which has the same methods.

    Raises:
        InputError: no such kind of store is known.
        MissingExtra: universal_pathlib, or the package of that store, is not installed.
    """
    if not is_url(name):
        return Path(name)
    try:
        from upath import UPath
    except ImportError as missing:
        raise MissingExtra("universal_pathlib", "store", "An object store") from missing
    with told(name):
        path = UPath(str(name))
        _ = path.fs  # a store that is not known is told here, once
    return cast(Path, path)


@contextmanager
def opened(name: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file's bytes, to be read from any place on; of a store by a connection of this process's own.

    A connection does not survive a fork, and processes that read pictures are forked.

    Raises:
        OSError: of a file of this machine, as ever.
        InputError: of a store's, whatever the store says.
    """
    if not is_url(name):
        with open(name, "rb") as file:
            yield file
        return
    import fsspec

    with told(name), cast(Any, fsspec.open(str(name), "rb")) as file:
        yield file


def put(local: Path, path: Path) -> None:
    """Send a file to its place in a store: it is there whole or not at all.

    Raises:
        InputError: whatever the store says.
    """
    with told(path, "written"):
        store(path).put_file(str(local), _key(path))


def store(path: Path) -> Any:
    """What fsspec knows of a path's store; it forgets what it saw in a folder, where others may have written since."""
    files = cast(Any, path).fs
    files.invalidate_cache()
    return files


def entries(folder: Path) -> list[tuple[Path, bool]]:
    """What lies in a store's folder, and whether it is a folder itself, in the order of the names.

    Raises:
        InputError: whatever the store says.
    """
    with told(folder):
        found = store(folder).ls(_key(folder), detail=True)
    named = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in found}
    named.pop(_key(folder).rstrip("/"), None)  # some stores keep an empty file in a folder's place
    return [(folder / key.rpartition("/")[2], named[key]) for key in sorted(named)]


def names(folder: Path) -> list[str]:
    """The names of what lies in a folder of this machine or of a store, in no order.

    Raises:
        OSError: of a folder of this machine, as ever.
        InputError: of a store's, whatever the store says.
    """
    return [path.name for path, _ in entries(folder)] if is_url(folder) else os.listdir(folder)


def matching(pattern: str) -> list[Path]:
    """The files of a store that a pattern with ``*`` and ``**`` stands for, in the order of their names.

    Raises:
        InputError: whatever the store says.
    """
    path = path_of(pattern)
    with told(pattern):
        files = store(path)
        return [path_of(files.unstrip_protocol(found)) for found in sorted(files.glob(_key(path)))]


@contextmanager
def told(name: object, what: str = "read") -> Iterator[None]:
    """What a store says when ``name`` can't be read or written, whatever kind of error, as one line."""
    try:
        yield
    except LimelightError:
        raise
    except Exception as error:  # every store has errors of its own
        raise InputError(f"{name} can't be {what}: {one_line(error, 300) or type(error).__name__}") from error


def _key(path: Path) -> str:
    """What a store itself calls a path."""
    return cast(Any, path).path
