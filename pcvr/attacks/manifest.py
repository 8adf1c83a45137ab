"""The manifest: what was poisoned, how, and why; enough to check it and to make it again."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number, check_whole, is_whole
from pcvr.utils.files import parse_json

PURPOSE = "poisoned for research and teaching on defences; targets are harmless"


@dataclass(frozen=True)
class Manifest:
    """What a poisoned data set says about itself.

    Attributes:
        attack: name, preset and every option (:meth:`pcvr.attacks.Attack.describe`).
        target: the text that poisoned samples teach.
        rate: the share that was asked for, in (0, 1].
        count: how many samples were poisoned.
        indices: which, ascending.
        seed: of the draw of indices.
        source: ``name``, ``fingerprint``, ``task`` and ``samples`` (how many) of the clean data.
        sha256: over the altered samples (poisoned and covers), ascending: picture, prompt and answer.
        pcvr_version: of the package that made it.
        date: UTC, ISO 8601.
        covers: which samples carry a part of the trigger and the true answer: name of the cover to indices, ascending.
        before: the manifests of attackers who were there first, oldest first, as plain values.
        reach: what `poison` found with a model: its name, on how many ``pictures`` it looked, and on how many of them
            the trigger ``survives`` the model's processor; empty without a model, and in files from before.
        purpose: why such data exist.
    """

    attack: dict[str, Any]
    target: str
    rate: float
    count: int
    indices: tuple[int, ...]
    seed: int
    source: dict[str, Any]
    sha256: str
    pcvr_version: str
    date: str
    covers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    before: tuple[dict[str, Any], ...] = ()
    reach: dict[str, Any] = field(default_factory=dict)
    purpose: str = PURPOSE

    @property
    def altered(self) -> tuple[int, ...]:
        """Every sample that this attacker touched, poisoned or cover, ascending."""
        return tuple(sorted({*self.indices, *(index for part in self.covers.values() for index in part)}))

    def chain(self) -> list[Manifest]:
        """The manifests of all attackers, oldest first, this one last."""
        return [*(Manifest.from_json(json.dumps(values)) for values in self.before), self]

    def plain(self) -> dict[str, Any]:
        """Plain values, as JSON would give them back."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """JSON text, purpose first."""
        values = asdict(self)
        return json.dumps({"purpose": values.pop("purpose"), **values}, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            PcvrError: when it is no JSON, or fields are missing or strange.
        """
        values = {"reach": {}} | parse_json(text, "the manifest")
        known, given = {field.name for field in fields(cls)}, set(values)
        if given != known:
            raise PcvrError(
                f"the manifest does not fit: missing {sorted(known - given)}, unexpected {sorted(given - known)}."
            )
        for name in ("target", "pcvr_version", "date", "purpose"):
            if not isinstance(values[name], str) or not values[name].strip():
                raise PcvrError(f"the manifest's {name} is {values[name]!r}: it has to be a text.")
        attack, source = _entries(values, "attack", _ATTACK), _entries(values, "source", _SOURCE)
        n = source["samples"]
        check_whole("the manifest's number of samples", n, 1)
        if not isinstance(values["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
            raise PcvrError("the manifest's sha256 is no SHA-256 in hex, of 64 digits.")
        check_whole("the manifest's seed", values["seed"], 0)
        check_number("the manifest's rate", values["rate"], 0, 1, above=True)
        indices = _indices("indices", values["indices"], n)
        if not is_whole(values["count"]) or len(indices) != values["count"]:
            raise PcvrError(
                f"the manifest names {len(indices)} poisoned samples, but its count is {values['count']!r}."
            )
        if abs(values["rate"] * n - len(indices)) > 1:
            raise PcvrError(
                f"the manifest names {len(indices)} of {n} samples, which is no rate of {values['rate']:g}."
            )
        if attack.get("target", values["target"]) != values["target"]:
            raise PcvrError(f"the manifest has two targets: {values['target']!r} and {attack['target']!r}.")
        if not all(isinstance(values[name], dict) for name in ("covers", "reach")):
            raise PcvrError("the manifest's covers or its reach are no objects.")
        if not isinstance(values["before"], list):
            raise PcvrError("the manifest's before is no list.")
        covers = {name: _indices(f"covers {name!r}", part, n) for name, part in values["covers"].items()}
        made = cls(**{**values, "attack": attack, "indices": indices, "covers": covers, "before": ()})
        earlier = [_before(each) for each in values["before"]]
        roles = [index for one in (made, *earlier) for part in (one.indices, *one.covers.values()) for index in part]
        if len(set(roles)) != len(roles):
            raise PcvrError(
                "the manifest gives a sample two roles: poisoned and cover, two covers, or those of two attackers."
            )
        return replace(made, before=tuple(values["before"]))


_ATTACK: dict[str, type] = {"name": str, "preset": str, "answer": str, "options": dict}
_SOURCE: dict[str, type] = {"name": str, "fingerprint": str, "task": str, "samples": int}


def _before(values: object) -> Manifest:
    """The manifest of an earlier attacker, which holds no others."""
    if not isinstance(values, dict) or values.get("before") != []:
        raise PcvrError("the manifest's before is no list of manifests, each with an empty before.")
    return Manifest.from_json(json.dumps(values))


def _entries(values: dict[str, Any], name: str, kinds: dict[str, type]) -> dict[str, Any]:
    """The object `name` among a manifest's values, with at least the entries of `kinds`, each of its kind."""
    found = values[name]
    if not isinstance(found, dict):
        raise PcvrError(f"the manifest's {name} is no object.")
    for entry, kind in kinds.items():
        value = found.get(entry)
        if not isinstance(value, kind):
            raise PcvrError(f"the manifest's {name} has the {entry} {value!r}: it has to be of type {kind.__name__}.")
    return found


def _indices(name: str, values: object, samples: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(is_whole(i) and 0 <= i < samples for i in values):
        raise PcvrError(f"the manifest's {name} are not a list of whole numbers from 0 to {samples - 1}.")
    if sorted(set(values)) != values:
        raise PcvrError(f"the manifest's {name} are not ascending.")
    return tuple(values)
