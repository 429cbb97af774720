"""Where recipes differ beside what is searched: what else may be behind a difference between studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from results import formats
from results.facts import StudyFacts

_WEIGHTY = ("epochs", "train_samples", "image_size")
"""What decides alone how far any configuration gets: each has a caution of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeDifference:
    """A recipe value that is not the same in all of some studies."""

    path: str
    """Dotted path."""
    values: Mapping[str, object]
    """The value by study; without those whose recipe has no such path."""


def recipe_differences(studies: Sequence[StudyFacts]) -> tuple[RecipeDifference, ...]:
    """What differs in the recipes of studies of different names, though nobody set out to compare it.

    Args:
        studies: The studies.

    Returns:
        The paths that at least two recipes have with different values, in their order; those aside that any study
        searches, derives or sets in an arm.
    """
    chosen = {path for facts in studies for path in (*facts.space, *facts.derived)}
    chosen |= {path for facts in studies for values in facts.arms.values() for path in values}
    found = []
    for path in dict.fromkeys(path for facts in studies for path in facts.recipe):
        values = {facts.name: facts.recipe[path] for facts in studies if path in facts.recipe}
        if path not in chosen and any(value != other for value in values.values() for other in values.values()):
            found.append(RecipeDifference(path=path, values=values))
    return tuple(found)


def recipe_cautions(study: StudyFacts, first: StudyFacts) -> Iterator[str]:
    """What the recipes of two studies leave open about a difference between them, a sentence each."""
    if study.epochs != first.epochs:
        yield (
            f"Trials have {study.epochs} epochs in {study.name} and {first.epochs} in {first.name}: the difference may "
            "be one of length alone."
        )
    differences = {d.path: d.values for d in recipe_differences((study, first))}
    if samples := differences.get("train_samples"):
        here, there = (_or_all(samples[facts.name]) for facts in (study, first))
        yield (
            f"Networks learn from {here} training samples in {study.name} and {there} in {first.name}: the difference "
            "may be one of data alone."
        )
    if sizes := differences.get("image_size"):
        here, there = (_pixels(sizes[facts.name]) for facts in (study, first))
        yield (
            f"Networks see images of {here} in {study.name} and of {there} in {first.name}: the difference may be one "
            "of resolution alone."
        )
    others = [path for path in differences if path not in _WEIGHTY]
    if others:
        yield (
            f"Beside what is searched, {study.name} and {first.name} differ in {formats.listed(others)}: the "
            "difference may come from there."
        )


def _or_all(samples: object) -> str:
    return "all" if samples is None else str(samples)


def _pixels(size: object) -> str:
    return "the size in the data set" if size is None else f"{size} pixels"
