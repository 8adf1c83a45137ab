"""Poisoned data on disk, read back and checked.

::

    folder/data.json       records as LLaVA's trainer reads them; they do not say which are poisoned
    folder/images/         one PNG a sample
    ...                    the same for other programs, see `pcvr.data.forms`
    folder/manifest.json   what was poisoned and how
    folder/SHA256SUMS      in the form of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` checks it too

or, instead of the first three, the files of a ``datasets`` table with the columns id, image, prompt and answer (of
conversations id, image and messages).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pcvr.attacks.base import Attack
from pcvr.attacks.checksums import MANIFEST, TABLE, check_sums, holds_manifest
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.poison import PoisonedData, digest, short_hash
from pcvr.attacks.reach import Pair, sample_evenly
from pcvr.attacks.registry import get_attack
from pcvr.attacks.trigger import Trigger
from pcvr.data.forms import DATA, IMAGES
from pcvr.data.llava_json import LlavaJson
from pcvr.data.sample import Dataset
from pcvr.data.tables import open_table
from pcvr.errors import PcvrError


class PoisonedFolder(PoisonedData):
    """Poisoned data read back from a folder. Made by :func:`load_poisoned`; attributes also as of `PoisonedData`.

    Attributes:
        folder: the folder.
        data: its samples, as they would be read without the manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.data = _data(folder, str(manifest.source.get("task", "caption")))
        super().__init__(self.data, manifest)
        if any(one.source["samples"] != len(self.data) for one in manifest.chain()):
            raise PcvrError(
                f"the manifest of {folder} is of {manifest.source['samples']} samples, but there are {len(self.data)}: "
                "make the data again."
            )

    def fingerprint(self) -> str:
        # The JSON alone does not know how strong the trigger was; the manifest's hash does.
        return short_hash(self.data.fingerprint(), self.manifest.sha256)

    @property
    def attack(self) -> Attack:
        """The attack, built again from the manifest.

        Raises:
            PcvrError: this version does not know it.
        """
        return attack_of(self.manifest)

    def clean_pairs(self) -> Iterator[tuple[Attack, Iterator[Pair]]]:
        """Yield each attack that can be built again, with negatives of some poisoned images and the trigger on them.

        The folder holds no clean versions. A negative has the size and texture of its image and no trigger.
        """
        for manifest in self.manifest.chain():
            try:
                attack = attack_of(manifest)
            except PcvrError:
                continue
            if attack.trigger is not None:
                yield attack, self._negatives(attack.trigger, manifest)

    def _negatives(self, trigger: Trigger, manifest: Manifest) -> Iterator[Pair]:
        for index in sample_evenly(manifest.indices):
            negative = 255 - self.data[index].image
            yield negative, trigger(negative)


def attack_of(manifest: Manifest) -> Attack:
    """Build the attack that a manifest describes.

    Raises:
        PcvrError: this version does not know it.
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
        folder: the folder.
        verify: read every file and compare it with its checksum, and the poisoned samples with the manifest's hash.

    Raises:
        PcvrError: files are missing, changed or not listed; the message names them.
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
