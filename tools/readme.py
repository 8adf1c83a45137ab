"""Write the tables and pictures of the README and of the pages in ``docs/`` from the shipped results and from shapes.

``python tools/readme.py --check`` only compares.

`pcvr.plots` draws the picture of a table. The script of the same name in ``benchmarks/`` declares its rows. Rows that a
table does not have are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import audited
import compared
import measured
import practice
import welcome

from pcvr.defenses.pcvr import PCVR
from pcvr.evaluation.intervals import format_rate
from pcvr.experiments.attackers import attempts
from pcvr.experiments.results import FOLDER, Cell, Table, load
from pcvr.experiments.whole_study import best, shipped
from pcvr.plots import results as plots
from pcvr.plots.attack_lab import lab_picture, takes_in_words
from pcvr.plots.away import away_picture
from pcvr.plots.defenses import UNDEFENDED, defense_cells, defense_picture
from pcvr.plots.frontier import frontier_picture
from pcvr.utils.files import write_bytes, write_text
from pcvr.utils.terminal import run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
PAGES = ("results.md", "attacks.md", "pcvr.md", "defences.md", "audit.md", "practitioner.md", "scaling.md")
FILES = (ROOT / "README.md", *(ROOT / "docs" / page for page in PAGES))


def spine(results: Table) -> list[str]:
    """Return the table of defences against BadNets on captions."""
    lines = [
        "| defence | seeds | attack success rate [95 %] | clean images: CIDEr / BLEU-4 / captions correct "
        "| triggered: captions correct |",
        "|---|---|---|---|---|",
    ]
    if base := results.base:
        lines.append(
            f"| before fine-tuning | - | {format_rate(base['hits'], base['n'])} | {base['clean']['cider']:.1f} / "
            f"{base['clean']['bleu4']:.1f} / {100 * base['clean']['attributes']:.1f} % "
            f"| {100 * base['triggered']['attributes']:.1f} % |"
        )
    for c in results.cells().values():
        lines.append(
            f"| {c.label} | {c.seeds} | {c.rates} "
            f"| {c.scores['cider']:.1f} / {c.scores['bleu4']:.1f} / {100 * c.right:.1f} % "
            f"| {100 * c.triggered_right:.1f} % |"
        )
    return [*lines, "", f"*BadNets, {_made(results)}*"]


def families(results: Table) -> list[str]:
    """Return the table of models and tasks: attack success, utility, and what PCVR flags and keeps."""
    trained = {"clean": "clean data", "badnets": "5 % poison"}
    lines = [
        "| model | task | trained on | seeds | attack success rate [95 %] | CIDEr, or correct answers | utility kept "
        "| triggered: correct | poison flagged | clean flagged |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells, runs = (
        results.cells(("model", "task", "label")),
        measured.grouped(results.runs, ("model", "task", "label")),
    )
    for (model, task, label), c in cells.items():
        data, _, defense = label.partition("-")
        plain = cells.get((model, task, data if data == "clean" else f"{data}-none"))
        mine = runs[model, task, label]
        useful = _useful(c) + (f" ({' / '.join(_useful(alone(results, run)) for run in mine)})" if c.seeds > 1 else "")
        kept = f"{100 * measured.utility(c) / measured.utility(plain):.1f} %" if defense == "pcvr" and plain else "-"
        lines.append(
            f"| {model} | {task} | {trained.get(data, data)}{', PCVR' if defense == 'pcvr' else ''} | {c.seeds} "
            f"| {c.rates} | {useful} | {kept} | {100 * c.triggered_right:.1f} % "
            f"| {measured.flagged(mine)} |"
        )
    return [*lines, "", f"*BadNets; in brackets each seed; flagged: means over the seeds; {_made(results)}*"]


def _useful(cell: Cell) -> str:
    return f"{cell.scores['cider']:.1f}" if "cider" in cell.scores else f"{100 * cell.right:.1f} %"


def alone(results: Table, run: Mapping[str, Any]) -> Cell:
    """The cell of a single run."""
    (cell,) = replace(results, runs=[dict(run)]).cells().values()
    return cell


def attacks(results: Table) -> list[str]:
    """Return the table of attacks: success at 5 %, clean accuracy, the lowest rate that takes, the other models."""
    cells = results.cells(("task", "label", "model", "rate"))
    words = takes_in_words(results)
    models = list(dict.fromkeys(model for _, _, model, _ in cells))
    lines = [
        f"| attack | task | {models[0]} at 5 % [95 %] | correct, minus clean model's | from which rate (ASR ≥ 90 %) | "
        + " | ".join(f"{model} at 5 %" for model in models[1:])
        + " |",
        "|---|---|---|---|---|" + "---|" * len(models[1:]),
    ]
    for task, label in dict.fromkeys(key[:2] for key in cells if float(key[3]) > 0):
        at_five, *others = (cells.get((task, label, model, "0.05")) for model in models)
        clean = cells.get((task, "clean", models[0], "0.0"))
        change = f"{100 * (at_five.right - clean.right):+.1f} %" if at_five and clean else "-"
        lines.append(
            f"| {label} | {task} | {at_five.rates if at_five else '-'} | {change} "
            f"| {words.get((task, models[0], label), '-')} | "
            + " | ".join("-" if c is None else f"{100 * c.asr:.1f} %" for c in others)
            + " |"
        )
    return [*lines, "", f"*Preset `scaled`, {_made(results)}*"]


def defenses(results: Table) -> list[str]:
    """Return the table of defences (rows) and attacks (columns): attack success and correct answers."""
    cells = defense_cells(results, load("attacks"))
    attacks = [name for name in dict.fromkeys(key[2] for key in cells) if name != "clean"]
    names = [UNDEFENDED, *(name for name in dict.fromkeys(key[1] for key in cells) if name != UNDEFENDED)]
    lines = []
    for task in dict.fromkeys(key[0] for key in cells):
        lines += [
            f"| {task}: attack success | {' | '.join(attacks)} | clean inputs correct | triggered inputs correct |",
            "|---|" + "---|" * (len(attacks) + 2),
        ]
        for name in names:
            mine = {attack: cells[task, name, attack] for attack in attacks if (task, name, attack) in cells}
            if mine:
                rates = [str(mine[a].rates) if a in mine else "-" for a in attacks]
                means = [mean(getattr(c, part) for c in mine.values()) for part in ("right", "triggered_right")]
                lines.append(f"| {name} | {' | '.join(rates)} | {100 * means[0]:.1f} % | {100 * means[1]:.1f} % |")
        lines.append("")
    return [*lines, f"*Correct answers are means over the attacks of a row. {_made(results)}*"]


def cost(results: Table) -> list[str]:
    """Return the table of costs relative to plain fine-tuning: time, with the range of the rounds, memory and answers.

    The columns of answers are there where some row has them.
    """
    tasks = list(dict.fromkeys(row["task"] for row in results.runs))
    rows = {(row["defense"], row["task"]): row for row in results.runs}
    heads = ["time", "peak memory", *(["ms an answer"] if any("answer_ms" in row for row in results.runs) else [])]
    columns = [f"{task}: {head}" for task in tasks for head in heads]
    lines = [f"| defence | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name in results.rows:
        figures = [each for task in tasks for each in _costs(rows.get((name, task)))[: len(heads)]]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return [
        *lines,
        "",
        f"*Median of {_each(len(row['seconds']) for row in results.runs)} interleaved rounds of "
        f"{_each(row['steps'] for row in results.runs)} steps, with minimum and maximum in brackets, relative to plain "
        f"fine-tuning of the same round; {_gates(results)}{results.caption()}.*",
    ]


def _costs(row: Mapping[str, Any] | None) -> list[str]:
    """Return time, memory and ms an answer of a row, ``-`` for what it does not have."""
    if row is None:
        return ["-"] * 3
    answer = f"{median(row['answer_ms']):.1f} ({row['answer_ratio']:.2f} x)" if "answer_ms" in row else "-"
    ratios = row["ratios"]
    return [f"{row['ratio']:.2f} x [{min(ratios):.2f}, {max(ratios):.2f}]", f"{row['peak_ratio']:.2f} x", answer]


TABLES: dict[str, Callable[[Table], list[str]]] = {
    "spine": spine,
    "families": families,
    "attacks": attacks,
    "defenses": defenses,
    "cost": cost,
    "away": measured.away,
    "parts": measured.parts,
    "frontier": measured.frontier,
    "audit": audited.audited,
}
"""The function that writes each table, by the name of the shipped table and of its markers in one of `FILES`."""


def _of_table(name: str) -> list[str]:
    return TABLES[name](load(name))


TEXTS: dict[str, Callable[[], list[str]]] = {
    **{name: partial(_of_table, name) for name in TABLES},
    "headline": lambda: welcome.headline(load("spine"), _made(load("spine"), welcome.SHOWN)),
    "notebooks": lambda: welcome.notebooks(ROOT / "workbook"),
    "worth": lambda: measured.worth(load("parts")),
    "elsewhere": lambda: measured.elsewhere(load("away")),
    "standings": compared.standings_table,
    "rivals": compared.attack_tables,
    "broken": lambda: measured.broken(attempts(shipped().records(), best())),
    "access": practice.access_table,
    "limits": audited.limits,
    "price": practice.price_table,
    "attackers": lambda: measured.attackers(attempts(shipped().records(), best()), shipped().records()),
}
"""The function that writes what stands between the markers of a name."""

PICTURES: dict[str, Callable[[Table], Figure]] = {
    "spine": plots.summary,
    "families": plots.families,
    "attacks": lab_picture,
    "defenses": lambda results: defense_picture(results, load("attacks")),
    "away": away_picture,
    "frontier": frontier_picture,
}
"""The function that draws each table, by the name of the shipped table and of its picture in ``docs/``."""


def filled(text: str) -> str:
    """Return the text of a file with what belongs between its markers."""
    for name, write in TEXTS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in text:
            continue
        head, rest = text.split(begin)
        written = "\n".join(write())
        text = f"{head}{begin}\n{written}\n{end}{rest.split(end)[1]}"
    return text


def drawn(name: str) -> bytes:
    """Return the picture of a shipped table as PNG."""
    file = BytesIO()
    PICTURES[name](load(name)).savefig(file, format="png", dpi=160)
    return file.getvalue()


def _made(results: Table, shown: Iterable[str] | None = None) -> str:
    """Return how a table was made; `shown` names its rows that are shown, by default all."""
    if shown is not None:
        labels = {*shown}
        results = replace(results, runs=[run for run in results.runs if run["experiment"]["label"] in labels])
    said = [run["experiment"] for run in results.runs]
    return (
        f"{_each(run['samples'] for run in said)} training scenes, 5 % poisoned (0 % where clean), "
        f"{_each(run['max_steps'] for run in said)} steps, {_each(run['tests'] for run in said)} test scenes; no "
        f"interval pools seeds; {_gates(results)}{results.caption()}."
    )


def _gates(results: Table) -> str:
    """Return which rows have PCVR with the gate that was its default before the present one; empty if none has."""
    said = [run.get("experiment", run) for run in results.runs]
    gates = {
        run.get("label", run["defense"]): run["options"]["gate"] for run in said if "gate" in run.get("options", {})
    }
    former = PCVR.CHANGED["gate"]
    rows = [row for row, gate in gates.items() if gate == former]
    if not rows:
        return ""
    present = [row for row, gate in gates.items() if gate == PCVR().gate]
    if not present:
        where = "PCVR"
    elif len(rows) <= len(present):
        where = f"PCVR in {', '.join(rows)}"
    else:
        where = f"PCVR in all rows but {', '.join(present)}"
    return f"{where} with the gate `{former}`, its default before `{PCVR().gate}`; "


def _each(values: Iterable[int]) -> str:
    """Return the distinct values as text, joined by "or"."""
    return " or ".join(map(str, dict.fromkeys(values)))


def main() -> None:
    """Write the tables and pictures; with ``--check`` only exit with 1 if a table differs."""
    for file in (each for each in FILES if each.is_file()):
        text = file.read_text(encoding="utf-8")
        fresh = filled(text)
        if "--check" not in sys.argv:
            write_text(file, fresh)
        elif fresh != text:
            raise SystemExit(f"{file.name} differs from pcvr/experiments/results: run python tools/readme.py")
    for name in PICTURES if "--check" not in sys.argv else ():
        if (FOLDER / f"{name}.json").is_file():  # some tables take several days to make
            write_bytes(ROOT / "docs" / f"{name}.png", drawn(name))


if __name__ == "__main__":
    run_command(main)
