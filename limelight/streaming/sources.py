"""Where many pictures come from: folders, lists and tars, as one long list that need not fit in memory."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

from limelight import images, stores
from limelight.errors import InputError
from limelight.images import SUFFIXES, Photo
from limelight.stores import is_url, opened, path_of

LISTS = (".txt", ".lst", ".csv", ".jsonl")
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
FILES, LABELS = ("file", "path"), ("label", "class", "wnid", "index")
CUT_SHORT = "is cut short: copy it again"


class Item(NamedTuple):
    """A picture that can be read by any process.

    Attributes:
        path: what it is called, a URL in a store; of a member of a tar "archive.tar/name.jpg".
        label: its true class, as the source names it; None where it doesn't.
        tar: the archive it lies in.
        start: where in the archive, in bytes.
        size: how many.
    """

    path: str
    label: str | None = None
    tar: str | None = None
    start: int = 0
    size: int = 0

    def read(self) -> Photo:
        """The picture.

        Raises:
            InputError: it is none; the message begins with its path.
        """
        if self.tar is None and not is_url(self.path):
            return images.read(self.path)
        try:
            with opened(self.tar or self.path) as file:
                file.seek(self.start)
                content = file.read(self.size if self.tar else -1)
        except OSError as error:
            raise InputError(f"{self.path} can't be read: {error.strerror or error}") from error
        if self.tar and (not content or len(content) < self.size):
            raise InputError(f"{self.path} can't be read: the tar {CUT_SHORT}")
        return images.decoded(content, self.path)


def many(source: str | Path) -> bool:
    """Whether a source by itself stands for many pictures: a list, a tar, or anything in a store."""
    return is_url(source) or (_holds_many(str(source)) and not os.path.isdir(source))


def _holds_many(name: str) -> bool:
    return name.lower().endswith((".tar", *LISTS, *PACKED))


def items(sources: Iterable[str | Path], but: Path | None = None) -> Iterator[Item]:
    """The pictures of folders, lists, tars, files and patterns, in an order that is always the same.

    A folder is searched to the bottom, hidden files and the folder ``but`` left out; the name of the folder that a
    picture lies in is its label. A list is a text file with a path a line, and perhaps a tab and a label; a CSV with a
    column ``file`` or ``path``, and perhaps ``label``, ``class``, ``wnid`` or ``index``; or a file of one JSON object a
    line with those names. Its paths are relative to it. In a tar, ``name.cls`` beside ``name.jpg`` holds its label, as
    in webdataset. Each may be a URL in a store (:mod:`limelight.stores`).

    Raises:
        InputError: a source that is missing, holds no picture, or is no list or tar.
    """
    for source in sources:
        found = 0
        for item in _items(str(source), but):
            found += 1
            yield item
        if not found:
            raise InputError(f"{source} holds no pictures: looked for {' '.join(sorted(SUFFIXES))}")


def _items(source: str, but: Path | None) -> Iterator[Item]:
    if is_url(source):
        return _in_store(source, but)
    if os.path.isdir(source):
        return _folder(source, but)
    if not many(source):
        return (_file(path) for path in images.find([source]))
    if not os.path.exists(source):
        raise InputError(f"{source} does not exist: check the path")
    return _listed_or_packed(source)


def _file(path: Path) -> Item:
    return Item(str(path), path.parent.name or None)


def _listed_or_packed(source: str) -> Iterator[Item]:
    if source.lower().endswith(PACKED):
        raise InputError(f"{source} is compressed, and can't be read from the middle: unpack it to a plain .tar")
    return _tar(source) if source.lower().endswith(".tar") else _list(path_of(source))


def _in_store(source: str, but: Path | None) -> Iterator[Item]:
    if glob.has_magic(source):
        return (_file(path) for path in stores.matching(source) if _shown(path))
    path = path_of(source)
    with stores.told(source):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        return _store_folder(path, but)
    if not is_file:
        raise InputError(f"{source} does not exist: check the URL")
    return _listed_or_packed(source) if _holds_many(source) else iter([_file(path)])


def _store_folder(folder: Path, but: Path | None) -> Iterator[Item]:
    """As :func:`_folder`, in a store, which has no links."""
    if folder == but:
        return
    entries = stores.entries(folder)
    yield from (_file(path) for path, is_folder in entries if not is_folder and _shown(path))
    for path, is_folder in entries:
        if is_folder and not path.name.startswith("."):
            yield from _store_folder(path, but)


def _shown(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _folder(folder: str, but: Path | None, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Item]:
    """The pictures in a folder, then those in the folders within it; a link back to one ``above`` is not followed."""
    try:
        facts = os.stat(folder)
        entries = sorted((entry for entry in os.scandir(folder) if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} can't be read: {error.strerror or error}") from error
    here = facts.st_dev, facts.st_ino
    if here in above or (but and not is_url(but) and but.is_dir() and os.path.samefile(folder, but)):
        return
    label = os.path.basename(os.path.abspath(folder))
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
            yield Item(entry.path, label)
    for entry in entries:
        if entry.is_dir():
            yield from _folder(entry.path, but, (*above, here))


def _list(file: Path) -> Iterator[Item]:
    try:
        with opened(file) as content, io.TextIOWrapper(content, "utf-8-sig", newline="") as lines:
            for path, label in _LISTED[file.suffix.lower()](file, lines):
                yield Item(path if is_url(path) else str(file.parent / path), label)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read as a list of pictures: {error}") from error


def _lines(file: Path, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for line in lines:
        path, _, label = line.rstrip("\r\n").partition("\t")
        if path and not path.startswith("#"):
            yield path, label or None


def _rows(file: Path, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    return (_named(file, number, row) for number, row in enumerate(csv.DictReader(lines), start=2))


def _objects(file: Path, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise InputError(f'line {number} of {file} is no JSON object: write {{"file": "cat.jpg", "label": "cat"}}')
        yield _named(file, number, found)


_LISTED = {".txt": _lines, ".lst": _lines, ".csv": _rows, ".jsonl": _objects}


def _named(file: Path, number: int, row: Mapping[str, Any]) -> tuple[str, str | None]:
    path = next((row[name] for name in FILES if row.get(name)), None)
    if not path:
        raise InputError(f"line {number} of {file} names no picture: it needs a column file")
    label = next((row[name] for name in LABELS if row.get(name) not in (None, "")), None)
    return str(path), None if label is None else str(label)


def _tar(file: str) -> Iterator[Item]:
    """Pictures in the order of the archive; where it is cut short, one more that says so."""
    try:
        with opened(file) as content, tarfile.open(fileobj=content, mode="r:") as archive:
            for _, group in groupby(_members(archive, content), key=lambda member: member and _key(member.name)):
                members = [member for member in group if member is not None]
                yield from _sample(file, archive, members) if members else [Item(f"{file}/...", None, file)]
    except tarfile.ReadError as error:
        raise InputError(f"{file} is no tar: {error}") from error
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror or error}") from error


def _members(archive: tarfile.TarFile, content: IO[bytes]) -> Iterator[tarfile.TarInfo | None]:
    """The files in an archive that are whole, and None where it is cut short."""
    size = content.seek(0, os.SEEK_END)
    try:
        while member := archive.next():
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue]: else it remembers all of a million
            if member.offset_data + member.size > size:
                break
            if member.isfile() and not os.path.basename(member.name).startswith("."):
                yield member
        else:
            if _ended(content, archive.offset):
                return
    except tarfile.ReadError:
        pass
    yield None


def _ended(content: IO[bytes], offset: int) -> bool:
    """Whether there is the block of zeros that ends an archive."""
    content.seek(offset)
    return content.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _key(name: str) -> str:
    """What the files of one sample have in common: everything up to the first dot after the folder."""
    folder, base = os.path.split(name)
    return os.path.join(folder, base.split(".")[0])


def _sample(file: str, archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Iterator[Item]:
    named = next((member for member in members if member.name.endswith(".cls")), None)
    label = os.path.basename(os.path.dirname(members[0].name)) or None
    if named is not None and (content := archive.extractfile(named)) is not None:
        label = content.read(1000).decode(errors="replace").strip() or None
    own = file if is_url(file) else os.path.abspath(file)
    for member in members:
        if os.path.splitext(member.name)[1].lower() in SUFFIXES:
            yield Item(f"{file}/{member.name}", label, own, member.offset_data, member.size)
