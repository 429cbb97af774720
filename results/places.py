"""Where a root lies: a local folder, or a prefix of an object store; the few operations that both can do safely.

A local place is a ``pathlib.Path``. A place on ``s3://`` is a ``RemotePath``, which has the part of Path's interface
that an object store can keep, through ``pyarrow.fs``. Nothing here renames on an object store (there it is copy and
delete) and nothing streams: content is complete in memory before the one write that publishes it, because an
exception inside an open stream publishes what was written so far.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from results.errors import RootUnreadable

SCHEME = "s3://"
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
"""A request fails when no byte has moved for so long; a write then takes about four times as long to give up."""
ATTEMPTS = 2
"""A request that fails is tried again at once; what matters is tried again later by whoever needs it."""
AT_ONCE = 16
"""Requests to a store at the same time."""

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
"""What leads to an object store and opens it."""

_STORE_ERROR = re.compile(r"AWS Error (?P<code>\w+) during \w+ operation: (?P<words>.*?)(?: \(Request ID.*)?$")
_STORE_WORDS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "NETWORK_CONNECTION": "the store does not answer",
    "REQUEST_TIMEOUT": "the store does not answer",
    "ACCESS_DENIED": "the keys do not give the right to do so, or there are none",
    "INVALID_ACCESS_KEY_ID": "the store does not know the key in AWS_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "EXPIRED_TOKEN": "the keys have expired",
    "INTERNAL_FAILURE": "the store failed, or there are no keys for it in the environment",
}
_TEMPORARY = ".tmp"
_PIECE_BYTES = 8 * 2**20
_Answer = TypeVar("_Answer")
_ONE_REQUEST_BYTES = 4 * 2**20  # pyarrow writes up to 10 MB so


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

    def walk(self) -> Iterator[RemotePath]:
        """All objects below it, however deep; none where there is nothing."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.key, recursive=True, allow_not_found=True)
        for info in self._file_system().get_file_info(selector):
            if info.type == FileType.File:
                yield RemotePath(info.path)

    def read_bytes(self) -> bytes:
        """The object's content."""
        try:
            with self._file_system().open_input_file(self.key) as stream:
                content: bytes = stream.readall()
                return content
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and not self.is_file():  # gone after its size had been asked
                raise FileNotFoundError(f"there is no object {self}") from error
            raise

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding, errors)

    def copy_to(self, file: Path) -> None:
        """Writes the object's content to a local file, in pieces: it may be larger than the memory."""
        with self._file_system().open_input_stream(self.key) as stream, file.open("wb") as copy:
            shutil.copyfileobj(stream, copy, _PIECE_BYTES)

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Makes or replaces the object: whole, or not at all; when this returns it is safe.

        What takes several requests is written under a temporary name and copied by the store: where one of them fails,
        pyarrow still asks the store to make an object of those before it.
        """
        if len(content) <= _ONE_REQUEST_BYTES:
            self._put(content)
            return
        draft = self.with_name(f".{self.name}{_TEMPORARY}")
        try:
            draft._put(content)
            self._file_system().copy_file(draft.key, self.key)
        finally:
            with contextlib.suppress(OSError):  # a draft does no harm, and goes with its folder
                draft.unlink(missing_ok=True)

    def _put(self, content: bytes | memoryview) -> None:
        stream = self._file_system().open_output_stream(self.key)
        stream.write(content)
        stream.close()

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

    def size(self) -> int:
        """How large the object is; bytes."""
        return int(self._info().size or 0)

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
            f"an address on s3 must hold neither keys nor options, got {SCHEME}... with them. "
            f"Set {', '.join(VARIABLES)} in the environment"
        )
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise RootUnreadable(f"a root on s3 must be s3://bucket/prefix, got {where}")
    return RemotePath(key)


def publish(files: Mapping[Place, bytes], confirm: Callable[[], object] = lambda: None) -> None:
    """Writes files so that each appears whole or not at all; when this returns they are safe.

    Here they are written under temporary names, synced, then renamed in order; on an object store each is one write,
    all at the same time. If this fails, any of the files may be there. Writing the same again is always right.

    Args:
        files: Content by place; the folders must exist.
        confirm: Called right before the first file can appear; what it raises keeps all of them from it.

    Raises:
        OSError: The disk is full, the store does not answer, ...
    """
    here = {path: content for path, content in files.items() if isinstance(path, Path)}
    remote = {path: content for path, content in files.items() if isinstance(path, RemotePath)}
    try:
        for path, content in here.items():
            with _draft(path).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        confirm()
        for path in here:
            _draft(path).replace(path)
        for folder in {path.parent for path in here}:
            sync_folder(folder)
    finally:
        for path in here:
            _draft(path).unlink(missing_ok=True)
    each(RemotePath.write_bytes, remote, remote.values())


def each(function: Callable[..., object], *arguments: Iterable[Any]) -> list[Any]:
    """Like ``map``, with many at a time, for what waits on a store or a disk; the first error is raised at the end."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, *arguments))


