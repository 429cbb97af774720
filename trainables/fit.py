"""Whether a recipe fits its data set, which neither of them can know alone."""

from __future__ import annotations

from trainables.data import PackedDataset
from trainables.models import family_of
from trainables.recipe import Augment, Recipe


def misfits(recipe: Recipe, data: PackedDataset) -> list[str]:
    """What a recipe asks of its data set that this cannot give, a sentence each.

    Args:
        recipe: One training run.
        data: The data set it names.
    """
    found = []
    augment, size = recipe.augment, data.sizes["train"]
    if recipe.train_samples is not None and not data.num_classes <= recipe.train_samples <= size:
        found.append(
            f"train_samples must lie between the {data.num_classes} classes and the {size} training samples of "
            f"{data.name}, got {recipe.train_samples}"
        )
    if (family_of(recipe.model)[0].reads == "texts") != (data.kind == "text"):
        wanted = "texts, for which there is gru-128" if data.kind == "text" else "images, for which there is resnet-20"
        found.append(f"model must suit the data, got {recipe.model} for {data.name}, which holds {wanted}")
    if data.kind == "text" and augment != Augment():
        found.append(f"augment must be left out for {data.name}, which holds texts")
    if data.storage == "packed":
        for name, value in (("image_size", recipe.image_size), ("augment.crop_scale", augment.crop_scale)):
            if value is not None:
                found.append(f"{name} must be null for {data.name}, which is not streamed, got {value}")
        if augment.color_jitter:
            found.append(
                f"augment.color_jitter must be 0 for {data.name}, which is not streamed, got {augment.color_jitter:g}"
            )
    side = recipe.image_size or data.input_shape[-1]
    for name, length in (("pad", augment.pad), ("cutout", augment.cutout)):
        if data.kind == "images" and length > side:
            found.append(f"augment.{name} must be at most the images' {side} pixels, got {length}")
    return found
