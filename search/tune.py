"""The run of Ray Tune, and its scheduler, which tells the conductor what happened and passes its verdicts back.

Ray Tune starts workers, drives them and reuses live ones. It decides nothing: what becomes of a trial whose worker
crashed or was lost, the conductor says, and a trial that goes on is a new one to Ray Tune. What it writes for itself
is disposable: a resumed study is rebuilt from the records.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.error import TuneError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from results.places import Place
from results.schema import Setback, Verdict
from search.checkpoints import drop_checkpoints
from search.conductor import Conductor
from search.doctor.admission import Terms, unfit_node
from search.failures import Failure, failure_of
from search.history import Trial
from search.nodes import Change, Fleet, node_of
from search.placement import request_for
from search.searcher import FirstError, StudySearcher
from search.worker import trainable_of
from trainables.distributed import NODES_KEY
from trainables.trial import PLACEHOLDER, REPORT_KEY

KEEP_WORKER_S = 30.0
"""An idle worker waits at most so long for the next stage; seconds."""


class ActorManager(RayActorManager):  # type: ignore[misc]  # Ray is untyped here
    """Ray Tune's own, but for one thing: an actor may also end because its node was short of memory.

    Where Ray's memory monitor ends a worker in the middle of a call, the error is none that Ray Tune expects of an
    actor, and it ends the whole run (Ray 2.60). Here it is an error of the actor like others.
    """

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if not isinstance(exception, RayActorError | RayTaskError):
            error = RayActorError(error_msg=str(exception))
            error.cause = exception
            exception = error
        super()._actor_task_failed(tracked_actor_task, exception)


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray is untyped here
    """Tells the conductor of starts, reports and crashes.

    A Ray Tune callback could hear of starts too, but passing one makes the driver import mlflow, for seconds.
    """

    def __init__(
        self,
        conductor: Conductor,
        folder: Place,
        fleet: Fleet,
        between_events: Callable[[], bool],
        first_error: FirstError,
    ) -> None:
        super().__init__()
        self._conductor = conductor
        self._folder = folder
        self._fleet = fleet
        self._between_events = between_events
        self._first_error = first_error
        self._started: set[str] = set()
        self._nodes_of: dict[str, set[str]] = {}  # a trial of several processes may be on several
        self._sent_away: set[str] = set()
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
            if tune_trial.status == TuneTrial.RUNNING and tune_trial.config != PLACEHOLDER:
                self._note_start(tune_trial)
        with self._first_error.kept():
            for change in self._fleet.changes():
                trials = 0 if change.why else self._trials_on(change)
                sentence = change.sentence(trials, self._fits)
                self._conductor.records.event(sentence, slots=self._fits)
        return None

    def _note_start(self, tune_trial: TuneTrial) -> None:
        if tune_trial.trial_id in self._started:
            return
        self._started.add(tune_trial.trial_id)
        with self._first_error.kept():
            self._conductor.started(tune_trial.config["trial"])
        if self._fleet.watched:
            self._nodes_of[tune_trial.trial_id] = {node_of(tune_trial.temporary_state.ray_actor)}

    @property
    def _fits(self) -> int:
        return self._fleet.fits(self._conductor.shares.usual)

    def _trials_on(self, change: Change) -> int:
        """How many trials a change concerns; those that were on a lost node are on none from then on."""
        concerned = [name for name, nodes in self._nodes_of.items() if change.node.id in nodes]
        if change.is_end:
            for name in concerned:
                del self._nodes_of[name]
        return len(concerned)

    def on_trial_add(self, controller: object, tune_trial: TuneTrial) -> None:
        """Asks for what the trial needs: a larger share of a GPU where it, or every later one, lacked memory."""
        resources, shares = self._conductor.study.resources, self._conductor.shares
        gpus = shares.of(tune_trial.config["trial"]) if tune_trial.config != PLACEHOLDER else shares.usual
        packed = self._fleet.watched and resources.placement == "pack"
        tune_trial.update_resources(request_for(resources, gpus, packed=packed, left_out=self._fleet.left_out))

    def on_trial_result(self, controller: object, tune_trial: TuneTrial, result: dict[str, Any]) -> str:
        """CONTINUE or STOP."""
        with self._first_error.kept():
            if tune_trial.config == PLACEHOLDER:
                wait = self._conductor.between_stages and result["time_total_s"] < KEEP_WORKER_S
                return str(TrialScheduler.CONTINUE if wait else TrialScheduler.STOP)
            self._note_start(tune_trial)  # it may report before we looked
            name = tune_trial.config["trial"]
            nodes = self._nodes_of.get(tune_trial.trial_id, set())
            nodes |= set(result.get(NODES_KEY, ()))
            if self._conductor.report(name, result[REPORT_KEY][0]) is Verdict.CONTINUE:
                if any(map(self._fleet.is_leaving, nodes)):
                    self._send_away(tune_trial)
                return str(TrialScheduler.CONTINUE)
            self._nodes_of.pop(tune_trial.trial_id, None)
            self._ended.append(self._conductor.history.trials[name])
        return str(TrialScheduler.STOP)

    def _send_away(self, tune_trial: TuneTrial) -> None:
        """Ends a worker that has just written a checkpoint: its node will be taken away. We hear of it as an error."""
        self._sent_away.add(tune_trial.trial_id)
        ray.kill(tune_trial.temporary_state.ray_actor)

    def on_trial_error(self, controller: Any, tune_trial: TuneTrial) -> None:  # Any: Ray's controller is untyped
        """A worker raised an exception or was lost, also before it began: Ray Tune is done with this start of it.

        Where a worker that goes from one trial to the next raised, Ray Tune still takes the trial for one that is
        being placed (Ray 2.60): it would keep workers for it as long as it runs, and later ones would find no room.
        """
        if tune_trial in controller._staged_trials:
            controller._unstage_trial_with_resources(tune_trial)
        if tune_trial.config == PLACEHOLDER:
            return
        name = tune_trial.config["trial"]
        error, text = _error_of(tune_trial)
        failure = failure_of(error, text, node=tune_trial.last_result.get("hostname"))
        sent_away = tune_trial.trial_id in self._sent_away
        if sent_away:
            its_node = "one of its nodes" if len(self._nodes_of.get(tune_trial.trial_id, ())) > 1 else "its node"
            failure = Failure(setback=Setback.MOVE, reason=f"{its_node} will be taken away")
        elif (unfit := unfit_node(text)) is not None:
            node, why = unfit
            self._fleet.leave_out(node, why)
            failure = Failure(setback=Setback.MOVE, reason="its node is unfit for the study, and left out", error=why)
        if sent_away or failure.setback is not Setback.MOVE:  # those of a lost node count when its loss is noticed
            self._nodes_of.pop(tune_trial.trial_id, None)
        with self._first_error.kept():
            self._conductor.lost(name, failure)
            self._ended.append(self._conductor.history.trials[name])


def _error_of(tune_trial: TuneTrial) -> tuple[BaseException | None, str]:
    """What Ray Tune keeps of a failure, as it is and as text.

    Its own getters look where the files are only after a synchronisation.
    """
    error, text = None, ""
    with contextlib.suppress(Exception):  # an exception of any library need not survive pickling
        error = cloudpickle.loads(Path(tune_trial.pickled_error_file).read_bytes())
    with contextlib.suppress(OSError, TypeError):
        text = Path(tune_trial.error_file).read_text(encoding="utf-8", errors="replace")
    return error, text


def run_trials(
    conductor: Conductor,
    folder: Place,
    *,
    storage: Path,
    session: str,
    fleet: Fleet,
    terms: Terms | None,
    between_events: Callable[[], bool],
    verbose: bool,
) -> None:
    """Runs the study's trials on the connected Ray cluster until there is nothing more to run.

    Args:
        conductor: Says what to run, and hears everything.
        folder: Folder of the study.
        storage: Folder of this machine for Ray Tune's own files.
        session: Name of the driver session.
        fleet: Says how many trials to ask for at once, and what happens to nodes.
        terms: What workers must find on their machines; None for this machine.
        between_events: Called about ten times a second or more; says whether all rows are safe. An exception from it
            ends the run.
        verbose: Let Ray Tune print its tables.

    Raises:
        OSError: The records cannot be written.
        Held: Another driver has taken the study over.
        TuneError: Ray Tune itself failed.
    """
    first_error = FirstError()
    tune_controller.RayActorManager = ActorManager
    os.environ["RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE"] = "1"  # else Ray Tune starts a trial again by itself
    if not verbose:  # it would list every start that broke off, though its trial went on
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    try:
        tune.run(
            trainable_of(conductor.study.resources.ranks),
            name=session,
            storage_path=str(storage),
            search_alg=StudySearcher(conductor, folder, fleet, terms, first_error),
            scheduler=StudyScheduler(conductor, folder, fleet, between_events, first_error),
            num_samples=-1,
            max_failures=0,  # restarts are ours
            reuse_actors=True,
            raise_on_failed_trial=False,
            verbose=2 if verbose else 0,
        )
    except TuneError:
        if first_error.error is not None:
            raise first_error.error from None
        raise
