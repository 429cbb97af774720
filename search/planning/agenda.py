"""What a probe trains: one recipe of every kind that a study has, and stand-ins for teachers that are not there yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from results.places import Place
from search.planning.costs import kind_of, recipes_to_cost, training_samples
from search.study import SHELF, Study
from trainables.data import PackedDataset, prepare
from trainables.recipe import Recipe, Teacher
from trainables.session import TrialConfig
from trainables.teachers import in_order

FEW_STEPS = 8
"""Steps of the shortest epoch that is trained."""


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """What the processes of a probe are to do.

    Attributes:
        stand_ins: Teachers to be put on a shelf of the probe's own, after next to no training.
        kinds: Each kind of trial, with the arms and teachers that are of it.
    """

    stand_ins: list[TrialConfig] = field(default_factory=list)
    kinds: list[tuple[list[str], TrialConfig]] = field(default_factory=list)


def agenda_of(study: Study, root: Place, trained: Collection[str], scratch: Path) -> Agenda:
    """What is to be timed of a study.

    Args:
        study: Its data set must be prepared.
        root: Of all studies, whose shelf has the trained teachers.
        trained: Teachers that are on the shelf, and will not be trained again.
        scratch: A folder for the stand-ins.
    """
    needed = study.needed_teachers
    teachers: Mapping[str, Teacher] = study.teachers
    shelf = root / SHELF
    agenda = Agenda()
    lacking = any(name not in trained for name in needed)
    if lacking:
        data = prepare(study.recipe.dataset)
        teachers = {name: _stand_in(study.teachers[name], data) for name in needed}
        shelf = scratch / SHELF

    def config(recipe: Recipe, names: Sequence[str], seeds: Sequence[int]) -> TrialConfig:
        return TrialConfig(
            trial="probe",
            recipe=recipe.model_dump(mode="json"),
            seeds=tuple(seeds),
            return_at=tuple(range(1, recipe.epochs + 1)),
            max_loss=study.stopping.max_loss,
            device=study.resources.device,
            threads=study.resources.threads,
            workers=study.resources.decoders,
            teachers={name: teachers[name].model_dump(mode="json") for name in in_order(names, teachers)},
            shelf=str(shelf.absolute()),
        )

    for name in needed if lacking else ():
        made = config(teachers[name].recipe, [name], [teachers[name].seed])
        agenda.stand_ins.append(replace(made, until=1, publish=name))
    kinds: dict[str, tuple[list[str], TrialConfig]] = {}
    for name, recipe in recipes_to_cost(study, trained).items():
        seeds = study.search_seeds if name in study.arms else [study.teachers[name].seed]
        names, _ = kinds.setdefault(kind_of(recipe), ([], config(recipe, recipe.names, seeds)))
        names.append(name)
    agenda.kinds.extend(kinds.values())
    return agenda


def few_samples(recipe: Recipe, data: PackedDataset) -> int:
    """Samples of the shortest epoch that is trained: :data:`FEW_STEPS`, but every class must be possible."""
    return min(training_samples(recipe, data), max(data.num_classes, FEW_STEPS * recipe.batch_size))


def _stand_in(teacher: Teacher, data: PackedDataset) -> Teacher:
    """The same network after a few steps: those who learn from it take as long."""
    few = few_samples(teacher.recipe, data)
    return teacher.model_copy(update={"recipe": teacher.recipe.model_copy(update={"train_samples": few}), "epoch": 1})
