"""A cluster without Ray: drives the conductor with made-up learning curves, concurrency and kills."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from results.schema import AnyRow, Setback, StudyState, Verdict
from search.conductor import FREE_MOVES, Conductor
from search.failures import Failure
from search.history import History, Trial
from search.proposing import Known
from search.study import Study
from search.study_file import load

EPOCHS = 27


def study(*overrides: str, name: str = "digits-beta") -> Study:
    return load(name, overrides).study


def curve(trial: Trial, seed: int, epoch: int) -> float:
    """Accuracy, best near lr * beta = 0.1 and beta = 0.3, with noise by seed; diverges where lr * beta is large."""
    loss = trial.recipe["loss"]
    lr, beta = trial.recipe["optimizer"]["lr"], loss.get("beta", loss.get("alpha", 1.0))
    if lr * beta > 0.3 and epoch >= 2:
        return math.nan
    miss = 0.05 * math.log10(lr * beta / 0.1) ** 2 + 0.02 * math.log10(beta / 0.3) ** 2
    noise = random.Random(f"{seed}/{lr}/{beta}").gauss(0, 0.005)
    return 0.98 - miss - 0.4 * math.exp(-epoch / 4) + noise


class Killed(Exception):
    """The driver is gone."""


class Disk:
    """Rows that survive a kill, and rows that only wait. Dies by itself at the ``dies_at``-th row or flush."""

    def __init__(self, rows: list[AnyRow], dies_at: int | None = None) -> None:
        self.safe = rows
        self.waiting: list[AnyRow] = []
        self.dies_at = dies_at
        self.events = 0

    def _event(self) -> None:
        self.events += 1
        if self.dies_at is not None and self.events >= self.dies_at:
            raise Killed

    def append(self, row: AnyRow) -> None:
        self._event()
        self.waiting.append(row)
        if len(self.waiting) >= 7:
            self.flush()

    def flush(self) -> None:
        """All or nothing, as results.store does it."""
        self._event()
        self.safe += self.waiting
        self.waiting = []


class Worker:
    """Trains one trial like trainables.session.TrialSession; ``checkpoints`` outlive it."""

    def __init__(self, trial: Trial, stops: tuple[int, ...], epochs: int, checkpoints: dict[str, list[dict]]) -> None:
        self.trial, self.stops, self.epochs, self.checkpoints = trial, stops, epochs, checkpoints
        self.started = False
        self.attempt = trial.attempt + 1
        self.key = json.dumps([trial.name, trial.recipe, trial.seeds], sort_keys=True)  # what was trained, as a digest
        self.rows = list(checkpoints.get(self.key, []))
        self.start = self.rows[-1]["epoch"] if self.rows else 0
        self.first = bool(self.rows)

    def advance(self) -> dict:
        new = self.rows if self.first else self._train()
        self.first = False
        bad = [row for row in self.rows if not math.isfinite(row["metrics"]["val/accuracy"])]
        return {
            "trial": self.trial.name,
            "attempt": self.attempt,
            "attempt_start": self.start,
            "epochs": list(new),
            "divergence": {"epoch": bad[0]["epoch"], "reason": f"train/loss is nan at epoch {bad[0]['epoch']}"}
            if bad
            else None,
            "finished": not bad and self.rows[-1]["epoch"] == self.epochs,
            "memory": None,
            "out_of_memory": None,
        }

    def _train(self) -> list[dict]:
        new = []
        epoch = self.rows[-1]["epoch"] if self.rows else 0
        while epoch < self.epochs:
            epoch += 1
            lanes = [
                {
                    "epoch": epoch,
                    "lane": lane,
                    "seed": seed,
                    "epoch_time_s": 1.0,
                    "metrics": {"val/accuracy": curve(self.trial, seed, epoch)},
                }
                for lane, seed in enumerate(self.trial.seeds)
            ]
            new += lanes
            if epoch in self.stops or any(math.isnan(row["metrics"]["val/accuracy"]) for row in lanes):
                break
        self.rows += new
        self.checkpoints[self.key] = list(self.rows)
        return new


class Cluster:
    """Takes workers away, and brings their last reports late, some of them twice."""

    def __init__(self, seed: int, rate: float) -> None:
        self.rng = random.Random(f"cluster {seed}")
        self.rate = rate
        self.late: list[tuple[str, dict]] = []

    def takes(self, worker: Worker, conductor: Conductor) -> bool:
        """Whether it takes the worker away, with a checkpoint behind its last report or not."""
        if self.late and self.rng.random() < 0.5:
            self._bring(conductor)
        often = worker.trial.fruitless_moves >= FREE_MOVES  # from then on it would be a crash
        if self.rng.random() >= self.rate or often:
            return False
        if worker.started and self.rng.random() < 0.7:
            self.late.append((worker.trial.name, worker.advance()))
        conductor.lost(worker.trial.name, Failure(setback=Setback.MOVE, reason="its node was lost"))
        return True

    def _bring(self, conductor: Conductor) -> None:
        number = self.rng.randrange(len(self.late))
        name, report = self.late[number] if self.rng.random() < 0.3 else self.late.pop(number)
        before = conductor.history.seq
        assert conductor.report(name, report) is Verdict.STOP
        assert conductor.history.seq == before


def drive(
    spec: Study,
    rows: list[AnyRow],
    checkpoints: dict[str, list[dict]],
    *,
    workers: int = 1,
    order: int = 0,
    dies_at: int | None = None,
    shelf: dict[str, str] | None = None,
    known: Known | None = None,
    now: Callable[[], datetime] | None = None,
    cluster: Cluster | None = None,
) -> History:
    """One driver session, from whatever ``rows`` say to the end.

    ``rows``, ``checkpoints`` and the ``shelf`` of teachers are what a disk keeps.

    Raises:
        Killed: At the ``dies_at``-th event.
    """
    history = History.fold(sorted(rows, key=lambda row: row.seq))
    clock = iter(range(10**9))
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    session = f"s{history.sessions + 1:04d}"
    disk = Disk(rows, dies_at)
    conductor = Conductor(
        spec,
        history,
        disk,
        session=session,
        known=known,
        now=now or (lambda: begin + timedelta(milliseconds=next(clock))),
    )
    shelf = {} if shelf is None else shelf
    conductor.agenda.trained = dict(shelf)
    facts = {"host": "h", "pid": 1, "slots": workers, "command": "c", "environment": "{}", "amendment": 1}
    conductor.records.session(StudyState.RUNNING, **facts)
    rng = random.Random(order)
    busy: list[Worker] = []
    while not conductor.at_rest:
        while len(busy) < workers and (trial := conductor.next_trial()) is not None:
            stops = spec.rule.rungs(spec.rule.bracket(trial.number)) if trial.stage == "explore" else ()
            teacher = spec.teachers[trial.arm] if trial.stage == "teach" else None
            epochs = spec.recipe.epochs if teacher is None else teacher.epoch or teacher.recipe.epochs
            busy.append(Worker(trial, stops, epochs, checkpoints))
        if conductor.agenda.blocked is not None:
            break
        if not busy:
            continue  # the last paused trials have just ended
        worker = rng.choice(busy)
        if cluster is not None and cluster.takes(worker, conductor):
            busy.remove(worker)
            continue
        if not worker.started:  # starting takes a while
            worker.started = True
            conductor.started(worker.trial.name)
            continue
        report = worker.advance()
        if report["finished"] and worker.trial.stage == "teach":
            shelf[worker.trial.arm] = f"address of {worker.trial.arm}"
        verdict = conductor.report(worker.trial.name, report)
        if verdict is not Verdict.CONTINUE:
            busy.remove(worker)
            if verdict is Verdict.STOP and worker.trial.stage == "explore":
                checkpoints.pop(worker.key, None)
    conductor.records.session(StudyState.COMPLETED if conductor.finished else StudyState.INTERRUPTED, **facts)
    return history


def story(history: History) -> str:
    """All that must not depend on where a study was interrupted."""
    return json.dumps(
        [
            [
                t.name, t.arm, t.stage, t.number, t.coordinates, t.params, t.recipe, t.seeds, t.source, t.state,
                t.origin, t.audited,
                sorted((e, sorted((lane, dict(m)) for lane, m in lanes.items())) for e, lanes in t.epochs.items()),
                sorted((d.rung, d.value, d.cutoff, d.rank, d.n, d.verdict) for d in t.decisions.values()),
            ]
            for t in history.trials.values()
        ],
        indent=1,
    )  # fmt: skip
