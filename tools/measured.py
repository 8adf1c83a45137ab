"""The tables of ``docs/pcvr.md``: PCVR away from home, part by part, and the paper's form at its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from pcvr.evaluation.intervals import format_rate
from pcvr.experiments.attackers import Attempt
from pcvr.experiments.frontier import LEAST, best_setting, priced_points, priced_settings
from pcvr.experiments.part_worth import DIRECTIONS, direction_in_words, part_rows
from pcvr.experiments.parts import PROPOSERS
from pcvr.experiments.results import Cell, Table
from pcvr.experiments.second_attacker import each_attacker
from pcvr.experiments.study import table_of
from pcvr.experiments.study.statistics import TOOK

Runs = Sequence[Mapping[str, Any]]


def away(results: Table) -> list[str]:
    """Return the tables of cases with an attacker and of cases that ask something new."""
    results = each_attacker(results)
    cells, runs = results.cells(("label", "task", "attack", "defense")), grouped(results.runs)
    lines = [
        "| case | task | attack | attack success: no defence | PCVR | utility kept | triggered: correct "
        "| poison flagged | clean flagged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    new = [
        "| what is new | task | correct on it: no defence | PCVR | of it flagged | utility kept |",
        "|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(key[:3] for key in cells):
        plain, ours = (cells.get((*case, name)) for name in ("none", "pcvr"))
        mine = runs.get((*case, "pcvr"), [])
        kept = f"{100 * utility(ours) / utility(plain):.1f} %" if plain and ours else "-"
        label, task, attack = case
        if any("novel" in run for run in mine):
            right = (_new(runs.get((*case, name), [])) for name in ("none", "pcvr"))
            new.append(f"| {label.removeprefix('new: ')} | {task} | {' | '.join(right)} | {_taken(mine)} | {kept} |")
            continue
        rates = (str(c.rates) if c else "-" for c in (plain, ours))
        back = f"{100 * ours.triggered_right:.1f} %" if ours else "-"
        lines.append(f"| {label} | {task} | {attack} | {' | '.join(rates)} | {kept} | {back} | {flagged(mine)} |")
    tables = [part for part in (lines, new) if len(part) > 2]
    return [line for part in tables for line in [*part, ""]] + [f"*{about(results)}*", *_notes(results)]


def elsewhere(results: Table) -> list[str]:
    """Return a sentence: the worst case away from home, of those whose attack takes without a defence."""
    results = each_attacker(results)
    cells = results.cells(("label", "task", "attack", "defense"))
    cases = [key[:3] for key in cells if key[3] == "pcvr" and (*key[:3], "none") in cells]
    attacked = [case for case in cases if not case[0].startswith("new: ")]
    taken = {case: cells[*case, "pcvr"] for case in attacked if cells[*case, "none"].asr >= TOOK}
    if not taken:
        return []
    worst = max(taken, key=lambda case: taken[case].asr)
    kept = min(utility(cell) / utility(cells[*case, "none"]) for case, cell in taken.items())
    return [
        f"Of {len(attacked)} measured cases with other answers, targets that are true of some images, two attackers, "
        f"a patch anywhere, or other schedules, the attack takes in {len(taken)} without a defence ({100 * TOOK:.0f} % "
        f"or more). With PCVR the highest attack success among these is {taken[worst].rates} ({', '.join(worst)}), "
        f"and {100 * kept:.1f} % of the utility or more is kept."
    ]


def parts(results: Table) -> list[str]:
    """Return a row for each part that is changed, early and late: attack success, utility, and what was flagged."""
    cells, runs = results.cells(("label", "task")), grouped(results.runs, ("label", "task"))
    tasks = list(dict.fromkeys(task for _, task in cells))
    columns = "attack success | {} | triggered: correct | poison flagged | clean flagged"
    named = [f"{task}: " + columns.format("CIDEr" if task == "caption" else "correct") for task in tasks]
    lines = [
        f"| what is changed | the gate looks | seeds | {' | '.join(named)} |",
        "|---|---|---|" + "---|" * 5 * len(tasks),
    ]
    for label in dict.fromkeys(label for label, _ in cells):
        part, _, moment = label.partition(", ")
        mine = [cells.get((label, task)) for task in tasks]
        line = [part, moment, "/".join(dict.fromkeys(str(cell.seeds) for cell in mine if cell))]
        for task, cell in zip(tasks, mine, strict=True):
            if cell is None:
                line += ["-"] * 5
                continue
            said = f"{cell.scores['cider']:.1f}" if "cider" in cell.scores else f"{100 * cell.right:.1f} %"
            line += [str(cell.rates), said, f"{100 * cell.triggered_right:.1f} %"]
            line.append(flagged(runs[label, task]))
        lines.append(f"| {' | '.join(line)} |")
    return [*lines, "", *_direction(results), f"*BadNets, {about(results)}*", *_notes(results)]


def _direction(results: Table) -> list[str]:
    """Return what is left of a learned backdoor by the direction in which its answers are moved; see notebook 05b."""
    rows = part_rows(results)
    tasks = [row.task for row in rows if (row.part, row.moment) == (DIRECTIONS[-1], "late")]
    return (
        [
            "Attack success, and correct answers to triggered images. "
            + " ".join(direction_in_words(rows, "late", task) for task in tasks),
            "",
        ]
        if tasks
        else []
    )


def worth(results: Table) -> list[str]:
    """Return sentences: attack success with one of the gate's proposers left out, from the start and late.

    Args:
        results: the table of parts.
    """
    cells = results.cells(("label", "task"))
    seeds = "/".join(sorted({str(cell.seeds) for (label, _), cell in cells.items() if not label.endswith("target")}))
    said = [f"Attack success of BadNets at 5 % (seeds: {seeds}; `python benchmarks/parts.py`)."]
    when = {"early": "Gate from the first step on", "late": "Gate half-way, the backdoor learned"}
    for moment, words in when.items():
        rates = []
        for part in PROPOSERS:
            mine = {task: cell for (label, task), cell in cells.items() if label == f"{part}, {moment}"}
            if mine:
                each = (f"{cell.rates} on {_asked(task)}" for task, cell in mine.items())
                rates.append(f"{part}: {' and '.join(each)}")
        said += [f"{words}: {'; '.join(rates)}."] if rates else []
    return [" ".join(said)]


def _asked(task: str) -> str:
    return {"caption": "captions", "vqa": "questions"}.get(task, task)


def frontier(results: Table) -> list[str]:
    """Return a row for each setting of the paper's form: success of each attack, their mean, and the CIDEr kept."""
    points = priced_points(results.runs)
    settings = priced_settings(points)
    attacks = list(dict.fromkeys(point.attack for point in points))
    rates = {(p.label, str(p.options.get("apart_weight")), p.attack): format_rate(p.hits, p.n) for p in points}
    best = best_setting(settings) if any(each.utility >= LEAST for each in settings) else None
    lines = [
        f"| form | weight of pulling apart | {' | '.join(attacks)} | mean attack success | CIDEr kept |",
        "|---|---|" + "---|" * (len(attacks) + 2),
    ]
    for each in settings:
        weight = each.options["apart_weight"]
        shown = [rates.get((each.label, str(weight), attack), "-") for attack in attacks]
        lines.append(
            f"| {each.label} | {weight:g} | {' | '.join(shown)} | {100 * each.asr:.1f} % | {100 * each.utility:.1f} %"
            f"{' (best within 10 %)' if each == best else ''} |"
        )
    return [*lines, "", f"*Captions, {about(results)}*"]


