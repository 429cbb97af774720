"""Whether a recipe fits its data set, which neither of them can know alone."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.data import PackedDataset
from trainables.data.packed import Kind, Storage
from trainables.models import family_of
from trainables.recipe import Recipe


def misfits(recipe: Recipe, data: PackedDataset) -> list[str]:
    """What a recipe asks of its data set that this cannot give, a sentence each.

    Args:
        recipe: One training run.
        data: The data set it names.
    """
    found = misfits_of_kind(recipe, data.name, data.kind, data.storage)
    size, side = data.sizes["train"], recipe.image_size or data.input_shape[-1]
    if recipe.train_samples is not None and not data.num_classes <= recipe.train_samples <= size:
        found.append(
            f"train_samples must lie between the {data.num_classes} classes and the {size} training samples of "
            f"{data.name}, got {recipe.train_samples}"
        )
    for name, length in (("pad", recipe.augment.pad), ("cutout", recipe.augment.cutout)):
        if data.kind == "images" and length > side:
            found.append(f"augment.{name} must be at most the images' {side} pixels, got {length}")
    return found


def misfits_of_kind(recipe: Recipe, name: str, kind: Kind, storage: Storage | None) -> list[str]:
    """What can be told before the data set is there.

    Args:
        recipe: One training run.
        name: Of the data set.
        kind: What it holds.
        storage: How it is kept; None if that is not known yet.
    """
    found = []
    if (family_of(recipe.model)[0].reads == "texts") != (kind == "text"):
        wanted = "texts, for which there is gru-128" if kind == "text" else "images, for which there is resnet-20"
        found.append(f"model must suit the data, got {recipe.model} for {name}, which holds {wanted}")
    if kind == "text" and not recipe.augment.is_off:
        found.append(f"augment must be left out for {name}, which holds texts")
    if storage == "packed":
        found += _for_streamed_only(recipe, name)
    return found


def misfits_of_ranks(recipe: Recipe, ranks: int) -> list[str]:
    """Why so many processes cannot train a recipe together.

    Args:
        recipe: One training run.
        ranks: Processes that share every batch; 1 for a trial of one process.
    """
    size = recipe.batch_size
    if size % ranks == 0:
        return []
    return [
        f"batch_size, of which {ranks} processes get a share each, must be a multiple of {ranks}, got {size}; "
        f"take {max(1, round(size / ranks)) * ranks}"
    ]


def _for_streamed_only(recipe: Recipe, name: str) -> Iterator[str]:
    for path, value, nothing in (
        ("image_size", recipe.image_size, None),
        ("augment.crop_scale", recipe.augment.crop_scale, None),
        ("augment.color_jitter", recipe.augment.color_jitter, 0.0),
    ):
        if value != nothing:
            default = "null" if nothing is None else f"{nothing:g}"
            yield f"{path} must be {default} for {name}, which is not streamed, got {value}"
