"""Python and packages: new enough, and on all machines the same."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from results.environment import origin
from search.doctor.check import Check, failed, ok, warning
from search.jobs.package import code_files

SHOWN = ("torch", "ray", "optuna", "mlflow", "pyarrow")
"""Packages whose versions are said where all is well."""
SAME = ("ray", "torch")
"""Packages that must have one version on all machines: Ray's processes talk to each other, and numbers are torch's."""


def installed() -> Iterator[Check]:
    """Whether Python and every package that thermotune needs is there, and new enough."""
    python, requirements = _needed()
    if SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        yield ok("python", platform.python_version())
    else:
        yield failed("python", f"{platform.python_version()}, but thermotune needs {python}", "Install a newer Python")
    wrong = list(unmet(map(Requirement, requirements)))
    yield from wrong
    if not wrong:
        said = ", ".join(f"{name} {_version(name)}" for name in SHOWN)
        yield ok("packages", f"all {len(requirements)} are new enough: {said}, ...")


def unmet(requirements: Iterable[Requirement]) -> Iterator[Check]:
    """A failed check for each package that is missing or too old.

    Args:
        requirements: Such as ``torch>=2.11``; those for other systems, or for extras, do not count.
    """
    for needed in requirements:
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        remedy = f"pip install '{needed}'"
        if found is None:
            yield failed("packages", f"{needed.name} is not installed", remedy)
        elif not needed.specifier.contains(found, prereleases=True):
            yield failed("packages", f"{needed.name} {found}, but thermotune needs {needed.specifier}", remedy)


def versions() -> dict[str, str]:
    """What must be the same on all machines: Python, Ray, torch, and thermotune's own code by its digest."""
    return {
        "python": platform.python_version(),
        **{name: (_version(name) or "not installed").partition("+")[0] for name in SAME},  # +cpu and +cu128 are one
        "thermotune": _code(),
    }


def same(here: Mapping[str, str], drivers: Mapping[str, str]) -> Iterator[Check]:
    """Whether a machine has what the driver has.

    Args:
        here: What ``versions`` gives on the machine.
        drivers: What it gives where the driver is.
    """
    differing = [name for name in drivers if here[name] != drivers[name]]
    for name in differing:
        found = f"{name} {here[name]}, but the driver has {drivers[name]}"
        if name == "thermotune":
            remedy = "Install the same version there, or submit through the job server, which sends the driver's code"
            yield failed("versions", f"another version of thermotune's code than the driver's ({here[name]})", remedy)
        elif name == "python" and _minor(here[name]) == _minor(drivers[name]):
            yield warning("versions", found, "Install the same Python on all machines, to be on the safe side")
        else:
            yield failed("versions", found, f"Install {name} {drivers[name]} on this machine, then start its Ray again")
    if not differing:
        shown = ", ".join(f"{name} {version}" for name, version in drivers.items() if name != "thermotune")
        yield ok("versions", f"as the driver: {shown}, the same thermotune")


def _needed() -> tuple[str, list[str]]:
    """Which versions of Python, and which packages it needs; code that came with a job brings the list."""
    sent = origin()
    if "requires" in sent:
        return f">={'.'.join(map(str, sent['requires_python']))}", sent["requires"]
    about = metadata.metadata("thermotune")
    return about["Requires-Python"], about.get_all("Requires-Dist") or []


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


@cache
def _code() -> str:
    """Digest of all our source files, wherever they lie."""
    found = hashlib.sha256()
    for name, file in code_files().items():
        found.update(f"{name}\n".encode() + file.read_bytes())
    return found.hexdigest()[:12]
