"""Unpacking the archives that data sets come in, safely: nothing leaves the folder, and the disk does not fill up."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from trainables.data.progress import Progress
from trainables.data.source import require_space

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # of zipfile: a password or an unknown compression
)


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpacks a tar (plain, gz, bz2, xz) or zip archive into a folder that is there.

    Raises:
        ValueError: It is no archive, damaged, or would write outside the folder.
        OSError: The disk has too little room.
    """
    progress(f"Unpacking {archive}.")
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, progress)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder, progress)
        else:
            raise ValueError(
                f"--source must be a folder or an archive (tar, tar.gz, tar.xz, zip), got {archive}, which is neither "
                "or damaged at its beginning. Get it again, or unpack it yourself and give the folder"
            )
    except tarfile.FilterError as error:
        raise ValueError(f"{archive} is refused: it would write outside its own folder ({error})") from error
    except _DAMAGED as error:
        raise ValueError(f"the archive {archive} is damaged ({error or type(error).__name__}). Get it again") from error


def _unpack_tar(archive: Path, folder: Path, progress: Progress) -> None:
    size, written = archive.stat().st_size, 0
    with archive.open("rb") as stream, tarfile.open(fileobj=stream) as members:
        for member in members:  # not getmembers(), which would read the whole archive twice
            require_space(folder, member.size, f"unpacking {archive}, after {written / 1e9:.2f} GB of it,")
            members.extract(member, folder, filter="data")
            written += member.size
            progress.advance(stream.tell(), size)
        rest = members.fileobj
        assert rest is not None
        while block := rest.read(2**20):  # to the end, where checksums are; and tarfile stops at a broken header
            if block.strip(b"\0"):
                raise tarfile.ReadError("it goes on after what seemed its end")


def _unpack_zip(archive: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as members:
        listed = members.infolist()
        require_space(folder, sum(member.file_size for member in listed), f"unpacking {archive}")
        for done, member in enumerate(listed, start=1):
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{archive} is refused: it would write outside its own folder ({member.filename!r})")
            members.extract(member, folder)
            progress.advance(done, len(listed))
