"""Registering what a study found: the confirmed network of one seed, as a model in MLflow's registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from results.formats import listed, metric
from results.places import Place
from results.query import StudyView, Trial
from results.report.build import report_of
from results.report.model import Candidate, Report
from results.schema import Stage
from results.store import read_rows
from results.tracking import ModelVersion, Tracker, register_network, registered, sync
from search.checkpoints import checkpoint_folder
from search.errors import ThermotuneError, UsageError
from search.folder import open_study, shelf_of
from search.history import History

if TYPE_CHECKING:
    from trainables.engine.train import Training

TOLERANCE = 0.01
"""A network must give the recorded accuracy to this much: other hardware or half precision may move a few samples."""


def register(
    folder: Place, *, name: str | None = None, trial: str | None = None, seed: int | None = None
) -> tuple[ModelVersion, str]:
    """Logs a confirmed network under its run in MLflow and registers it, once.

    Args:
        folder: Folder of the study.
        name: Of the model; default the study's.
        trial: An explored trial that was confirmed, or one of its confirm trials; default the best confirmed one.
        seed: Confirm seed; default the one whose validation value is the median: the best one would promise more
            than the study found.

    Returns:
        The model, and in words what it is.

    Raises:
        UsageError: Nothing like that is confirmed.
        ThermotuneError: Its checkpoint is gone or does not give what was recorded, or its data are not here.
        ResultsError: The study cannot be read, or MLflow does not answer.
    """
    view = StudyView(folder)
    report = report_of(view)
    candidate, seed = _choose(view, report, trial, seed)
    run = _confirm_run(view, candidate.trial, seed)
    model = name or view.facts.name
    what = (
        f"{run.trial}, seed {seed} of {candidate.trial}: {report.metric} {metric(report.metric, run.value or 0.0)}"
        + (", the median of its seeds" if seed == _median_seed(candidate, report.mode) else "")
    )
    key = f"{view.facts.id}/{run.trial}"
    tracker = Tracker(folder, then=f"thermotune register {view.facts.name}")
    with tracker.errors():
        client = tracker.connect()
        there = registered(client, model, key)
    if there is not None:
        return there, what
    network, inputs, outputs = _load(folder, run)
    sync(folder)
    with tracker.errors():
        made = register_network(
            client,
            tracker,
            key=key,
            name=model,
            network=network,
            inputs=inputs,
            outputs=outputs,
            epoch=run.epochs,
            description=f"{report.verdict.headline} This is {what}. {network.usage}",
            tags=_tags(view, report, candidate, run),
            details={"recipe": run.recipe, "data": {"name": view.facts.data.name, "digest": view.facts.data.digest}},
        )
    return made, what


def _choose(view: StudyView, report: Report, trial: str | None, seed: int | None) -> tuple[Candidate, int]:
    confirmed = {c.trial: c for c in (*report.earlier, *report.candidates) if c.validation_by_seed}
    if not confirmed:
        raise UsageError(
            f"a model must be confirmed on fresh seeds before it is registered, and of {view.facts.name} none is. "
            "Let the study run to its end, with confirm in its study file"
        )
    known = next((t for t in view.trials if t.trial == trial and t.stage is Stage.CONFIRM), None)
    if known is not None:
        if seed not in (None, known.seeds[0]):
            raise UsageError(f"{trial} is the run of seed {known.seeds[0]}, got --seed {seed}. Leave --seed out")
        trial, seed = known.source, known.seeds[0]
    if trial is None:
        if report.best is None or not report.best.confirmed:
            raise UsageError(
                f"the best of {view.facts.name} is not confirmed yet. Let the study run to its end, or choose one "
                f"with --trial: {listed(list(confirmed))}"
            )
        trial = report.best.trial
    if trial not in confirmed:
        raise UsageError(f"--trial must be a confirmed one, got {trial}. Confirmed: {listed(list(confirmed))}")
    candidate = confirmed[trial]
    seed = _median_seed(candidate, report.mode) if seed is None else seed
    if seed not in candidate.validation_by_seed:
        seeds = listed([str(s) for s in sorted(candidate.validation_by_seed)])
        raise UsageError(f"--seed must be one that {trial} was trained on to the end, got {seed}. There are: {seeds}")
    return candidate, seed


def _median_seed(candidate: Candidate, mode: str) -> int:
    """The seed with the median validation value, of two in the middle the worse one; equal values by seed."""
    sign = 1 if mode == "max" else -1
    ranked = sorted(candidate.validation_by_seed, key=lambda seed: (sign * candidate.validation_by_seed[seed], seed))
    return ranked[(len(ranked) - 1) // 2]


def _confirm_run(view: StudyView, source: str, seed: int) -> Trial:
    return next(
        t
        for t in view.trials
        if t.stage is Stage.CONFIRM and (t.source, t.seeds) == (source, (seed,)) and t.state.is_final
    )


def _load(folder: Place, run: Trial) -> tuple[Any, Any, Any]:  # a torch module and two numpy arrays: torch is slow
    """The network of a confirm run from its checkpoint, tried out on the validation split; an example in and out."""
    import torch

    from search.served import examples, measure, served
    from trainables.engine.train import Training
    from trainables.recipe import Recipe
    from trainables.teachers import Shelf

    _, study = open_study(folder)
    torch.set_num_threads(max(1, int(study.resources.cpus)))
    try:
        training = Training(
            Recipe.model_validate(run.recipe), run.seeds, teachers=study.teachers, shelf=Shelf(shelf_of(folder))
        )
    except (OSError, ValueError) as error:
        raise ThermotuneError(f"{run.trial} cannot be built here: {error}") from error
    _restore(folder, run, training)
    network = served(training)
    _, accuracy = measure(network, training.data)
    recorded = StudyView(folder).measured(run.trial, "val/accuracy", last=True)
    if recorded is None or abs(accuracy - recorded) > TOLERANCE:
        raise ThermotuneError(
            f"the checkpoint of {run.trial} must give the recorded val/accuracy {recorded}, but gives {accuracy:.4f}. "
            "It is of another run, or the data set has changed: thermotune data show " + training.recipe.dataset
        )
    inputs = examples(network, training.data)
    return network, inputs.numpy(), network(inputs).numpy()


def _restore(folder: Place, run: Trial, training: Training) -> None:
    from trainables import checkpoint

    place = checkpoint_folder(folder, History.fold(read_rows(folder)).trials[run.trial])
    found = checkpoint.load_newest(
        place,
        lambda payload: (payload["training"]["seeds"], payload["training"]["epoch"]) == ([*run.seeds], run.epochs),
    )
    if found is None:
        raise ThermotuneError(
            f"the checkpoint of {run.trial} must be there to register its network, but {place} has none of epoch "
            f"{run.epochs}. Choose another seed with --seed, or train it again: thermotune train {folder.name} "
            f"{run.trial} --save {run.trial}.pt"
        )
    training.load_state_dict(found["training"])


def _tags(view: StudyView, report: Report, candidate: Candidate, run: Trial) -> Mapping[str, str]:
    found = {
        "study": view.facts.name,
        "trial": candidate.trial,
        "arm": candidate.arm,
        "seed": str(run.seeds[0]),
        "verdict": report.verdict.headline,
        "recipe": json.dumps(run.recipe, sort_keys=True),
        report.metric: repr(candidate.validation_by_seed[run.seeds[0]]),
    }
    if run.seeds[0] in candidate.test_by_seed:
        found[report.test_metric] = repr(candidate.test_by_seed[run.seeds[0]])
    if candidate.test is not None:
        found[f"{report.test_metric}/mean"] = repr(candidate.test.mean)
        if candidate.test.low is not None and candidate.test.high is not None:
            found[f"{report.test_metric}/interval"] = f"{candidate.test.low!r} to {candidate.test.high!r}"
    found |= {
        path: f"{value:g}" if isinstance(value, float) else str(value) for path, value in candidate.settings.items()
    }
    temperature = view.measured(run.trial, "val/refit_temperature", last=True)
    if temperature is not None:
        found["refit_temperature"] = repr(temperature)
    return found
