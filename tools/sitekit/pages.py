"""The sources of the site: its first page, the notebooks, the documents and the reference of the public names."""

from __future__ import annotations

import ast
import lzma
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sitekit.notebooks import ROOT, write_page

LIVE = Path(__file__).parent / "live"
VENDOR = Path(__file__).parent / "vendor"
_FIRST, _LAST = ("practitioner", "pcvr"), ("architecture",)  # the other documents stand between them, by name

_LOCAL_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")

_INDEX = """\
---
html_theme.sidebar_secondary.remove: true
---

# A backdoor you can try

```{{raw}} html
{live}
```

## Read on

`pcvr` is a workbook and a package: it shows how a backdoor gets into a vision-language model through its training data,
and how patch cross-view regularisation keeps it out. Start with [the first notebook](notebooks/{first}.ipynb). If you
have data to protect, read [the practitioner's page](docs/practitioner.md). To run the notebooks yourself, clone the
repository and say `make lab`.

{trees}
"""


def write_sources(source: Path, notebooks: Sequence[Path], rate: float, api: bool = True) -> None:
    """Write everything that Sphinx reads to the folder `source`.

    Args:
        source: a folder; older sources in it are removed.
        notebooks: executed notebooks, in order.
        rate: the poison rate that the first page names.
        api: whether to write the reference, which takes longest to build.
    """
    shutil.rmtree(source, ignore_errors=True)
    static = source / "_static"
    for path in notebooks:
        write_page(path, source / "notebooks" / path.name, static / "figures")
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copy(Path(__file__).parent / "conf.py", source / "conf.py")
    roots = sorted(path.stem for path in ROOT.glob("*.md"))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("LICENSE*"), ROOT / "CITATION.cff"):
        shutil.copy(path, source / path.name)
    for path in (*source.glob("*.md"), *source.glob("docs/*.md")):
        path.write_text(_without_dead_links(path), encoding="utf-8")
    shutil.copytree(LIVE, static / "live", ignore=shutil.ignore_patterns("*.html"))
    runtime = static / "live" / "vendor" / "onnxruntime-web"
    shutil.copytree(VENDOR / "onnxruntime-web", runtime, ignore=shutil.ignore_patterns("*.xz"))
    for path in (VENDOR / "onnxruntime-web").glob("*.xz"):  # a sixth of the size in the repository
        (runtime / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
    shutil.copytree(VENDOR / "mathjax", static / "mathjax")
    trees = {
        "The workbook": [f"notebooks/{path.stem}" for path in notebooks],
        "Guides": [f"docs/{name}" for name in _documents()],
        "Reference": [*(["api/index"] if api else []), *roots],
    }
    live = (LIVE / "body.html").read_text(encoding="utf-8").replace("{rate}", f"{100 * rate:g} %")
    page = _INDEX.format(live=live, first=notebooks[0].stem, trees="\n\n".join(map(_tree, trees, trees.values())))
    (source / "index.md").write_text(page, encoding="utf-8")
    if api:
        write_api(source / "api")


def _without_dead_links(page: Path) -> str:
    """Return the text of a page; links to files of the repository that the site leaves out become plain text."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if (page.parent / found[2].split("#")[0]).exists() else found[1]

    return _LOCAL_LINK.sub(kept, page.read_text(encoding="utf-8"))


def _documents() -> list[str]:
    found = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
    middle = [name for name in found if name not in (*_FIRST, *_LAST)]
    return [name for name in (*_FIRST, *middle, *_LAST) if name in found]


def _tree(caption: str, entries: Sequence[str]) -> str:
    lines = "\n".join(entries)
    return f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n:hidden:\n\n{lines}\n```"


def write_api(folder: Path) -> None:
    """Write a page for each theme of the public names, and one for each package with public submodules."""
    folder.mkdir(parents=True)
    index = ["# Reference", "", "The public names by theme, then the public submodules by package.", ""]
    pages: list[str] = []
    for number, (theme, names) in enumerate(public_names().items(), 1):
        page = f"names-{number}"
        pages.append(page)
        links = ", ".join(f"{{py:obj}}`{name} <pcvr.{name}>`" for name in names)
        index += [f"- [{theme}]({page}.md): {links}"]
        _write_members(folder / f"{page}.md", theme, [_directive(name) for name in names])
    index += ["", "## Public submodules", ""]
    for package, modules in public_modules().items():
        pages.append(package)
        index += [f"- [`{package}`]({package}.md)"]
        members = [f".. automodule:: {name}\n   :members:\n   :no-index:" for name in modules]
        _write_members(folder / f"{package}.md", f"`{package}`", members)
    index += ["", "```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```", ""]
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")


def _write_members(path: Path, title: str, directives: Sequence[str]) -> None:
    path.write_text(f"# {title}\n\n```{{eval-rst}}\n" + "\n\n".join(directives) + "\n```\n", encoding="utf-8")


def _directive(name: str) -> str:
    import pcvr

    value = getattr(pcvr, name)
    if isinstance(value, type):
        return f".. autoclass:: pcvr.{name}\n   :members:"
    return f".. {'autofunction' if callable(value) else 'autodata'}:: pcvr.{name}"


def public_names(path: Path = ROOT / "pcvr" / "__init__.py") -> Mapping[str, list[str]]:
    """Return the public names by theme, from the imports in ``pcvr/__init__.py`` and the comments above them."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, list[str]] = {}
    for block in ast.parse(text).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom):
                    theme = next(line for line in reversed(lines[: node.lineno - 1]) if line.startswith("    # "))
                    found.setdefault(theme.strip("# "), []).extend(alias.name for alias in node.names)
    return found


def public_modules(path: Path = ROOT / "CONTRIBUTING.md") -> Mapping[str, list[str]]:
    """Return the public modules by package, from the table in CONTRIBUTING.md."""
    rows = re.findall(r"^\| `(pcvr\.\w+)` \| (.+) \|$", path.read_text(encoding="utf-8"), flags=re.M)
    found: dict[str, list[str]] = {}
    for package, listed in rows:
        modules = [name.strip() for name in listed.split(",")]
        found[package] = [package if name == "itself" else f"{package}.{name}" for name in modules]
    return found
