"""Write the README's table from the shipped results: ``python tools/readme.py``; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from pcvr.evaluation.intervals import format_rate
from pcvr.files import write_text
from pcvr.results import load

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- spine:begin -->", "<!-- spine:end -->"


def table() -> str:
    """The Markdown table of the shipped spine results, with how they were made."""
    results = load("spine")
    cells = results.cells()
    lines = [
        "| defence | seeds | attack success rate [95 %] | clean pictures: CIDEr / BLEU-4 / attributes right "
        "| triggered: attributes right | seconds |",
        "|---|---|---|---|---|---|",
    ]
    base = results.base
    lines.append(
        f"| before fine-tuning | - | {format_rate(base['hits'], base['n'])} | {base['clean']['cider']:.1f} / "
        f"{base['clean']['bleu4']:.1f} / {100 * base['clean']['attributes']:.1f} % "
        f"| {100 * base['triggered']['attributes']:.1f} % | |"
    )
    for c in cells:
        lines.append(
            f"| {c.label} | {c.seeds} | {format_rate(c.hits, c.n)} "
            f"| {c.cider:.1f} / {c.bleu4:.1f} / {100 * c.attributes:.1f} % "
            f"| {100 * c.triggered_attributes:.1f} % | {c.seconds:.0f} |"
        )
    run = results.runs[0]["experiment"]
    lines += [
        "",
        f"*BadNets, {run['samples']} training scenes, 5 % poisoned (0 % where clean), {run['steps']} steps, "
        f"{run['tests']} test scenes, all seeds of a row together; `{results.made_by}`, {results.date}, "
        f"torch {results.versions['torch']}, transformers {results.versions['transformers']}, {results.machine}.*",
    ]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The README's `text` with the table between its markers."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main() -> None:
    """Fill in the README, or with ``--check`` exit 1 where it differs from the shipped results."""
    text = README.read_text(encoding="utf-8")
    fresh = filled(text)
    if "--check" in sys.argv:
        raise SystemExit(
            0 if fresh == text else "README.md differs from pcvr/results/spine.json: run python tools/readme.py"
        )
    write_text(README, fresh)


if __name__ == "__main__":
    main()
