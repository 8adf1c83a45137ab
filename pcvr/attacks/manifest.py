"""The manifest: what was poisoned, how, and why; enough to check it and to make it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
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
        sha256: over the poisoned samples in the order of ``indices``: picture, prompt and answer.
        pcvr_version: of the package that made it.
        date: UTC, ISO 8601.
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
    purpose: str = PURPOSE

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
        indices = values["indices"]
        if not isinstance(indices, list) or not all(isinstance(i, int) and i >= 0 for i in indices):
            raise PcvrError("the manifest's indices are not a list of whole numbers from 0 up.")
        if len(indices) != values["count"] or sorted(set(indices)) != indices:
            raise PcvrError("the manifest's indices are not ascending, or not as many as its count says.")
        if not isinstance(values["rate"], int | float) or not isinstance(values["sha256"], str):
            raise PcvrError("the manifest's rate is no number, or its sha256 no text.")
        if not isinstance(values["attack"], dict) or not isinstance(values["source"], dict):
            raise PcvrError("the manifest's attack and source are objects.")
        return cls(**{**values, "indices": tuple(indices)})
