"""Any data set of images in class folders, the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

from pathlib import Path

from trainables.data.listing import class_folders, labelled, subfolders
from trainables.data.packed import Split
from trainables.data.progress import Progress
from trainables.data.source import SHARES, VALIDATION_SHARE, Contents, ImageFiles, Source, carve_files

_PARTS = ("train", "val", "test")
TEST_SHARE = 0.2
"""Of the images, where the source has no test data of its own."""
LAYOUT = """\
train/<class>/*.jpg                 the training images, of which a tenth becomes the validation split
val/<class>/*.jpg, test/<class>/*   both, one or none of these; if only one is there, it is the test split
or <class>/*.jpg                    without such folders, a fifth is set aside as the test split"""


def locate(folder: Path, *markers: str) -> str:
    """Where these files or folders lie, in a folder ("") or in one of its folders ("name/").

    Raises:
        FileNotFoundError: None of these has them all.
    """
    inside = subfolders(folder)
    for prefix in ("", *(f"{name}/" for name in inside)):
        if all((folder / prefix / marker).exists() for marker in markers):
            return prefix
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(f"{folder} must hold {', '.join(markers)}, but it holds {found}")


def dataset(name: str) -> Source:
    """A data set of this name that the user brings."""
    return Source(
        name=name,
        about="images in class folders",
        storage=None,
        classes=None,
        layout=LAYOUT,
        obtain=f"Give a folder or an archive of images: thermotune data prepare {name} --source FOLDER",
        read=read,
    )


def read(folder: Path, progress: Progress) -> Contents:
    """The splits of a folder of class folders; see LAYOUT for which become what.

    Raises:
        FileNotFoundError: There are no class folders.
        ValueError: A class is empty, or the parts have different classes.
    """
    inside = subfolders(folder)
    if len(inside) == 1 and inside[0] not in _PARTS:  # the top of an archive
        return read_parts(folder, f"{inside[0]}/", progress)
    return read_parts(folder, "", progress)


def read_parts(root: Path, prefix: str, progress: Progress) -> Contents:
    """As :func:`read`, with the parts or classes in the folder ``prefix`` ("" or "name/") of the root."""
    folder = root / prefix
    parts = [part for part in _PARTS if (folder / part).is_dir()]
    if parts and "train" not in parts:
        raise FileNotFoundError(f"{folder} must have a folder train beside {' and '.join(parts)}")
    training = f"{prefix}train" if parts else prefix
    classes = class_folders(root, training)
    names = list(classes)
    train = labelled(classes, names, root / training)
    others = {part: labelled(class_folders(root, f"{prefix}{part}"), names, folder / part) for part in parts[1:]}
    if len(others) == 2:
        splits: dict[Split, ImageFiles] = {"train": train, "val": others["val"], "test": others["test"]}
        return Contents(splits=splits, class_names=tuple(names))
    if others:
        ((part, test),) = others.items()
        progress(f"Note: {folder / part} becomes the test split, and a tenth of train the validation split.")
        return carve_files(train, test, names, SHARES)
    progress(f"Note: {folder} has no test images of its own; {TEST_SHARE:.0%} of the images are set aside for it.")
    rest = 1 - TEST_SHARE
    shares: dict[Split, float] = {"train": rest * (1 - VALIDATION_SHARE), "val": rest * VALIDATION_SHARE}
    return carve_files(train, None, names, {**shares, "test": TEST_SHARE})
