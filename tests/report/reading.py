"""A page read by the standard library's parser: what a browser or a screen reader would find."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "img", "br", "hr", "input", "col"}


class Read(HTMLParser):
    """The tags with their attributes, the text, and what does not fit together."""

    def __init__(self, document: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def headings(self) -> list[int]:
        return [int(tag[1]) for tag, _ in self.tags if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()]


def check_page(document: str) -> Read:
    """What every page keeps: it is well-formed, refers to nothing outside itself, and can be read without seeing."""
    read = Read(document)
    assert not read.unbalanced
    assert not read.open
    ids = read.ids()
    assert len(ids) == len(set(ids)), sorted(each for each in ids if ids.count(each) > 1)
    for _, attributes in read.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            if name in attributes:
                reference = attributes[name]
                assert reference.startswith(("data:", "#")), reference
                assert not reference.startswith("#") or reference[1:] in ids, reference
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
    assert "@import" not in document
    assert all(picture.get("alt") for picture in read.all("img")[:-1])  # the last waits for what will be enlarged
    for drawing in read.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-labelledby"]
    headings = read.headings()
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings)), headings
    return read
