"""Teachers: networks that are trained once, kept under what they are, and found again by every study that asks.

The address of a teacher is a hash of its recipe, its seed, its data and the teachers it learnt from itself. Whoever
describes the same teacher finds the same folder, whatever it is called there. Beside the weights lie its raw logits
over the training split, which every process maps into memory; of a shelf on an object store every machine keeps a copy
of what it uses. This module does not load torch until it has to.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.content import locked, sha256_of
from trainables.recipe import Recipe, Teacher
from trainables.storage import Folder, user_cache
from trainables.teacher_files import FACTS, LOCK, LOGITS, WEIGHTS, check, fetch, put, upload

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the files and of what an address covers."""

LOGITS_LIMIT_BYTES = 8 * 2**30
"""Larger caches are not written; the teacher then answers for every batch."""

_ADDRESS = re.compile(r"[0-9a-f]{16}")


def in_order(names: Iterable[str], teachers: Mapping[str, Teacher]) -> tuple[str, ...]:
    """These teachers and all that they learn from, each after those that it needs.

    Args:
        names: Names to begin with.
        teachers: All there are.

    Raises:
        ValueError: A name is unknown, or a teacher needs itself.
    """
    ordered: list[str] = []

    def visit(name: str, below: tuple[str, ...]) -> None:
        if name not in teachers:
            known = f"one of the teachers ({', '.join(teachers)})" if teachers else "described under teachers"
            raise ValueError(f"a teacher must be {known}, got {name}")
        if name in below:
            raise ValueError(f"a teacher must not learn from itself, got {' -> '.join([*below, name])}")
        if name not in ordered:
            for needed in teachers[name].recipe.names:
                visit(needed, (*below, name))
            ordered.append(name)

    for name in names:
        visit(name, ())
    return tuple(ordered)


