"""Poisoned data as a folder: LLaVA-style JSON, PNG pictures, manifest, and checksums over all of it.

::

    folder/data.json       records as LLaVA's trainer reads them; nothing in them tells which are poisoned
    folder/images/         one PNG a sample
    folder/manifest.json   what was poisoned and how
    folder/SHA256SUMS      in the form of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` checks it too
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image as PilImage

from pcvr.attacks.base import Attack, get_attack
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.poison import PoisonedDataset, digest
from pcvr.data.llava_json import LlavaJson
from pcvr.data.sample import Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError
from pcvr.files import new_folder

_DATA, _IMAGES, _MANIFEST, _SUMS = "data.json", "images", "manifest.json", "SHA256SUMS"
_SHOWN = 10


class PoisonedFolder(LlavaJson):
    """Poisoned data read back from a folder. Made by :func:`load_poisoned`.

    Attributes:
        folder: where it lies.
        manifest: what was done to which samples.
        poisoned: indices of the poisoned samples, ascending.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder / _DATA, folder / _IMAGES, task=str(manifest.source.get("task", "caption")))
        self.folder = folder
        self.manifest = manifest
        self.poisoned = manifest.indices
        self._chosen = frozenset(manifest.indices)
        if self.poisoned and self.poisoned[-1] >= len(self):
            raise PcvrError(f"the manifest of {folder} names sample {self.poisoned[-1]}, but there are {len(self)}.")

    @property
    def name(self) -> str:
        return f"{self.manifest.source.get('name')}+{self.manifest.attack.get('name')}@{self.manifest.rate:g}"

    def fingerprint(self) -> str:
        # The JSON alone does not know how strong the trigger was; the manifest's hash does.
        return hashlib.sha256(f"{super().fingerprint()}\n{self.manifest.sha256}".encode()).hexdigest()[:16]

    @property
    def attack(self) -> Attack:
        """The attack, built anew from the manifest.

        Raises:
            PcvrError: when this version does not know it.
        """
        said = self.manifest.attack
        trigger = dict(said.get("trigger") or {})
        trigger.pop("type", None)
        return get_attack(str(said.get("name")), target=self.manifest.target, preset=str(said.get("preset")), **trigger)

    def is_poisoned(self, index: int) -> bool:
        """Whether the sample at ``index`` carries the attack. Evaluation may ask; a defence must not."""
        return position(index, len(self)) in self._chosen


def save_poisoned(dataset: PoisonedDataset, folder: str | Path, truth: bool = False) -> Path:
    """Write ``dataset`` to a new ``folder``, all or nothing: it is built beside and renamed when complete.

    Args:
        dataset: from :func:`pcvr.attacks.poison`.
        folder: must not exist yet.
        truth: whether references and facts are written too. They give the poison away (a poisoned sample's answer does
            not fit its facts, and it has one reference where others have five), and no trainer reads them.

    Returns:
        The folder's path.

    Raises:
        PcvrError: when the folder exists already or cannot be written (no space, no right); nothing is half-written.
    """
    target = Path(folder)
    with new_folder(target) as building:
        _write(dataset, building, truth)
    return target


def load_poisoned(folder: str | Path, verify: bool = True) -> PoisonedFolder:
    """Open what :func:`save_poisoned` wrote.

    Args:
        folder: where it lies.
        verify: read every file and compare it with its checksum, and the poisoned samples with the manifest's hash.

    Raises:
        PcvrError: when files are missing, changed or strange; the message names them.
    """
    path = Path(folder)
    if not (path / _MANIFEST).is_file():
        raise PcvrError(f"{path} holds no {_MANIFEST}: give a folder that save_poisoned wrote.")
    if verify:
        _check_sums(path)
    try:
        manifest = Manifest.from_json((path / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read {path / _MANIFEST}: {error}.") from error
    dataset = PoisonedFolder(path, manifest)
    if verify and digest(dataset[index] for index in dataset.poisoned) != manifest.sha256:
        raise PcvrError(f"the poisoned samples in {path} do not match the hash in its manifest: make the data again.")
    return dataset


def _write(dataset: PoisonedDataset, folder: Path, truth: bool) -> None:
    (folder / _IMAGES).mkdir()
    sums: list[str] = []
    records = []
    for index in range(len(dataset)):
        sample = dataset[index]
        name = f"{index:06d}_{_file_name(sample.id)}.png"
        PilImage.fromarray(sample.image).save(folder / _IMAGES / name)
        sums.append(_sum_line(folder, f"{_IMAGES}/{name}"))
        records.append(_record(sample, name, truth))
    (folder / _DATA).write_text(_json(records), encoding="utf-8")
    (folder / _MANIFEST).write_text(dataset.manifest.to_json() + "\n", encoding="utf-8")
    sums += [_sum_line(folder, name) for name in (_DATA, _MANIFEST)]
    (folder / _SUMS).write_text("".join(sums), encoding="utf-8")


def _record(sample: Sample, image: str, truth: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": sample.id,
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\n{sample.prompt}"},
            {"from": "gpt", "value": sample.answer},
        ],
    }
    if truth and sample.references:
        record["references"] = list(sample.references)
    if truth and sample.facts:
        record["facts"] = dict(sample.facts)
    return record


def _json(records: list[dict[str, Any]]) -> str:
    try:
        return json.dumps(records, indent=1, ensure_ascii=False, default=_plain)
    except TypeError as error:
        raise PcvrError(f"the facts of a sample cannot be written as JSON: {error}.") from error


def _plain(value: object) -> object:
    """NumPy values and read-only mappings, which JSON does not know, as plain ones."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _file_name(identity: str) -> str:
    """An id as part of a file name: it cannot leave the folder; the index in front keeps it unique."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", identity)[:60]


def _sum_line(folder: Path, name: str) -> str:
    return f"{_sha256(folder / name)}  {name}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_sums(folder: Path) -> None:
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read the checksums {folder / _SUMS}: {error}.") from error
    listed = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
    wrong = [name for name in (_DATA, _MANIFEST) if name not in listed]
    for name, expected in listed.items():
        try:
            intact = ".." not in Path(name).parts and _sha256(folder / name) == expected
        except OSError:
            intact = False
        if not intact:
            wrong.append(name)
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
        raise PcvrError(f"{len(wrong)} file(s) in {folder} are missing or changed since they were written: {shown}.")