def attackers(achieved: Sequence[Attempt], records: Runs) -> list[str]:
    """Return a row for each attacker, attack and task that was run: attack success under each defence.

    Args:
        achieved: from `pcvr.experiments.attackers.attempts`.
        records: of the store that they are from.
    """
    rows = list(dict.fromkeys(each.row for each in achieved))
    cases: dict[tuple[str, ...], dict[str, str]] = {}
    for each in achieved:
        cases.setdefault(each.case, {})[each.row] = each.rate
    ran = {case: said for case, said in cases.items() if any(rate != "not run" for rate in said.values())}
    lines = [
        f"| attacker | attack | task | {' | '.join(rows)} |",
        "|---|---|---|" + "---|" * len(rows),
        *(f"| {' | '.join([*case, *(said[row] for row in rows)])} |" for case, said in ran.items()),
    ]
    lacking = list(dict.fromkeys(name for name, *_ in cases if not any(case[0] == name for case in ran)))
    said = f" Not run yet: {'; '.join(lacking)}." if lacking else ""
    how = f", {table_of(records).caption()}" if records else ""
    return [*lines, "", f"*tiny-llava, 400 steps of 32 over 2000 training scenes, 512 test scenes{how}.{said}*"]


def broken(achieved: Sequence[Attempt]) -> list[str]:
    """Return a sentence: which attackers get through PCVR, of those that were run.

    Args:
        achieved: from `pcvr.experiments.attackers.attempts`.
    """
    ours = [each for each in achieved if each.row == "pcvr" and each.hits is not None]
    through = [each for each in ours if each.got_through]
    named = "; ".join(f"{each.attacker} ({each.attack}, {each.task}): {each.rate}" for each in through)
    count = f"{len(through)} of the {len(ours)} cases run so far"
    return [f"Attackers who know PCVR get through in {count}{f': {named}' if named else ''}."]


def about(results: Table) -> str:
    """Return what all runs share and how they were made."""
    said = [run["experiment"] for run in results.runs]
    usual = {name: dict.fromkeys(run[name] for run in said) for name in ("model", "tests")}
    return (
        f"{', '.join(usual['model'])}; 2000 training scenes, 5 % poisoned and 400 steps of 32 where a row says nothing "
        f"else, {' or '.join(map(str, usual['tests']))} test scenes; {results.caption()}."
    )


def grouped(runs: Runs, by: Sequence[str] = ("label", "task", "attack", "defense")) -> dict[tuple[str, ...], Runs]:
    """Return the runs by some fields of their experiments."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(tuple(str(run["experiment"][field]) for field in by), []).append(run)
    return dict(found)


def flagged(runs: Runs) -> str:
    """Return two columns: mean recall of the poison, and the mean number of clean samples that were flagged."""
    gates = [run["gate"][-1] for run in runs if run.get("gate")]
    recalls = [gate["recall"] for gate in gates if "recall" in gate]
    alarms = [gate["false alarms"] for gate in gates]
    return f"{f'{100 * mean(recalls):.0f} %' if recalls else '-'} | {f'{mean(alarms):.1f}' if alarms else '-'}"


def _notes(results: Table) -> list[str]:
    """What was looked at while the defaults were chosen, as a paragraph."""
    return ["", f"*Looked at while the defaults were chosen: {' '.join(results.notes)}*"] if results.notes else []


def utility(cell: Cell) -> float:
    """Utility on clean images: CIDEr of captions, else the fraction of right answers."""
    return cell.scores.get("cider", cell.right)


def _new(runs: Runs) -> str:
    new = [run["novel"] for run in runs]
    return format_rate(sum(each["right"] for each in new), sum(each["n"] for each in new)) if new else "-"


def _taken(runs: Runs) -> str:
    new = [run["novel"] for run in runs]
    return f"{sum(each['flagged'] for each in new)} of {sum(each['trained'] for each in new)}"
