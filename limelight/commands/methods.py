"""``limelight methods``: the methods, with what each needs and costs."""

from __future__ import annotations

from limelight import printing
from limelight.commands.options import json_option
from limelight.shell import command


@command(short_help="List the methods, with what each needs and costs.")
@json_option
def methods(as_json: bool) -> None:
    """List the methods, with what each needs and costs.

    "per class" says whether the map depends on the class at all, "found" how much of it lies on the photograph asked
    about, among four in a mosaic: chance is 0.25, and surely over 0.5 a method is called class-discriminative.
    """
    from limelight import listing

    found = listing.methods()
    if as_json:
        printing.document({"methods": found})
        return
    rows = [
        (
            m["name"],
            m["title"],
            m["source"].partition(",")[0],
            m["passes"],
            printing.yes(m["per_target"]),
            "" if m["on_mosaics"] is None else f"{m['on_mosaics']['share']:.2f}",
            ", ".join(m["needs"]),
        )
        for m in found
    ]
    printing.table(
        ["name", "method", "source", "passes", "per class", "found", "needs"],
        rows,
        whole=("source", "passes", "per class", "found"),
    )
