"""The data sets that thermotune knows: what they are, what ``--source`` must hold, and where to get them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from trainables.data import cifar, digits, fine_grained, imagenet, imdb, tiny_imagenet
from trainables.data.progress import Progress
from trainables.data.source import Contents, Source


def _digits(folder: Path, progress: Progress) -> Contents:
    return Contents(splits=digits.read(), class_names=tuple("0123456789"))


def _imdb(folder: Path, progress: Progress) -> Contents:
    splits, words = imdb.read(folder, progress)
    return Contents(splits=splits, class_names=imdb.CLASSES, words=words)


def _cifar(classes: int) -> Source:
    archive = cifar.ARCHIVES[classes]
    return Source(
        name=f"cifar{classes}",
        about="photos of things and animals, 32 x 32 pixels",
        storage="packed",
        classes=classes,
        official=(50_000, 10_000),
        layout=f"""\
{archive} or the folder {cifar.FOLDERS[classes]} in it
or train/<class>/*.jpg and test/<class>/*.jpg, the same images as files""",
        obtain=f"Downloaded when it is needed (170 MB). Without internet, get {archive} from "
        f"https://www.cs.toronto.edu/~kriz/cifar.html, then: thermotune data prepare cifar{classes} --source {archive}",
        read=partial(cifar.read, classes),
        fetch=partial(cifar.fetch, classes),
    )


_ALL = (
    Source(
        name="digits",
        about="handwritten digits, 8 x 8 pixels, grey",
        storage="packed",
        classes=10,
        layout="",
        obtain="Ships inside scikit-learn.",
        read=_digits,
    ),
    _cifar(10),
    _cifar(100),
    Source(
        name="tiny-imagenet",
        about="ImageNet photos, 64 x 64 pixels",
        storage="packed",
        classes=200,
        official=(100_000, 10_000),
        layout="""\
tiny-imagenet-200.zip, or what it unpacks to:
train/<wnid>/images/*.JPEG
val/images/*.JPEG with val/val_annotations.txt, or val/<wnid>/*.JPEG; this is the test split""",
        obtain="Get http://cs231n.stanford.edu/tiny-imagenet-200.zip, then: "
        "thermotune data prepare tiny-imagenet --source tiny-imagenet-200.zip",
        read=tiny_imagenet.read,
    ),
    Source(
        name="imagenet",
        about="ImageNet-1k photos of all sizes",
        storage="streamed",
        classes=1000,
        official=(1_281_167, 50_000),
        layout=f"""\
train/<wnid>/*.JPEG
val/<wnid>/*.JPEG, or val/*.JPEG with LOC_val_solution.csv (of Kaggle) or ILSVRC2012_devkit_t12/data/ (meta.mat and
{imagenet.TRUTH}) beside train and val; this is the test split
or what Kaggle's archive unpacks to, with {imagenet.KAGGLE}""",
        obtain="Get the images from https://image-net.org (registration), unpack them, then: "
        "thermotune data prepare imagenet --source FOLDER",
        read=imagenet.read,
    ),
    Source(
        name="cub200",
        about="photos of birds of all sizes (CUB-200-2011)",
        storage="streamed",
        classes=200,
        official=(5_994, 5_794),
        layout="""\
CUB_200_2011/, or a folder with it: images/<class>/*.jpg, images.txt, image_class_labels.txt, train_test_split.txt""",
        obtain="Get CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack it, then: "
        "thermotune data prepare cub200 --source CUB_200_2011",
        read=fine_grained.read_cub200,
    ),
    Source(
        name="dogs",
        about="photos of dogs of all sizes (Stanford Dogs)",
        storage="streamed",
        classes=120,
        official=(12_000, 8_580),
        layout="""\
Images/<class>/*.jpg
train_list.mat and test_list.mat, beside Images or in lists/""",
        obtain="Get images.tar and lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs/ and unpack both "
        "into one folder, then: thermotune data prepare dogs --source FOLDER",
        read=fine_grained.read_dogs,
    ),
    Source(
        name="imdb",
        about="movie reviews, praise or not",
        kind="text",
        storage="packed",
        classes=2,
        layout="""\
aclImdb_v1.tar.gz, or what it unpacks to: train/{pos,neg}/*.txt and test/{pos,neg}/*.txt""",
        obtain="Get https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz, then: "
        "thermotune data prepare imdb --source aclImdb_v1.tar.gz",
        read=_imdb,
    ),
)

DATASETS: dict[str, Source] = {source.name: source for source in _ALL}
"""The known data sets by name; any other name is a folder of images that the user prepares."""
