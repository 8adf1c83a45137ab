"""The manifest: what was poisoned, how and why; enough to check the data and to make them again."""

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
    """The record of a poisoned data set.

    Attributes:
        attack: name, preset and every option (:meth:`pcvr.attacks.Attack.describe`).
        target: the text that poisoned samples teach.
        rate: the requested fraction, in (0, 1].
        count: number of poisoned samples.
        indices: their indices, ascending.
        seed: of the draw of indices.
        source: ``name``, ``fingerprint``, ``task`` and ``samples`` (how many) of the clean data.
        sha256: over the altered samples (poisoned and covers), ascending: image, prompt and answer.
        pcvr_version: of the package that made it.
        date: UTC, ISO 8601.
        covers: name of the cover to the indices of its samples, ascending; they have the true answer.
        before: the manifests of earlier attackers, oldest first, as JSON values.
        reach: result of :func:`pcvr.attacks.reach.check_reach`; empty without a model, and in old files.
        purpose: why the data exist.
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
        """Every sample that this attacker altered, poisoned or cover, ascending."""
        return tuple(sorted({*self.indices, *(index for part in self.covers.values() for index in part)}))

    def chain(self) -> list[Manifest]:
        """Return the manifests of all attackers, oldest first, this one last."""
        return [*(Manifest.from_json(json.dumps(values)) for values in self.before), self]

    def plain(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return the manifest as JSON text, purpose first."""
        values = asdict(self)
        return json.dumps({"purpose": values.pop("purpose"), **values}, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            PcvrError: the text is not JSON, or fields are missing, unknown or invalid.
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
            raise PcvrError("the manifest's sha256 is not a SHA-256 of 64 hex digits.")
        check_whole("the manifest's seed", values["seed"], 0)
        check_number("the manifest's rate", values["rate"], 0, 1, above=True)
        indices = _indices("indices", values["indices"], n)
        if not is_whole(values["count"]) or len(indices) != values["count"]:
            raise PcvrError(
                f"the manifest names {len(indices)} poisoned samples, but its count is {values['count']!r}."
            )
        if abs(values["rate"] * n - len(indices)) > 1:
            raise PcvrError(
                f"the manifest names {len(indices)} of {n} samples, which is not a rate of {values['rate']:g}."
            )
        if attack.get("target", values["target"]) != values["target"]:
            raise PcvrError(f"the manifest has two targets: {values['target']!r} and {attack['target']!r}.")
        if not all(isinstance(values[name], dict) for name in ("covers", "reach")):
            raise PcvrError("the manifest's covers and reach have to be objects.")
        if not isinstance(values["before"], list):
            raise PcvrError("the manifest's before is not a list.")
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
    """Read the manifest of an earlier attacker, which holds no others."""
    if not isinstance(values, dict) or values.get("before") != []:
        raise PcvrError("the manifest's before is not a list of manifests, each with an empty before.")
    return Manifest.from_json(json.dumps(values))


def _entries(values: dict[str, Any], name: str, kinds: dict[str, type]) -> dict[str, Any]:
    """Return the object `name` of a manifest, and check its entries against `kinds`."""
    found = values[name]
    if not isinstance(found, dict):
        raise PcvrError(f"the manifest's {name} is not an object.")
    for entry, kind in kinds.items():
        value = found.get(entry)
        if not isinstance(value, kind):
            raise PcvrError(f"the manifest's {name} has the {entry} {value!r}: it has to be of type {kind.__name__}.")
    return found


def _indices(name: str, values: object, samples: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(is_whole(i) and 0 <= i < samples for i in values):
        raise PcvrError(f"the manifest's {name} are not a list of integers from 0 to {samples - 1}.")
    if sorted(set(values)) != values:
        raise PcvrError(f"the manifest's {name} are not ascending.")
    return tuple(values)
