"""Tables: one line a row, whatever the width of the terminal."""

from __future__ import annotations

import re
import sys

from limelight import printing

LONG = "a-very-long-name-" * 10
COLUMNS, ROWS = ["photo", "probability", "source"], [[LONG, "38.2%", "Zhou 2016"], ["b.jpg", "100.0%", "Li 2020"]]


def test_at_a_terminal_a_row_is_a_line_and_numbers_are_whole(monkeypatch, capsys):
    """A long path must not break a table into slivers, nor a probability lose its digits."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    printing.table(COLUMNS, ROWS, numbers=["probability"], whole=["source"])

    head, rule, *rows = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert len(rows) == 2
    assert max(map(len, [head, rule, *rows])) <= 60
    assert "…" in rows[0]
    assert "38.2%" in rows[0]
    assert "Zhou 2016" in rows[0]


def test_elsewhere_nothing_is_cut(capsys):
    """A file or another program gets all of it."""
    printing.table(COLUMNS, ROWS, numbers=["probability"])
    assert capsys.readouterr().out.splitlines()[2].split() == [LONG, "38.2%", "Zhou", "2016"]


def test_brackets_in_names_are_not_markup(capsys):
    """``[bold]`` in a file's name is a part of the name."""
    printing.table(["photo"], [["[bold]cat[/bold].jpg"]])
    assert "[bold]cat[/bold].jpg" in capsys.readouterr().out
