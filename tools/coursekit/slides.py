"""Slides from a notebook: lists, tables, formulas, questions and figures are shown, the prose becomes speaker notes.

One self-contained HTML file a notebook: reveal.js, which lies beside this file, stands inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import nbformat
from bookkit.elsewhere import SKIPPED

from coursekit.pages import blocks, inline_html, to_html

REVEAL = Path(__file__).parent / "reveal"
ROOM = 11.0
"""Lines that fit on a slide."""
_WIDE = 88  # characters of a line of a list
_OUTPUT = (10, 100)  # lines and columns of printed output that are still shown

_LINES = {"list": 1.0, "table": 0.9, "formula": 2.5, "quote": 1.5}
"""Lines that a line of Markdown of each kind takes on a slide; other kinds are read out, not shown."""
_SIGNPOSTS = ("**After", "**Time", "**Next", "**What is the paper", "**What is from", "**Stated by", "**Try")
_ASKS = ("**Predict", "**Before you")
_JOIN = "\n"
_ITEM = re.compile(r"\n(?=- |\d+\. )")
_IMAGE = re.compile(r'<img\b[^>]*\bsrc="data:image/[^>]*>')
_SENTENCE = re.compile(r"(?<=[.!?:])(?:\*\*)?\s+(?=[A-Z*\[`$(])")
_UNFOLD = re.compile(r"</?(?:details|summary)>")

_STYLE = """
:root { --ink: #1b1b1f; --soft: #55555f; --accent: #0b5f9e; --line: #d9d9e0; }
.reveal { font: 27px/1.4 system-ui, sans-serif; color: var(--ink); background: #fdfdfb; }
.reveal .slides section { text-align: left; height: 100%; }
.reveal h1 { font-size: 1.9em; line-height: 1.15; margin: 1.6em 0 .5em; }
.reveal h2 { font-size: 1.35em; line-height: 1.2; margin: 0 0 .7em; color: var(--accent); }
.reveal ul, .reveal ol { display: block; margin: .3em 0 .3em 1.1em; }
.reveal p { margin: .3em 0 .6em; }
.reveal table { border-collapse: collapse; font-size: .78em; width: 100%; }
.reveal td, .reveal th { border-top: 1px solid var(--line); padding: .25em .7em .25em 0; text-align: left; }
.reveal pre { width: auto; box-shadow: none; font: .68em/1.45 ui-monospace, monospace; white-space: pre-wrap; }
.reveal a { color: var(--accent); }
.reveal .dense table { font-size: .58em; }
.reveal .ask { border-left: 6px solid #E69F00; padding: .1em .9em; margin: .5em 0; }
.reveal .exercise { border-left: 6px solid #009E73; padding: .1em .9em; }
.reveal figure { margin: 0; text-align: center; } .reveal figure img { max-width: 100%; max-height: 520px; margin: 0; }
.reveal figcaption { font-size: .72em; color: var(--soft); text-align: left; margin-top: .4em; }
.reveal .progress { color: var(--accent); } .reveal .controls { color: var(--accent); }
"""


@dataclass
class Slide:
    """What is shown, as HTML, and what the speaker reads, as Markdown."""

    title: str
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: float = 0.0  # lines
    opening: bool = False  # the first slide
    figure: bool = False  # a figure, which takes nothing more

    @property
    def html(self) -> str:
        """The slide as reveal.js takes it."""
        level = "h1" if self.opening else "h2"
        notes = f'<aside class="notes">{to_html(_JOIN.join(self.notes))}</aside>' if self.notes else ""
        return f"<section>\n<{level}>{inline_html(self.title)}</{level}>\n{_JOIN.join(self.body)}\n{notes}</section>"


def slides_of(notebook: nbformat.NotebookNode) -> list[Slide]:
    """Return the slides of a notebook; figures only if it was executed.

    Args:
        notebook: the student's edition, executed or not. Folded answers become notes.
    """
    made: list[Slide] = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        if SKIPPED in tags:  # badges, whose pictures lie in files
            continue
        if cell.cell_type == "markdown" and "solution" not in tags:
            for kind, block in blocks(cell.source):
                _take(made, kind, block)
        elif cell.cell_type == "code" and made:
            for text in _printed(cell):
                _add(made, f"<pre>{escape(text)}</pre>", 1 + 0.7 * len(text.splitlines()))
            made += [Slide(made[-1].title, [picture], figure=True) for picture in _pictures(cell)]
    return [slide for slide in made if slide.body or slide.opening]


def deck(title: str, slides: list[Slide]) -> str:
    """Return slides as one HTML file that needs nothing else: S opens the speaker's view, ?print-pdf prints."""
    read = {name: (REVEAL / name).read_text(encoding="utf-8") for name in ("reveal.css", "reveal.js", "notes.js")}
    safe = (read[name].replace("</script", r"<\/script") for name in ("reveal.js", "notes.js"))
    scripts = "".join(f"<script>{text}</script>\n" for text in safe)
    shown = "\n".join(slide.html for slide in slides)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}: slides</title>\n'
        f"<style>{read['reveal.css']}{_STYLE}</style>\n</head>\n<body>\n"
        f'<div class="reveal"><div class="slides">\n{shown}\n</div></div>\n{scripts}'
        "<script>Reveal.initialize({ hash: true, center: false, slideNumber: 'c/t', transition: 'none', width: 1200,"
        " height: 700, margin: 0.05, plugins: [RevealNotes] });</script>\n</body>\n</html>\n"
    )


def _take(made: list[Slide], kind: str, block: str) -> None:
    """Put a block on a slide, or into the notes of the last one."""
    if kind == "heading":
        level, _, words = block.partition(" ")
        made.append(Slide(words.strip(), opening=level == "#"))
    elif (made and kind in _LINES) or block.startswith(_ASKS):
        _show(made, kind, block)
    elif made:
        last, plain = made[-1], _UNFOLD.sub("", block).strip()
        if last.figure and "</figcaption>" not in last.body[0] and kind == "paragraph":
            caption = f"<figcaption>{inline_html(_sentences(plain)[0])}</figcaption></figure>"
            last.body[0] = last.body[0].replace("</figure>", caption)
        elif last.opening and plain.startswith("**After"):
            last.body.append(f"<p>{inline_html(plain)}</p>")
        elif kind == "paragraph" and not last.opening and (key := _key(plain, lead=not last.body)):
            _add(made, f"<p>{inline_html(key)}</p>", 1.5 + len(key) // _WIDE)
        made[-1].notes += [plain, ""]


def _show(made: list[Slide], kind: str, block: str) -> None:
    """Put a block on the last slide, or on a new one if the last has no room; a long item of a list is read out."""
    if kind == "list":
        for item in _ITEM.split(block):
            short = _sentences(item)[0]
            long = len(short) < len(" ".join(item.split())) and len(item) > 1.5 * _WIDE
            _add(made, to_html(short if long else item), 1 + len(short if long else item) // _WIDE)
            made[-1].notes += [item] if long else []
        return
    html, lines = to_html(block), block.splitlines()
    if block.startswith(_ASKS):
        html, kind = f'<div class="ask">{html}</div>', "quote"
    elif kind == "quote":
        html = f'<div class="exercise">{to_html(block.replace("> ", "", 1))}</div>'
    elif kind == "table" and len(lines) > ROOM:
        html = f'<div class="dense">{html}</div>'
    _add(made, html, min(ROOM, _LINES[kind] * sum(1 + len(line) // _WIDE for line in lines)))


def _add(made: list[Slide], html: str, lines: float) -> None:
    last = made[-1]
    if last.figure or (last.used + lines > ROOM and last.body and not last.opening):
        last = Slide(last.title)
        made.append(last)
    last.body.append(html)
    last.used += lines


def _sentences(text: str) -> list[str]:
    """The sentences of a paragraph, none broken inside a formula or bold words."""
    found: list[str] = []
    for part in _SENTENCE.split(" ".join(text.split())):
        if found and (found[-1].count("$") % 2 or found[-1].count("**") % 2):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def _key(paragraph: str, lead: bool) -> str:
    """What of a paragraph is shown: sentences with bold words, and of the leading one the first two sentences."""
    if paragraph.startswith(_SIGNPOSTS):
        return ""
    sentences = _sentences(paragraph)
    short = sentences[:2] if len(" ".join(sentences[:2])) < 2.5 * _WIDE else sentences[:1]
    return " ".join(each for each in sentences if "**" in each or (lead and each in short))


def _pictures(cell: nbformat.NotebookNode) -> Iterator[str]:
    """The figures that a cell shows, with their descriptions; they stand in its HTML as data."""
    for output in cell.get("outputs", ()):
        for tag in _IMAGE.findall("".join(output.get("data", {}).get("text/html", ""))):
            yield f"<figure>{tag}</figure>"


def _printed(cell: nbformat.NotebookNode) -> Iterator[str]:
    """What a cell printed, if it is short enough for a slide."""
    text = "".join("".join(o.text) for o in cell.get("outputs", ()) if o.output_type == "stream" and o.name == "stdout")
    lines = text.strip("\n").splitlines()
    if lines and len(lines) <= _OUTPUT[0] and max(map(len, lines)) <= _OUTPUT[1]:
        yield "\n".join(lines)
