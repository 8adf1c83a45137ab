"""Check a built site: every link inside leads somewhere, and no page loads anything from a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "audio": "src", "video": "src"}
_FILES = {"stylesheet", "icon", "preload", "modulepreload", "manifest"}
_CSS_URL = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")\s]+)""")


class _Page(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given and _FILES & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        elif given.get(_LOADED.get(tag, "")):
            self.loads.append(given[_LOADED[tag]])


def faults(site: Path) -> list[str]:
    """Return what is wrong with the pages of `site`, a sentence each; empty if nothing is."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in _pages(site)}
    found: list[str] = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {link} from a network" for link in page.loads if _outside(link)]
        for link in (*page.links, *page.loads):
            if not _outside(link) and (fault := _fault(link, path, pages)):
                found.append(f"{name}: {fault}")
    return found + list(_style_faults(site))


def _pages(site: Path) -> list[Path]:
    """The pages that readers see; a theme keeps templates among its files."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def _outside(link: str) -> bool:
    return bool(urlsplit(link).netloc) or link.startswith(("http:", "https:"))


def _fault(link: str, path: Path, pages: dict[Path, _Page]) -> str:
    """Return what is wrong with a link inside the site, or an empty text."""
    parts = urlsplit(link)
    if parts.scheme:  # mailto, data
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return f"the link {link} leads nowhere"
    known = pages.get(target)
    if known is not None and parts.fragment and unquote(parts.fragment) not in known.ids:
        return f"the page of {link} has no place of that name"
    return ""


def _style_faults(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.css")):
        for link in _CSS_URL.findall(path.read_text(encoding="utf-8")):
            if _outside(link):
                yield f"{path.relative_to(site)} loads {link} from a network"