def each_file(function: Callable[[Place], _Answer], files: Sequence[Place]) -> list[_Answer]:
    """Calls a function with each of some files: many at a time on a store; here in turn, as threads cost more."""
    return each(function, files) if any(isinstance(file, RemotePath) for file in files) else list(map(function, files))


def write_whole(path: Place, text: str) -> None:
    """Writes or replaces a text file so that a reader, or a kill, finds all of the old or all of the new.

    Raises:
        OSError: As ``publish``; here the old file stays.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(text.encode())
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


def scratch(study_dir: Place) -> Path:
    """Where this machine keeps what a study needs only here: logs, locks between processes, Ray's own files.

    Args:
        study_dir: Folder of the study.

    Returns:
        A local folder that exists: the study's own, or for one on an object store a part of the user's cache folder
        (``XDG_CACHE_HOME``, else ``~/.cache``).
    """
    if isinstance(study_dir, Path):
        return study_dir
    cache = os.environ.get("XDG_CACHE_HOME")
    address = hashlib.sha256(str(study_dir).encode()).hexdigest()[:16]
    folder = (Path(cache) if cache else Path.home() / ".cache") / "thermotune" / f"{study_dir.name}-{address}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def reason(error: OSError) -> str:
    """Why a place cannot be used, in a few words: of a store its own, without the request that it was about."""
    if error.strerror:
        return error.strerror
    line = (str(error).splitlines() or [""])[0]
    found = _STORE_ERROR.search(line)
    if found is None:
        return line or type(error).__name__
    return _STORE_WORDS.get(found["code"], f"{found['code']}: {found['words']}")


def remedy(root: Place) -> str:
    """What a user can do where a root cannot be used, as a sentence."""
    if isinstance(root, Path):
        return "Choose another with --root or THERMOTUNE_ROOT"
    return f"See that the bucket exists and that {', '.join(VARIABLES)} in the environment lead to it and open it"


def names_in(folder: Place) -> list[str]:
    """Names of what lies in a folder, sorted; none where there is no folder."""
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries)
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def names_by_folder(folder: Place) -> dict[str, list[str]]:
    """Names of what lies in each folder of a folder, sorted; on an object store by a single request.

    Args:
        folder: A folder of folders; without one, or an empty one, there are none.

    Returns:
        Names by the name of the inner folder.

    Raises:
        OSError: A folder cannot be read, or is a link that leads nowhere.
    """
    if isinstance(folder, Path):
        inside = names_in(folder) if _is_folder(folder) else []
        return {name: names_in(folder / name) for name in inside if _is_folder(folder / name)}
    found: dict[str, list[str]] = {}
    for path in folder.walk():
        if path.parent.parent == folder:
            found.setdefault(path.parent.name, []).append(path.name)
    return {name: sorted(names) for name, names in found.items()}


def _is_folder(path: Path) -> bool:
    """Unlike ``Path.is_dir`` this does not take a link that leads nowhere, or round in a circle, for nothing."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.EINVAL, "it is a link that leads nowhere", str(path)) from None
        return False


def sizes_in(folder: Place) -> dict[str, int]:
    """Bytes of the files that lie in a folder, by name; none where there is no folder."""
    try:
        if isinstance(folder, Path):
            return {path.name: path.stat().st_size for path in folder.iterdir()}
        return {path.name: path.size() for path in folder.iterdir()}
    except FileNotFoundError:
        return {}


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
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        background_writes=False,
        allow_delayed_open=True,  # small objects go in one request
    )
