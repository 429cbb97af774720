"""What travels to a cluster: the code of the four packages, the study file, and where both come from. Nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from results.environment import ORIGIN, origin

PACKAGES = ("results", "search", "spaces", "trainables")
SUFFIXES = {".py", ".yaml", ".css", ".js", ".html", ".sh"}
"""Of code and of the data that belongs to it. Whatever else lies in the folders of a checkout stays at home."""
STUDY_FILE = "study.yaml"
PYTHON = (3, 11)
"""The oldest that thermotune runs on."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file, which is sent once


@dataclass(frozen=True, slots=True)
class Package:
    """A zip file for the working directory of a job.

    Attributes:
        uri: Under which Ray keeps it; says the content.
        content: The file; 0.7 MB, where Ray takes 500.
    """

    uri: str
    content: bytes


def code_files() -> dict[str, Path]:
    """The files of the four packages by their name in the package, for example ``search/study.py``."""
    home = Path(__file__).resolve().parent.parent.parent
    return {
        str(path.relative_to(home)): path
        for package in PACKAGES
        for path in sorted((home / package).rglob("*"))
        if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts
    }


def pack(extra: Mapping[str, str] | None = None) -> Package:
    """The package of this thermotune.

    Args:
        extra: More text files, by name: the study file.
    """
    texts = {ORIGIN: json.dumps({**origin(), "requires": _needed(), "requires_python": PYTHON}), **(extra or {})}
    files = {
        **{name: path.read_bytes() for name, path in code_files().items()},
        **{name: text.encode() for name, text in texts.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    packed = buffer.getvalue()
    return Package(f"gcs://_ray_pkg_{hashlib.sha256(packed).hexdigest()[:32]}.zip", packed)


def _needed() -> list[str]:
    """What thermotune needs, such as ``torch>=2.11``, as it was installed here."""
    try:
        listed = metadata.requires("thermotune") or []
    except metadata.PackageNotFoundError:
        return []
    return [requirement for requirement in listed if "extra ==" not in requirement]
