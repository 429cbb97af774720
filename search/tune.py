"""The Ray Tune shells of the conductor: a searcher that asks it what to run, a scheduler that tells it what happened.

Ray Tune moves the trials between processes, restarts crashed workers and reuses live ones. It decides nothing, and
what it writes for itself is disposable: a resumed study is rebuilt from the records.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from results.places import Place
from results.schema import Stage, Verdict
from search.checkpoints import checkpoint_folder, drop_checkpoints
from search.conductor import Conductor
from search.folder import shelf_of
from search.history import Trial
from search.settings import REPORT_EVERY_S
from search.study import Study
from search.worker import PlacedStudyTrial
from trainables.recipe import Recipe
from trainables.teachers import in_order
from trainables.trial import PLACEHOLDER, REPORT_KEY

KEEP_WORKER_S = 30.0
"""An idle worker waits at most so long for the next stage; seconds."""


class FirstError:
    """Keeps the first exception that passes: Ray Tune hands errors of its plug-ins on as text only."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Notes an exception of the block, and lets it pass."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            raise


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray is untyped here
    """Asks the conductor for the next trial whenever a slot is free.

    Between two stages slots have to wait for the last trial of the first. Ray Tune would end the idle workers, and
    starting new ones costs seconds, most of them for importing torch: a placeholder keeps a worker for a while.
    """

    def __init__(self, conductor: Conductor, folder: Place, slots: int, first_error: FirstError) -> None:
        super().__init__()
        self._conductor = conductor
        self._folder = folder
        self._slots = slots
        self._first_error = first_error
        self._placeholders: set[str] = set()
        self._placeholders_left = slots

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial; None while there is none, FINISHED when there never will be."""
        if len(self._conductor.active) + len(self._placeholders) >= self._slots:
            return None
        with self._first_error.kept():
            trial = self._conductor.next_trial()
            if trial is not None:
                self._placeholders_left = self._slots
                return trial_config(self._conductor.study, trial, self._folder)
            if self._conductor.at_rest:
                return str(Searcher.FINISHED)
            if not self._conductor.between_stages or self._placeholders_left == 0:
                return None
        self._placeholders_left -= 1
        self._placeholders.add(trial_id)
        return dict(PLACEHOLDER)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Frees the slot of a placeholder; of trials the conductor knows, since it gave the verdict."""
        self._placeholders.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a study is rebuilt from its records."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray is untyped here
    """Tells the conductor of starts, reports and crashes, and passes its verdicts back.

    A Ray Tune callback could hear of starts too, but passing one makes the driver import mlflow, for seconds.
    """

    def __init__(
        self, conductor: Conductor, folder: Place, between_events: Callable[[], bool], first_error: FirstError
    ) -> None:
        super().__init__()
        self._conductor = conductor
        self._folder = folder
        self._between_events = between_events
        self._first_error = first_error
        self._started: set[str] = set()
        self._crashes: Counter[str] = Counter()
        self._ended: list[Trial] = []

    def choose_trial_to_run(self, controller: Any) -> TuneTrial | None:  # Any: Ray's controller is untyped
        """None: Ray Tune starts pending trials in order by itself. Called before every event, about 10 times a second.

        A trial that is named here gets the next worker that comes free, even where one is being started for it, which
        is then killed. While starting takes longer than a trial, the study would never get more than its first worker.
        """
        if self._between_events() and self._ended:
            ended, self._ended = self._ended, []
            threading.Thread(target=drop_checkpoints, args=(self._folder, ended), daemon=True).start()
        for tune_trial in controller.get_live_trials():
            starts = tune_trial.status == TuneTrial.RUNNING and tune_trial.trial_id not in self._started
            if starts and tune_trial.config != PLACEHOLDER:
                self._started.add(tune_trial.trial_id)
                with self._first_error.kept():
                    self._conductor.started(tune_trial.config["trial"])
        return None

    def on_trial_result(self, controller: object, tune_trial: TuneTrial, result: dict[str, Any]) -> str:
        """CONTINUE or STOP."""
        with self._first_error.kept():
            if tune_trial.config == PLACEHOLDER:
                wait = self._conductor.between_stages and result["time_total_s"] < KEEP_WORKER_S
                return str(TrialScheduler.CONTINUE if wait else TrialScheduler.STOP)
            name = tune_trial.config["trial"]
            if self._conductor.report(name, result[REPORT_KEY][0]) is Verdict.CONTINUE:
                return str(TrialScheduler.CONTINUE)
            self._ended.append(self._conductor.history.trials[name])
        return str(TrialScheduler.STOP)

    def on_trial_error(self, controller: object, tune_trial: TuneTrial) -> None:
        """A worker crashed. Either Ray Tune starts the trial again by itself, or we decide whether to.

        Ray Tune gives a trial up that crashed more often than allowed, but also one whose reused worker crashes
        before it begins, at the first time. Its status tells: where it goes on, it is ERROR for a moment.
        """
        self._started.discard(tune_trial.trial_id)
        if tune_trial.config == PLACEHOLDER:
            return
        name = tune_trial.config["trial"]
        self._crashes[name] += 1
        if tune_trial.status == TuneTrial.ERROR:
            return
        with self._first_error.kept():
            if self._crashes[name] <= self._conductor.study.resources.max_failures:
                self._conductor.release(name)
            else:
                self._conductor.failed(name, _error_of(tune_trial))
                self._ended.append(self._conductor.history.trials[name])