def address_of(name: str, teachers: Mapping[str, Teacher], data_digest: str) -> str:
    """The address of a teacher: 16 hex digits, equal for equal recipe, seed, epoch, data and teachers of its own.

    Args:
        name: Of the teacher.
        teachers: It and all it needs, by name; names themselves do not count.
        data_digest: Digest of the packed data set.
    """
    teacher = teachers[name]
    recipe = teacher.recipe.model_dump(mode="json")
    if "teacher" in recipe["loss"]:
        recipe["loss"]["teacher"] = address_of(recipe["loss"]["teacher"], teachers, data_digest)
    if recipe["base"] is not None:
        recipe["base"] = address_of(recipe["base"], teachers, data_digest)
    facts = {
        "format": FORMAT,
        "recipe": recipe,
        "seed": teacher.seed,
        "epoch": teacher.epoch or teacher.recipe.epochs,
        "data": data_digest,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class StoredTeacher:
    """A trained teacher.

    Attributes:
        folder: Where it lies on this machine; its name is the address.
        name: What the study that trained it called it.
        recipe: What was trained.
        seed: With which seed.
        epoch: After how many epochs it was taken.
        data: Digest of its data.
        needs: Addresses of the teachers that its recipe names.
        parameters: Number of trained parameters.
        metrics: Of its last epoch; the test split is never among them.
        trained_at: UTC, ISO 8601.
        train_time_s: Seconds that its training took.
        versions: Of the libraries.
    """

    folder: Path
    name: str
    recipe: Recipe
    seed: int
    epoch: int
    data: str
    needs: Mapping[str, str]
    parameters: int
    metrics: Mapping[str, float]
    trained_at: str
    train_time_s: float
    versions: Mapping[str, str]

    @property
    def address(self) -> str:
        """Its 16 hex digits."""
        return self.folder.name

    def weights(self) -> dict[str, Tensor]:
        """Its ``state_dict``, on the CPU."""
        import torch

        loaded: dict[str, Tensor] = torch.load(self.folder / WEIGHTS, map_location="cpu", weights_only=True)
        return loaded


def kept_logits(folder: Path) -> NDArray[np.float32] | None:
    """A teacher's raw logits over the training split, (N, C) float32 as a memory map; None if too large to keep.

    Raw logits, because asymmetric temperatures are not invariant to shifts (methods.md C.3).
    """
    file = folder / LOGITS
    return np.load(file, mmap_mode="c", allow_pickle=False) if file.exists() else None


def _stored(folder: Path, facts: Mapping[str, Any]) -> StoredTeacher:
    return StoredTeacher(folder=folder, **{**facts, "recipe": Recipe.model_validate(facts["recipe"])})


class Shelf:
    """The folder of all teachers under a root.

    Attributes:
        origin: Where it is, here or on an object store.
        root: Where it is on this machine: the same, or copies of what was used here, which may be removed.
    """

    def __init__(self, origin: str | Folder) -> None:
        """Makes nothing yet.

        Args:
            origin: The folder; a text is one of this machine.
        """
        self.origin: Folder = Path(origin) if isinstance(origin, str) else origin
        if isinstance(self.origin, Path):
            self.root = self.origin
        else:
            address = hashlib.sha256(str(self.origin).encode()).hexdigest()[:16]
            self.root = user_cache() / f"{self.origin.name}-{address}"

    def get(self, address: str) -> StoredTeacher | None:
        """The teacher at an address; None if there is none, or (with a warning) if its files are damaged.

        Raises:
            OSError: The store did not answer for a long time.
        """
        if not _ADDRESS.fullmatch(address):
            return None
        folder = self.root / address
        try:
            if not isinstance(self.origin, Path):
                fetch(self.origin / address, folder)
            return _stored(folder, check(folder))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            where = self.origin / address
            warnings.warn(f"the teacher in {where} is damaged ({error}); it has to be trained again", stacklevel=2)
            return None

    def all(self) -> list[StoredTeacher]:
        """Every sound teacher, the newest first; of those on an object store only the facts are read."""
        try:
            names = sorted(folder.name for folder in self.origin.iterdir() if _ADDRESS.fullmatch(folder.name))
        except FileNotFoundError:
            return []
        found = [self.get(name) if isinstance(self.origin, Path) else self._described(name) for name in names]
        return sorted((t for t in found if t is not None), key=lambda t: t.trained_at, reverse=True)

    def publish(
        self,
        address: str,
        *,
        weights: Mapping[str, Tensor],
        logits: NDArray[np.float32] | None,
        facts: Mapping[str, Any],  # JSON: the attributes of StoredTeacher but its folder, the recipe as plain values
    ) -> StoredTeacher:
        """Puts a trained teacher on the shelf, whole or not at all; one that is there already stays.

        Args:
            address: As :func:`address_of` gives it.
            weights: ``state_dict`` of the network.
            logits: (N, C) raw logits over the training split; None keeps no cache.
            facts: What describes it.

        Raises:
            OSError: The shelf cannot be written.
        """
        import torch

        if (there := self.get(address)) is not None:
            return there
        self.root.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{address}.", suffix=".tmp", dir=self.root))
        try:
            fresh.chmod(0o755)  # mkdtemp makes it private, but a root may serve several users
            torch.save(dict(weights), fresh / WEIGHTS)
            files = {WEIGHTS: sha256_of(fresh / WEIGHTS)}
            if logits is not None:
                np.save(fresh / LOGITS, logits, allow_pickle=False)
                files[LOGITS] = sha256_of(fresh / LOGITS)
            (fresh / FACTS).write_text(json.dumps({**facts, "files": files}, indent=1) + "\n", encoding="utf-8")
            with locked(self.root / LOCK):
                if not isinstance(self.origin, Path):
                    upload(fresh, self.origin / address)
                    put(fresh, self.root / address)  # spares a download
                elif self.get(address) is None:  # otherwise another process was faster
                    put(fresh, self.root / address)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        stored = self.get(address)
        if stored is None:
            raise OSError(f"the teacher at {self.origin / address} cannot be read back")
        return stored

    def _described(self, address: str) -> StoredTeacher | None:
        """A teacher by its facts alone, whether or not its files are sound."""
        try:
            facts = json.loads((self.origin / address / FACTS).read_bytes())
            del facts["files"]
            return _stored(self.root / address, facts)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # one that is being uploaded has none yet
            return None
