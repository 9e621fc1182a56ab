"""A static page that explains photographs in the browser, by onnxruntime-web; the photographs stay there."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from limelight.errors import InputError, one_line
from limelight.files import write_whole
from limelight.preprocessing import Fit

if TYPE_CHECKING:
    from limelight.export.compiled import Compiled

PACKAGE = "onnxruntime-web"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of the npm package's ``dist/``."""
OWN = ("index.html", "page.css", "page.js", "worker.js", "offline.js")


def runtime(folder: Path | None = None) -> dict[str, bytes]:
    """The files of onnxruntime-web by name: from its folder, or fetched by npm.

    Raises:
        InputError: they are not there, there is no npm, or it could not fetch them.
    """
    if folder is not None:
        return _taken(folder)
    if shutil.which("npm") is None:
        raise InputError(f"the page needs {PACKAGE}, and there is no npm to fetch it: unpack it and give --ort-web DIR")
    with tempfile.TemporaryDirectory() as temporary:
        asked = subprocess.run(
            ["npm", "pack", PACKAGE, "--silent"], cwd=temporary, capture_output=True, text=True, check=False
        )
        packed = next(Path(temporary).glob("*.tgz"), None)
        if asked.returncode or packed is None:
            said = one_line(asked.stderr or asked.stdout, 300)
            raise InputError(f"npm could not fetch {PACKAGE} ({said}): unpack it and give --ort-web DIR")
        with tarfile.open(packed) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has no filters
            archive.extractall(temporary)
        return _taken(Path(temporary) / "package")


def _taken(folder: Path) -> dict[str, bytes]:
    places = [folder, folder / "dist", folder / "node_modules" / PACKAGE / "dist"]
    place = next((each for each in places if (each / RUNTIME[0]).is_file()), None)
    lacking = [name for name in RUNTIME if place is None or not (place / name).is_file()]
    if place is None or lacking:
        raise InputError(f"{folder} holds no {lacking[0]}: give the folder of the npm package {PACKAGE}, unpacked")
    return {name: (place / name).read_bytes() for name in RUNTIME}


def write(folder: Path, compiled: Compiled, fit: Fit, runtime: dict[str, bytes]) -> Path:
    """Write the page, its network and what runs it into ``folder``; gives the path of ``index.html``, written last.

    Any static web server serves it. Nothing is loaded from elsewhere.
    """
    for name, content in runtime.items():
        write_whole(folder / "ort" / name, content)
    compiled.save(folder / "model.onnx", fit)
    facts = {**compiled.facts, "fit": fit, "any_class": compiled.step.asks}
    write_whole(folder / "facts.json", json.dumps(facts))
    templates = files("limelight.export").joinpath("web")
    for name in reversed(OWN):
        write_whole(folder / name, templates.joinpath(name).read_text())
    return folder / OWN[0]
