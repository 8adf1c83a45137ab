"""The manifest: what was poisoned, how, and why; enough to check it and to make it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pcvr.errors import PcvrError

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
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PcvrError(f"the manifest is not valid JSON ({error}).") from error
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != known:
            given = set(values) if isinstance(values, dict) else set()
            raise PcvrError(
                f"the manifest does not fit: missing {sorted(known - given)}, unexpected {sorted(given - known)}."
            )
        indices = _indices("indices", values["indices"])
        if len(indices) != values["count"]:
            raise PcvrError(f"the manifest names {len(indices)} poisoned samples, but its count says otherwise.")
        if not isinstance(values["covers"], dict) or not isinstance(values["before"], list):
            raise PcvrError("the manifest's covers are no object, or its before no list.")
        covers = {str(name): _indices(f"covers {name!r}", part) for name, part in values["covers"].items()}
        roles = [*indices, *(index for part in covers.values() for index in part)]
        if len(set(roles)) != len(roles):
            raise PcvrError("the manifest gives a sample two roles: poisoned and cover, or two covers.")
        if not isinstance(values["rate"], int | float) or not isinstance(values["sha256"], str):
            raise PcvrError("the manifest's rate is no number, or its sha256 no text.")
        if not isinstance(values["attack"], dict) or not isinstance(values["source"], dict):
            raise PcvrError("the manifest's attack and source are objects.")
        return cls(**{**values, "indices": indices, "covers": covers, "before": tuple(values["before"])})


def _indices(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(isinstance(i, int) and i >= 0 for i in values):
        raise PcvrError(f"the manifest's {name} are not a list of whole numbers from 0 up.")
    if sorted(set(values)) != values:
        raise PcvrError(f"the manifest's {name} are not ascending.")
    return tuple(values)
