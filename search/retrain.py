"""Training one recorded trial again, without Ray: the proof that a result can be had a second time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from results import formats
from results.places import Place
from results.schema import Stage
from results.store import read_rows
from search.errors import ThermotuneError, UsageError
from search.folder import open_study, shelf_of
from search.history import History
from trainables.recipe import Recipe
from trainables.teachers import Shelf


def retrain(folder: Place, name: str, *, seed: int | None, save: Path | None) -> Iterator[str]:
    """Trains a trial's recipe to its end, and compares with the records where the seed is the trial's own.

    Args:
        folder: Folder of the study.
        name: Name of the trial.
        seed: Another seed; None for the trial's own seeds.
        save: Where to write the ``state_dict`` of the first lane; None to write nothing.

    Yields:
        Lines for the user: one an epoch, then the comparison.

    Raises:
        UsageError: There is no such trial.
        ThermotuneError: Its data or its teacher are not here.
    """
    _, study = open_study(folder)
    trials = History.fold(read_rows(folder)).trials
    if name not in trials:
        known = f"its trials are {min(trials)} to {max(trials)}" if trials else "it has none yet"
        raise UsageError(f"a trial must be one of the study's, got {name!r}; {known}")
    if save is not None and not save.absolute().parent.is_dir():
        raise UsageError(f"--save must name a file in a folder that exists, got {save}")
    trial = trials[name]
    import torch

    from trainables.engine.train import Training

    torch.set_num_threads(study.resources.threads)
    try:
        training = Training(
            Recipe.model_validate(trial.recipe),
            trial.seeds if seed is None else [seed],
            device=study.resources.device,
            test=trial.stage is Stage.CONFIRM,
            max_loss=study.stopping.max_loss,
            until=study.teachers[trial.arm].epoch if trial.stage is Stage.TEACH else None,
            teachers=study.teachers,
            shelf=Shelf(shelf_of(folder)),
        )
    except (OSError, ValueError) as error:
        raise ThermotuneError(f"{name} cannot be trained again here: {error}") from error
    compared = equal = 0
    while not training.finished and training.divergence is None:
        reports = training.train_epoch()
        first = reports[0].metrics
        shown = [
            f"{name} {formats.metric(name, first[name])}" for name in first if name.endswith(("/loss", "/accuracy"))
        ]
        yield f"epoch {training.epoch}/{training.last_epoch}: {', '.join(shown)}"
        if seed is None and training.epoch in trial.epochs:
            compared += 1
            recorded = trial.epochs[training.epoch]
            equal += all(_same(recorded.get(report.lane, {}), report.metrics) for report in reports)
    if training.divergence is not None:
        yield f"diverged: {training.divergence.reason}"
    if compared:
        yield f"{equal} of {compared} recorded epochs have exactly the recorded numbers"
    if save is not None:
        torch.save(training.lane_state_dict(0), save)
        yield f"model written to {save}"


def _same(recorded: Mapping[str, float], measured: Mapping[str, float]) -> bool:
    """Whether all that is recorded was measured again with, to the last bit, the same value; NaN equals NaN."""
    return bool(recorded) and all(repr(value) == repr(measured.get(name)) for name, value in recorded.items())
