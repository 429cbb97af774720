"""What the records of an earlier study say about the costs of this one's trials."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping, Sequence

from results.formats import count
from results.places import Place, names_in, sizes_in
from results.query import EpochMean, StudyView, Trial
from search.checkpoints import FOLDER
from search.errors import UsageError
from search.planning.costs import Cost, Measured, kind_of, recipes_to_cost, seconds_of_test
from search.study import Study
from trainables.data import PackedDataset, prepare
from trainables.recipe import Recipe

_SAME_REPORT_S = 0.05
"""Rows that came within so long came with one report."""


def recorded(study: Study, folder: Place, trained: Collection[str] = ()) -> Measured:
    """What the records of an earlier study say about trials like this one's.

    Args:
        study: What is planned. Its data set must be prepared.
        folder: Of the earlier study.
        trained: Teachers that are on the shelf, and will not be trained again.

    Raises:
        UsageError: It trained nothing like some arm or teacher.
        ResultsError: Its records cannot be read.
    """
    began = time.monotonic()
    view = StudyView(folder)
    kept = names_in(folder / FOLDER)
    alike: dict[str, list[tuple[int, Cost]]] = {}
    data = prepare(study.recipe.dataset)
    for trial in view.trials:
        curve = view.epoch_means.get(trial.trial, ())
        if curve:
            recipe = Recipe.model_validate(trial.recipe)
            checkpoints = sizes_in(folder / FOLDER / trial.trial) if trial.trial in kept else {}
            cost = _cost_of(trial, curve, checkpoints, recipe, data)
            alike.setdefault(kind_of(recipe), []).append((len(curve), cost))
    recipes = recipes_to_cost(study, trained)
    missing = [name for name, recipe in recipes.items() if kind_of(recipe) not in alike]
    if missing:
        raise UsageError(
            f"--from must name a study that trained recipes like those of this one, but {folder.name} has none like "
            f"that of {', '.join(missing)}. Name another, or leave --from out for a timed probe"
        )
    return Measured(
        costs={name: _typical(alike[kind_of(recipe)], study.seeds.search) for name, recipe in recipes.items()},
        source=f"the records of {folder.name}",
        slots=view.sessions[-1].slots,
        took_s=time.monotonic() - began,
    )


def _cost_of(
    trial: Trial, curve: Sequence[EpochMean], checkpoints: Mapping[str, int], recipe: Recipe, data: PackedDataset
) -> Cost:
    """What one trial took, for each lane."""
    lanes = len(trial.seeds)
    together = [mean for mean in curve if (mean.reported_at - curve[0].reported_at).total_seconds() < _SAME_REPORT_S]
    waited_s = (together[-1].reported_at - (trial.started_at or trial.created_at)).total_seconds()
    epoch_s = statistics.fmean(mean.epoch_time_s for mean in curve[1:] or curve) / lanes
    return Cost(
        epoch_s=epoch_s,
        start_s=max(0.0, waited_s - sum(mean.epoch_time_s for mean in together)) / lanes,
        save_s=0.0,  # the driver cannot tell it from what Ray takes between reports
        test_s=seconds_of_test(epoch_s, recipe, data),
        metrics=min(len(mean.metrics) for mean in curve),
        checkpoint_bytes=checkpoints[max(checkpoints)] // lanes if checkpoints else None,
        basis="",
    )


def _typical(trials: Sequence[tuple[int, Cost]], lanes: int) -> Cost:
    """The mean epoch of trials alike, each with its number of epochs.

    Of starts the median, since one that had to wait for a crashed worker must not count.
    """
    epochs = sum(weight for weight, _ in trials)
    sizes = [cost.checkpoint_bytes for _, cost in trials if cost.checkpoint_bytes is not None]
    epoch_s, test_s = (sum(w * getattr(cost, key) for w, cost in trials) / epochs for key in ("epoch_s", "test_s"))
    return Cost(
        epoch_s=epoch_s,
        start_s=statistics.median(cost.start_s for _, cost in trials),
        save_s=0.0,
        test_s=test_s,
        metrics=max(cost.metrics for _, cost in trials),
        checkpoint_bytes=max(sizes) * lanes if sizes else None,
        basis=f"mean of {epochs} epochs of {count(len(trials), 'trial')}",
    )
