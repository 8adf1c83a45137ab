"""Markdown to pages that need no network: formulas become MathML, styles stand in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --soft: #55555f; --line: #d9d9e0; --paper: #fdfdfb;
  --accent: #0b5f9e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf1; --soft: #adadb8; --line: #3a3a44; --paper: #17171b; --accent: #7cc0f5; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.02rem/1.55 system-ui, sans-serif; }
main { max-width: 50rem; margin: 0 auto; padding: 2.5rem 1.4rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1.02rem; margin: 1.4rem 0 .3rem; }
a { color: var(--accent); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; }
pre { overflow-x: auto; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: 4px; }
code { font: .92em ui-monospace, monospace; }
.quiz > li { margin-bottom: 1.6rem; break-inside: avoid; }
.answers { list-style: none; padding: 0; margin: .4rem 0; }
.answers li { margin: .35rem 0; padding-left: 1.8rem; text-indent: -1.8rem; }
.answers li > * { text-indent: 0; }
.box { display: inline-block; width: 1.8rem; text-indent: 0; }
.why { display: block; color: var(--soft); }
@media print { body { background: none; font-size: 10.5pt; } main { padding: 0; max-width: none; }
  a { color: inherit; } }
"""


_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FOLDED = re.compile(r"(<details>.*?</details>)", re.DOTALL)
_KINDS = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "math_block": "formula",
    "math_block_label": "formula",
    "blockquote_open": "quote",
    "fence": "code",
}


def _formula(tex: str, options: dict[str, Any]) -> str:
    return str(convert(tex, display="block" if options["display_mode"] else "inline"))


_markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
_markdown.use(dollarmath_plugin, renderer=_formula, allow_space=True, double_inline=True)


def to_html(markdown: str) -> str:
    """Return Markdown as HTML: tables, ``$formulas$`` as MathML, HTML blocks as they are."""
    return str(_markdown.render(markdown))


def inline_html(markdown: str) -> str:
    """Return one paragraph of Markdown as HTML without the paragraph around it."""
    return str(_markdown.renderInline(markdown))


def blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield the kind of each top-level block and its text; comments are left out.

    Kinds are ``heading``, ``paragraph``, ``list``, ``table``, ``formula``, ``quote``, ``code`` and ``folded``, a whole
    ``<details>``.
    """
    for part in _FOLDED.split(_COMMENT.sub("", markdown)):
        if part.startswith("<details>"):
            yield "folded", part
            continue
        lines = part.splitlines()
        for token in _markdown.parse(part):
            if token.level == 0 and token.nesting >= 0 and token.map and token.type in _KINDS:
                yield _KINDS[token.type], "\n".join(lines[slice(*token.map)]).strip("\n")


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole page in the house's style, also for print.

    Args:
        title: plain text.
        body: HTML.
        style: more CSS.
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
