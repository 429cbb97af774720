"""Registering what a study found: the confirmed network of one seed, as a model in MLflow's registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.formats import listed, metric
from results.places import Place
from results.query import StudyView, Trial
from results.report.build import report_of
from results.report.model import Candidate, Report
from results.schema import Stage, StudyState
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

_TEMPERATURE = "val/refit_temperature"
_CALIBRATION = ("test/loss", "test/loss_refit", "test/ece", "test/ece_refit")
"""On the test split, as the network is and after dividing its logits by that temperature."""


def register(
    folder: Place,
    *,
    name: str | None = None,
    trial: str | None = None,
    seed: int | None = None,
    command: str = "thermotune",
) -> tuple[ModelVersion, str]:
    """Logs a confirmed network under its run in MLflow and registers it, once.

    Args:
        folder: Folder of the study.
        name: Of the model; default the study's.
        trial: An explored trial that was confirmed, or one of its confirm trials; default the best confirmed one.
        seed: Confirm seed; default the one whose validation value is the median: the best one would promise more
            than the study found.
        command: How the user calls this program, for the commands in messages.

    Returns:
        The model, and in words what it is.

    Raises:
        UsageError: Nothing like that is confirmed.
        ThermotuneError: Its checkpoint is gone or does not give what was recorded, or its data are not here.
        ResultsError: The study cannot be read, or MLflow does not answer.
    """
    view = StudyView(folder)
    report = report_of(view)
    candidate, seed = _choose(view, report, trial, seed, command)
    run = _confirm_run(view, candidate.trial, seed)
    model = name or view.facts.name
    what = (
        f"{run.trial}, seed {seed} of {candidate.trial}: {report.metric} {metric(report.metric, run.value or 0.0)}"
        + (", the median of its seeds" if seed == _median_seed(candidate, report.mode) else "")
    )
    key = f"{view.facts.id}/{run.trial}"
    tracker = Tracker(folder, then=f"{command} register {view.facts.name}")
    with tracker.errors():
        client = tracker.connect()
        there = registered(client, model, key)
    if there is not None:
        return there, what
    network, inputs, outputs, usage = _load(view, run, command)
    sync(folder, command=command)
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
            description=" ".join([report.verdict.headline, f"This is {what}.", usage, *_on_temperature(view, run)]),
            tags=_tags(view, report, candidate, run),
            details={"recipe": run.recipe, "data": {"name": view.facts.data.name, "digest": view.facts.data.digest}},
        )
    return made, what


def _choose(
    view: StudyView, report: Report, trial: str | None, seed: int | None, command: str
) -> tuple[Candidate, int]:
    confirmed = {c.trial: c for c in (*report.earlier, *report.candidates) if c.validation_by_seed}
    if not confirmed:
        raise UsageError(
            f"a model must be confirmed on fresh seeds before it is registered, and of {view.facts.name} none is. "
            + _why_none(view, report, command)
        )
    known = next((t for t in view.trials if t.trial == trial and t.stage is Stage.CONFIRM), None)
    if known is not None:
        if seed not in (None, known.seeds[0]):
            raise UsageError(f"{trial} is the run of seed {known.seeds[0]}, got --seed {seed}. Leave --seed out")
        trial, seed = known.source, known.seeds[0]
    if trial is None:
        if report.best is None or not report.best.confirmed:
            raise UsageError(
                f"without --trial the best one must be confirmed, and of {view.facts.name} it is not. "
                f"{_why_none(view, report, command)}. Or choose one with --trial: {listed(list(confirmed))}"
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


def _why_none(view: StudyView, report: Report, command: str) -> str:
    """Why the best of a study is not confirmed, and what to do about it; without a full stop."""
    name = view.facts.name
    if view.state is StudyState.COMPLETED:
        return f"The study has ended. {report.verdict.headline} What happened: {command} explain {name}"
    if view.state is StudyState.RUNNING:
        return f"The study is running: wait for its end, which {command} status {name} shows"
    return f"The study has not ended. Let it run to its end: {command} resume {name}"


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


def _load(
    view: StudyView, run: Trial, command: str
) -> tuple[Any, Any, Any, str]:  # a torch module and two numpy arrays: torch is slow
    """The network of a confirm run, tried out on the validation split; an example in and out; its use in words."""
    import torch

    from search.served import examples, measure, served, usage
    from trainables.engine.train import Training
    from trainables.recipe import Recipe
    from trainables.teachers import Shelf

    folder = view.study_dir
    _, study = open_study(folder)
    torch.set_num_threads(study.resources.threads)
    try:
        training = Training(
            Recipe.model_validate(run.recipe), run.seeds, teachers=study.teachers, shelf=Shelf(shelf_of(folder))
        )
    except (OSError, ValueError) as error:
        raise ThermotuneError(f"{run.trial} cannot be built here: {error}") from error
    _restore(folder, run, training, command)
    network = served(training)
    _, accuracy = measure(network, training.data)
    recorded = view.measured(run.trial, "val/accuracy", last=True)
    if recorded is None or abs(accuracy - recorded) > TOLERANCE:
        raise ThermotuneError(
            f"the checkpoint of {run.trial} must give the recorded val/accuracy {recorded}, but gives {accuracy:.4f}. "
            "It is of another run, or the data set has changed: thermotune data show " + training.recipe.dataset
        )
    inputs = examples(network, training.data)
    return network, inputs.numpy(), network(inputs).numpy(), usage(training.data.packed)


def _restore(folder: Place, run: Trial, training: Training, command: str) -> None:
    from trainables import checkpoint

    place = checkpoint_folder(folder, History.fold(read_rows(folder)).trials[run.trial])
    found = checkpoint.load_newest(
        place,
        lambda payload: (payload["training"]["seeds"], payload["training"]["epoch"]) == ([*run.seeds], run.epochs),
    )
    if found is None:
        raise ThermotuneError(
            f"the checkpoint of {run.trial} must be there to register its network, but {place} has none of epoch "
            f"{run.epochs}. Choose another seed with --seed, or train it again: {command} train {folder.name} "
            f"{run.trial} --save {run.trial}.pt"
        )
    training.load_state_dict(found["training"])


def _on_temperature(view: StudyView, run: Trial) -> Sequence[str]:
    """What dividing the logits by the temperature of the validation split did on test; nothing where not measured."""
    measured = [view.measured(run.trial, name, last=True) for name in (_TEMPERATURE, *_CALIBRATION)]
    found = [value for value in measured if value is not None]
    if len(found) < len(measured):
        return ()
    temperature, loss, loss_refit, ece, ece_refit = found
    return (
        f"Dividing the logits by {temperature:.3g}, the temperature fitted on the validation split, changed on "
        f"the test split the loss {loss:.4f} -> {loss_refit:.4f} nats and the calibration error (ECE) "
        f"{100 * ece:.2f} % -> {100 * ece_refit:.2f} %.",
    )


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
    measured = {name: view.measured(run.trial, name, last=True) for name in (_TEMPERATURE, *_CALIBRATION)}
    return {name.removeprefix("val/"): repr(value) for name, value in measured.items() if value is not None} | found
