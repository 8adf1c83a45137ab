"""Build the book to read in a browser, with the models alive on its first page, in build/site/.

python tools/build_site.py                    of the executed notebooks in build/workbook; runs those not up to date
python tools/build_site.py --only 00 --fast   one notebook run, in its fast mode; the others come without outputs
python -m http.server --directory build/site/html
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

from bookkit.source import named, notebooks_in
from sitekit.links import faults
from sitekit.notebooks import ROOT, executed
from sitekit.pages import write_sources

from pcvr.teaching.shipped import shipped_adapters
from pcvr.utils.terminal import run_command

MODEL_PARTS = ("pcvr/models/checkpoints/tiny-llava", "pcvr/models/adapters/tiny-llava", "pcvr/data/scenes")


def main(arguments: list[str] | None = None) -> int:
    """Build the site and return the exit status: 0 when it was built and its links lead somewhere."""
    options = _options(arguments)
    out = options.out
    everything = notebooks_in(options.notebooks)
    chosen = [path.stem for path in (named(everything, options.only) if options.only else everything)]
    done = executed(chosen, options.notebooks, options.executed, options.fast)
    notebooks = [done.get(path.stem, path) for path in everything]
    write_sources(out / "source", notebooks, poison_rate(), api=not options.no_api)
    live = live_files(out / "live")
    for path in live.iterdir():
        shutil.copy(path, out / "source" / "_static" / "live" / path.name)
    status = build(out / "source", out / "html", out / "doctrees")
    found = faults(out / "html") if status == 0 else []
    for fault in found:
        print(fault, file=sys.stderr)
    if status == 0 and not found:
        print(f"The site is in {out / 'html'}. Read it with: python -m http.server --directory {out / 'html'}")
    return status or bool(found)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", metavar="NN", action="append", help="run this notebook only (number or name); may be repeated"
    )
    parser.add_argument("--fast", action="store_true", help="run notebooks that have to run in their fast mode")
    parser.add_argument("--no-api", action="store_true", help="leave out the reference")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the notebooks")
    parser.add_argument("--executed", type=Path, default=ROOT / "build" / "workbook", help="folder of executed ones")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the results")
    return parser.parse_args(arguments)


def poison_rate() -> float:
    """Return the poison rate with which the backdoored copy of the first page was trained."""
    from sitekit.export import MODEL, TASK

    name = shipped_adapters(MODEL, TASK)["backdoored"]
    record = ROOT / "pcvr" / "models" / "adapters" / MODEL / name / "record.json"
    return float(json.loads(record.read_text(encoding="utf-8"))["experiment"]["rate"])


def live_files(folder: Path) -> Path:
    """Write what the models of the first page need to `folder`, unless it is there already, and return the folder."""
    parts = [ROOT / "tools" / "sitekit" / name for name in ("export.py", "drawings.py")]
    parts += [
        path
        for part in MODEL_PARTS
        for path in sorted((ROOT / part).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    key = sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()
    mark = folder / "key"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        from sitekit.drawings import write_drawings
        from sitekit.export import write_model

        shutil.rmtree(folder, ignore_errors=True)
        write_model(folder)
        write_drawings(folder)
        mark.write_text(key, encoding="utf-8")
    return folder


def build(source: Path, html: Path, doctrees: Path) -> int:
    """Run Sphinx; a warning fails the build."""
    from sphinx.cmd.build import build_main

    for folder in (html, doctrees):  # a kept doctree does not know of a page that is new
        shutil.rmtree(folder, ignore_errors=True)
    return build_main(["-q", "-W", "--keep-going", "-d", str(doctrees), str(source), str(html)])


if __name__ == "__main__":
    run_command(main)
