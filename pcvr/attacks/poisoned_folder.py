"""Poisoned data on disk, read back and checked.

::

    folder/data.json       records as LLaVA's trainer reads them; nothing in them tells which are poisoned
    folder/images/         one PNG a sample
    folder/manifest.json   what was poisoned and how
    folder/SHA256SUMS      in the form of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` checks it too

or, in place of the first two, the files of a ``datasets`` table with the columns id, image, prompt and answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pcvr.attacks.base import Attack
from pcvr.attacks.checksums import DATA, IMAGES, MANIFEST, TABLE, check_sums, holds_manifest
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.poison import digest
from pcvr.attacks.reach import Pair, spread
from pcvr.attacks.registry import get_attack
from pcvr.attacks.selection import all_poisoned
from pcvr.attacks.trigger import Trigger
from pcvr.data.llava_json import LlavaJson
from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import position
from pcvr.data.tables import open_table
from pcvr.errors import PcvrError


class PoisonedFolder:
    """Poisoned data read back from a folder. Made by :func:`load_poisoned`.

    Attributes:
        folder: where it lies.
        data: what it holds, as it would be read without its manifest.
        manifest: what was done to which samples.
        poisoned: indices of the samples with an attacker's answer, ascending.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.data = _data(folder, str(manifest.source.get("task", "caption")))
        self.manifest = manifest
        self.poisoned = all_poisoned(manifest)
        self._chosen = frozenset(self.poisoned)
        if any(one.source["samples"] != len(self.data) for one in manifest.chain()):
            raise PcvrError(
                f"the manifest of {folder} is of {manifest.source['samples']} samples, but there are {len(self.data)}: "
                "make the data again."
            )

    @property
    def name(self) -> str:
        return f"{self.manifest.source.get('name')}+{self.manifest.attack.get('name')}@{self.manifest.rate:g}"

    @property
    def task(self) -> str:
        return self.data.task

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int, /) -> Sample:
        return self.data[index]

    def fingerprint(self) -> str:
        # The JSON alone does not know how strong the trigger was; the manifest's hash does.
        return hashlib.sha256(f"{self.data.fingerprint()}\n{self.manifest.sha256}".encode()).hexdigest()[:16]

    @property
    def attack(self) -> Attack:
        """The attack, built anew from the manifest.

        Raises:
            PcvrError: when this version does not know it.
        """
        return attack_of(self.manifest)

    def twins(self) -> Iterator[tuple[Attack, Iterator[Pair]]]:
        """Each attacker whose trigger can be built again, with some negatives of poisoned pictures and their triggered
        twins: the clean pictures are not here."""
        for manifest in self.manifest.chain():
            try:
                attack = attack_of(manifest)
            except PcvrError:
                continue
            if attack.trigger is not None:
                yield attack, self._negatives(attack.trigger, manifest)

    def _negatives(self, trigger: Trigger, manifest: Manifest) -> Iterator[Pair]:
        for index in spread(manifest.indices):
            negative = 255 - self.data[index].image
            yield negative, trigger(negative)

    def is_poisoned(self, index: int) -> bool:
        """Whether the sample at ``index`` carries the attack. Evaluation may ask; a defence must not."""
        return position(index, len(self)) in self._chosen


def attack_of(manifest: Manifest) -> Attack:
    """The attack that a manifest describes, built anew.

    Raises:
        PcvrError: when this version does not know it.
    """
    said = manifest.attack
    return get_attack(
        str(said.get("name")),
        target=manifest.target,
        preset=str(said.get("preset")),
        answer=str(said.get("answer")),
        **dict(said.get("options") or {}),
    )


def load_poisoned(folder: str | Path, verify: bool = True) -> PoisonedFolder:
    """Open what :func:`save_poisoned` wrote.

    Args:
        folder: where it lies.
        verify: read every file and compare it with its checksum, and the poisoned samples with the manifest's hash.

    Raises:
        PcvrError: when files are missing, changed or strange; the message names them.
    """
    path = Path(folder)
    if not holds_manifest(path):
        raise PcvrError(f"{path} holds no {MANIFEST}: give a folder that save_poisoned wrote.")
    if verify:
        check_sums(path)
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read {path / MANIFEST}: {error}.") from error
    dataset = PoisonedFolder(path, manifest)
    for one in manifest.chain() if verify else ():
        if digest(dataset[index] for index in one.altered) != one.sha256:
            raise PcvrError(
                f"the samples that {one.attack.get('name')!r} altered in {path} do not match the hash in its manifest: "
                "make the data again."
            )
    return dataset


def _data(folder: Path, task: str) -> Dataset:
    if (folder / TABLE).is_file():
        return open_table(folder, "all", task)
    return LlavaJson(folder / DATA, folder / IMAGES, task=task)