def _error_of(tune_trial: TuneTrial) -> str:
    """The traceback of a crashed worker. Ray Tune's own getter looks where the file is only after a synchronisation."""
    with contextlib.suppress(OSError, TypeError):  # a worker that was killed leaves no file
        return Path(tune_trial.error_file).read_text(encoding="utf-8", errors="replace").strip()
    return "the worker was lost"


def trial_config(study: Study, trial: Trial, folder: Place) -> dict[str, Any]:
    """What a worker needs to run the trial: a trainables.session.TrialConfig as plain values."""
    explore = trial.stage is Stage.EXPLORE
    taught = trial.stage is Stage.TEACH
    names = [trial.arm] if taught else Recipe.model_validate(trial.recipe).names
    return {
        "trial": trial.name,
        "recipe": trial.recipe,
        "seeds": trial.seeds,
        "return_at": list(study.rule.rungs(study.rule.bracket(trial.number))) if explore else [],
        "report_every_s": REPORT_EVERY_S,
        "test": trial.stage is Stage.CONFIRM,
        "checkpoints": str(checkpoint_folder(folder, trial)),
        "max_loss": study.stopping.max_loss,
        "device": study.resources.device,
        "data_root": None,
        "threads": study.resources.threads,
        "workers": study.resources.decoders,
        "teachers": {name: study.teachers[name].model_dump(mode="json") for name in in_order(names, study.teachers)},
        "shelf": str(shelf_of(folder)),
        "until": study.teachers[trial.arm].epoch if taught else None,
        "publish": trial.arm if taught else None,
    }


def run_trials(
    conductor: Conductor,
    folder: Place,
    *,
    storage: Path,
    session: str,
    slots: int,
    between_events: Callable[[], bool],
    verbose: bool,
) -> None:
    """Runs the study's trials on the connected Ray cluster until there is nothing more to run.

    Args:
        conductor: Says what to run, and hears everything.
        folder: Folder of the study.
        storage: Folder of this machine for Ray Tune's own files.
        session: Name of the driver session.
        slots: Trials at once.
        between_events: Called about ten times a second or more; says whether all rows are safe. An exception from it
            ends the run.
        verbose: Let Ray Tune print its tables.

    Raises:
        OSError: The records cannot be written.
        Held: Another driver has taken the study over.
        TuneError: Ray Tune itself failed.
    """
    resources = conductor.study.resources
    first_error = FirstError()
    try:
        tune.run(
            PlacedStudyTrial,
            name=session,
            storage_path=str(storage),
            search_alg=StudySearcher(conductor, folder, slots, first_error),
            scheduler=StudyScheduler(conductor, folder, between_events, first_error),
            resources_per_trial={"cpu": resources.cpus, "gpu": resources.gpus},
            num_samples=-1,
            max_failures=resources.max_failures,
            reuse_actors=True,
            raise_on_failed_trial=False,
            verbose=2 if verbose else 0,
        )
    except TuneError:
        if first_error.error is not None:
            raise first_error.error from None
        raise
