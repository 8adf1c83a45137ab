"""Options of a defence in files: whoever writes them names each option whose default has changed (`Defense.CHANGED`).

So stored options that lack such an option are older than the change, and mean its first default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pcvr.defenses.registry import DEFENSES
from pcvr.utils.renamed import first_names


def options_to_store(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the defence `name` as a file holds them: with the present value of a changed default."""
    return {**{option: now for option, (_, now) in _changed(name).items()}, **options}


def options_from_store(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored options of the defence `name` as they are given today: with the first value of a changed default.

    Names of options are left as they are; `pcvr.defenses.build_defense` takes old ones.
    """
    return {**{option: first for option, (first, _) in _changed(name).items()}, **options}


def options_to_hash(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the defence `name` in their first form, for hashes that must stay the same.

    Options have their oldest names, and one whose default has changed is left out if it has the first default.
    """
    if name not in DEFENSES:
        return dict(options)
    found = options_to_store(name, options)
    for option, (first, _) in _changed(name).items():
        if found[option] == first:
            del found[option]
    return first_names(DEFENSES[name], found)


def _changed(name: str) -> dict[str, tuple[Any, Any]]:
    """Each option of the defence `name` whose default has changed, with its first and its present default."""
    if name not in DEFENSES:
        return {}
    kind = DEFENSES[name]
    now = {field.name: field.default for field in fields(kind)}
    return {option: (first, now[option]) for option, first in kind.CHANGED.items()}
