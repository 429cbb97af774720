"""Where a root lies: a local folder, or a prefix of an object store; the few operations that both can do safely.

A local place is a ``pathlib.Path``. A place on ``s3://`` is a ``RemotePath``, which has the part of Path's interface
that an object store can keep, through ``pyarrow.fs``. Nothing here renames on an object store (there it is copy and
delete) and nothing streams: content is complete in memory before the one write that publishes it, because an
exception inside an open stream publishes what was written so far.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from results.errors import RootUnreadable

SCHEME = "s3://"
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 30.0

_TEMPORARY = ".tmp"


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """A place in an S3 bucket, used like a ``pathlib.Path``; missing objects raise FileNotFoundError as files do.

    Credentials, region and endpoint come from the standard environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ...) and never stand in the path.

    Example:
        >>> study = RemotePath("lab/runs") / "digits-beta"
        >>> str(study), study.name, str(study.parent)
        ('s3://lab/runs/digits-beta', 'digits-beta', 's3://lab/runs')
    """

    key: str
    """Bucket and key, separated by slashes, without a slash at either end."""

    def __str__(self) -> str:
        return SCHEME + self.key

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(str(PurePosixPath(self.key) / name))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> RemotePath:
        """What it lies in."""
        return RemotePath(str(PurePosixPath(self.key).parent))

    def with_name(self, name: str) -> RemotePath:
        """Its neighbour of that name."""
        return self.parent / name

    def absolute(self) -> RemotePath:
        """Itself: remote places are always absolute."""
        return self

    def resolve(self) -> RemotePath:
        """Itself: object stores have no links."""
        return self

    def exists(self) -> bool:
        """Whether there is an object of the name, or any below it."""
        return bool(self._info().type.name != "NotFound")

    def is_file(self) -> bool:
        """Whether there is an object of the name."""
        return bool(self._info().type.name == "File")

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return bool(self._info().type.name == "Directory")

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies directly below it.

        Raises:
            FileNotFoundError: There is nothing.
        """
        from pyarrow.fs import FileSelector

        for info in self._file_system().get_file_info(FileSelector(self.key)):
            if info.base_name:  # an empty folder's marker has no name
                yield RemotePath(info.path)

    def read_bytes(self) -> bytes:
        """The object's content."""
        with self._file_system().open_input_file(self.key) as stream:
            content: bytes = stream.readall()
            return content

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding, errors)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object.

        Raises:
            FileNotFoundError: There is none, unless ``missing_ok``.
        """
        try:
            self._file_system().delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing: an object store has no folders, only names with slashes."""

    def modified_s(self) -> float:
        """When the object was written, by the store's clock; seconds since 1970, in whole seconds.

        Raises:
            FileNotFoundError: There is no such object.
        """
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(f"there is no object {self}")
        return float(info.mtime.timestamp())

    def _info(self) -> Any:  # Any: pyarrow is untyped
        return self._file_system().get_file_info(self.key)

    def _file_system(self) -> Any:  # Any: as above
        return _s3(self.key.partition("/")[0])


Place = Path | RemotePath
"""A file or folder, here or on an object store."""


def place(where: str | Place) -> Place:
    """The place that a user names: ``s3://bucket/prefix``, or a path of this machine.

    Args:
        where: As given on the command line or in ``THERMOTUNE_ROOT``; places stay what they are.

    Raises:
        RootUnreadable: An ``s3://`` address without a bucket, or with credentials or options in it.
    """
    if not isinstance(where, str):
        return where
    if not where.startswith(SCHEME):
        if "://" in where:
            raise RootUnreadable(
                f"a root must be a folder or s3://bucket/prefix, got {where.partition('://')[0]}://..."
            )
        return Path(where)
    key = where.removeprefix(SCHEME).strip("/")
    if "@" in key.partition("/")[0] or "?" in key:
        raise RootUnreadable(
            f"an address on s3 must hold neither keys nor options, got {SCHEME}... with them. Set AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL in the environment"
        )
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise RootUnreadable(f"a root on s3 must be s3://bucket/prefix, got {where}")
    return RemotePath(key)


def publish(files: Mapping[Place, bytes]) -> None:
    """Writes files so that each appears whole or not at all; when this returns they are safe.

    Here they are written under temporary names, synced, then renamed; on an object store each is one write. If one
    fails, those that have their name already are removed again.

    Args:
        files: Content by place; the folders must exist.

    Raises:
        OSError: The disk is full, the store does not answer, ...; none of the files is left behind, as far as the
            store lets itself be asked.
    """
    done: list[Place] = []
    try:
        for path, content in files.items():
            done.append(path)
            if isinstance(path, Path):
                with _draft(path).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            else:
                _put(path, content)
        for path in files:
            if isinstance(path, Path):
                _draft(path).replace(path)
        for folder in {path.parent for path in files}:
            sync_folder(folder)
    except BaseException:
        for path in done:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                if isinstance(path, Path):
                    _draft(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        raise


def write_whole(path: Place, text: str) -> None:
    """Writes or replaces a text file so that a reader, or a kill, finds all of the old or all of the new.

    Raises:
        OSError: As ``publish``; here the old file stays.
    """
    if isinstance(path, RemotePath):
        _put(path, text.encode())
        return
    draft = _draft(path)
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def names_in(folder: Place) -> list[str]:
    """Names of what lies in a folder, sorted; none where there is no folder."""
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries)
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def remove_tree(folder: Place) -> None:
    """Removes a folder with all that is in it; what cannot be removed stays."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        folder._file_system().delete_dir(folder.key)


def sync_folder(folder: Place) -> None:
    """Makes the names in a local folder safe from a power cut."""
    if isinstance(folder, Path):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}{_TEMPORARY}")


def _put(path: RemotePath, content: bytes) -> None:
    stream = path._file_system().open_output_stream(path.key)
    stream.write(content)
    stream.close()  # publishes


@cache
def _s3(bucket: str) -> Any:  # Any: pyarrow is untyped
    from pyarrow import fs

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if region is None and endpoint is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        background_writes=False,
        allow_delayed_open=True,  # small objects go in one request
    )
