"""A study: whether its file is valid, its data are there, and its networks can be built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search.doctor.check import Check, failed, ok, warning
from search.errors import Mistake, StudyFileError
from search.study import Study
from trainables.data import DATASETS, data_root, prepared, source_of
from trainables.data.integrity import UnusablePack, folder_of, open_pack
from trainables.data.packed import PackedDataset


def mistakes(found: Sequence[Mistake]) -> Iterator[Check]:
    """A failed check for each mistake of a study file."""
    for mistake in found:
        yield failed("study", f"{mistake.where}: {mistake.problem}", mistake.remedy)


def valid(study: Study) -> Check:
    """That a study file has no mistakes."""
    trials = ", ".join(f"{study.planned_trials(arm)} trials of arm {arm}" for arm in study.arms)
    return ok("study", f"{study.name} is valid: {trials}")


def fits_data(study: Study) -> Iterator[Check]:
    """Whether every recipe of a study fits its data, and its networks can be built for them."""
    from search.data import check_data

    name = study.recipe.dataset
    if _pack(name) is None and not _ships(name):
        yield warning("networks", f"cannot be tried before {name} is here", "Get the data set, then ask again")
        return
    try:
        check_data(study)
    except StudyFileError as error:
        yield from mistakes(error.mistakes)
    else:
        yield ok("networks", f"every recipe fits {name}")


def known_data() -> Iterator[Check]:
    """Which data sets are there, where no study asks for one."""
    there = prepared()
    for name in there:
        yield data(name)
    if missing := [name for name in DATASETS if name not in there]:
        yield ok("data", f"not prepared: {', '.join(missing)} (thermotune data show NAME says how)")


def data(name: str, digest: str | None = None, *, on_node: bool = False) -> Check:
    """Whether a data set is on this machine, or can come here by itself.

    Args:
        name: Of the data set.
        digest: Of the driver's; None if there is none to compare with.
        on_node: Whether this is a machine of a cluster, that the user does not sit at.
    """
    try:
        pack = _pack(name)
        if pack is not None:
            pack.require_files()
    except (UnusablePack, OSError, ValueError) as error:
        return failed("data", f"{name}: {error}", f"thermotune data prepare {name} --replace, on this machine")
    if pack is not None:
        if digest not in (None, pack.digest):
            return failed(
                "data",
                f"{name} here has the digest {pack.digest[:12]}, but the driver's has {str(digest)[:12]}",
                f"Prepare it from one source everywhere: thermotune data prepare {name} --source PATH --replace",
            )
        sizes = ", ".join(f"{split} {size:,}" for split, size in pack.sizes.items())
        return ok("data", f"{name} is there ({sizes}), in {data_root()}")
    obtain = source_of(name).obtain
    if _ships(name):
        return ok("data", f"{name} comes with a library, and is packed when it is first needed")
    how = f"{obtain} (on this machine; or share one folder with THERMOTUNE_DATA)" if on_node else obtain
    if source_of(name).fetch is not None:
        return warning("data", f"{name} is not here yet", how)
    return failed("data", f"{name} is not here, and cannot be downloaded", how)


def digest_of(name: str) -> str | None:
    """The digest of a data set that is there."""
    try:
        pack = _pack(name)
    except (UnusablePack, OSError, ValueError):
        return None
    return None if pack is None else pack.digest


def _pack(name: str) -> PackedDataset | None:
    try:
        return open_pack(folder_of(data_root(), name))
    except FileNotFoundError:
        return None


def _ships(name: str) -> bool:
    return not source_of(name).layout
