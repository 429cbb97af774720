"""StudyView: a snapshot of a study's records, and the questions asked of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from results.facts import StudyFacts, changes
from results.formats import count, listed
from results.lock import Holder
from results.places import Place
from results.query.answers import Amendment, EpochMean, Repeat, Rung, Session, Spent, Trial
from results.query.database import Database
from results.schema import LONGEST_GAP_S, METRICS, Stage, StudyState, TrialState


class StudyView:
    """A snapshot of a study's records, and the questions asked of it.

    The snapshot is taken when the view is made; later rows need a new view. It is consistent: a trial in a final
    state has all its epochs.
    """

    def __init__(self, study_dir: Place) -> None:
        """Reads facts and records.

        For 100 trials of 27 epochs it takes some 80 ms of CPU time in one file a table, and 1 ms more for every file
        beyond these: a study that runs has up to a hundred.

        Args:
            study_dir: Folder of the study.

        Raises:
            StudyNotFound: There is no study in the folder.
            StudyUnreadable: Its ``study.yaml`` lacks facts.
            RecordsUnreadable: A file among its records is damaged, foreign or newer, or there is no right to read it.
        """
        self.study_dir = study_dir
        self._database = Database([study_dir], loaded=True)
        for error in self._database.damaged.values():
            raise error
        (source,) = self._database.sources.values()
        self.facts: StudyFacts = source.facts
        self.holder: Holder | None = source.holder

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:  # Any: what SQL selects
        """Result of a query over the views.

        Args:
            sql: One SELECT in DuckDB's SQL.
            parameters: Values for its ``?``.

        Returns:
            The rows.
        """
        return self._database.rows(sql, parameters)

    @property
    def state(self) -> StudyState:
        """Where the study stands."""
        if self.holder is not None:
            return StudyState.RUNNING
        if not self.sessions:
            return StudyState.NEW
        last = self.sessions[-1].state
        return StudyState.COMPLETED if last is StudyState.COMPLETED else StudyState.INTERRUPTED

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in order of proposal."""
        names = [
            "trial", "arm", "stage", "number", "state", "attempt", "restarts", "crashes", "moves", "epochs", "value",
            "last_value", "source", "seeds", "coordinates", "params", "recipe", "origin", "audited", "reason", "error",
            "created_at", "started_at", "ended_at", "mean_epoch_time_s", "train_time_s",
        ]  # fmt: skip
        trials = []
        for row in self.rows(f"select {', '.join(names)} from trials order by seq"):
            values = dict(zip(names, row, strict=True))
            values |= {
                "stage": Stage(values["stage"]),
                "state": TrialState(values["state"]),
                "seeds": tuple(json.loads(values["seeds"] or "[]")),
                **{name: json.loads(values[name] or "{}") for name in ("coordinates", "params", "recipe")},
                **{name: _utc(values[name]) for name in ("created_at", "started_at", "ended_at")},
            }
            trials.append(Trial(**values))
        return tuple(trials)

    def length_of(self, trial: Trial) -> int:
        """Epochs of a trial that is trained to the end; a teacher has a length of its own."""
        teacher = self.facts.teachers.get(trial.arm) if trial.stage is Stage.TEACH else None
        return teacher.epochs if teacher else int(trial.recipe.get("epochs") or self.facts.epochs)

    def measured(self, trial: str, metric: str, *, last: bool = False) -> float | None:
        """A metric that is written in some epochs only: its first finite value, or its last.

        Args:
            trial: Name of the trial.
            metric: Name of the metric.
            last: Whether the latest value is asked for.

        Returns:
            The mean over lanes; None where it was never measured.
        """
        values = [mean.metrics.get(metric) for mean in self.epoch_means.get(trial, ())]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return finite[-1 if last else 0] if finite else None

    @cached_property
    def epoch_means(self) -> Mapping[str, tuple[EpochMean, ...]]:
        """Visible epochs of every trial that has some, in order."""
        names = list(METRICS)
        selected = ", ".join(f'"{name}"' for name in names)
        curves: dict[str, list[EpochMean]] = {}
        for trial, epoch, attempt, lanes, reported_at, time_s, *values in self.rows(
            f"select trial, epoch, attempt, lanes, reported_at, epoch_time_s, {selected} from epoch_means order by all"
        ):
            curves.setdefault(trial, []).append(
                EpochMean(
                    trial=trial,
                    epoch=epoch,
                    attempt=attempt,
                    lanes=lanes,
                    reported_at=reported_at.replace(tzinfo=UTC),
                    epoch_time_s=time_s,
                    metrics={n: v for n, v in zip(names, values, strict=True) if v is not None},
                )
            )
        return {trial: tuple(curve) for trial, curve in curves.items()}

    @cached_property
    def sessions(self) -> tuple[Session, ...]:
        """Driver sessions in order."""
        names = [
            "session", "state", "started_at", "ended_at", "last_row_at", "host", "pid", "slots", "command",
            "environment", "reason", "amendment", "wall_time_s",
        ]  # fmt: skip
        sessions = []
        for row in self.rows(f"select {', '.join(names)} from sessions order by seq"):
            values = dict(zip(names, row, strict=True))
            values |= {name: _utc(values[name]) for name in ("started_at", "ended_at", "last_row_at")}
            values |= {
                "state": StudyState(values["state"]),
                "environment": json.loads(values["environment"] or "{}"),
            }
            sessions.append(Session(**values))
        return tuple(sessions)

    @cached_property
    def amendments(self) -> tuple[Amendment, ...]:
        """What was changed after the study began, in order."""
        found = []
        for number, changed in changes(self.study_dir).items():
            first = next((s for s in self.sessions if s.amendment == number), None)
            found.append(
                Amendment(
                    number=number,
                    changes=changed,
                    session=first.session if first else None,
                    since=first.started_at if first else None,
                )
            )
        return tuple(found)

    @cached_property
    def repeated(self) -> tuple[Repeat, ...]:
        """Epochs that were trained again, in that order; ``search.history`` counts the same while a driver runs."""
        found = self.rows("select trial, session, trained_in, from_epoch, to_epoch, wasted_s from repeats order by seq")
        return tuple(
            Repeat(
                trial=trial, session=session, trained_in=tuple(before), from_epoch=low, to_epoch=high, wasted_s=time_s
            )
            for trial, session, before, low, high, time_s in found
        )

    @property
    def repeated_in_words(self) -> tuple[str, ...]:
        """The same, a sentence without a full stop for each session or dead worker's session."""
        places: dict[tuple[str, tuple[str, ...]], list[Repeat]] = {}
        for repeat in self.repeated:
            places.setdefault((repeat.session, repeat.trained_in), []).append(repeat)
        return tuple(_repeated_in(*place, repeats) for place, repeats in places.items())

    @property
    def wall_s(self) -> float:
        """Time of all driver sessions, that of a running one until now; s."""
        total = sum(session.wall_time_s for session in self.sessions)
        if self.state is StudyState.RUNNING and self.sessions and self.sessions[-1].ended_at is None:
            since_s = (datetime.now(UTC) - self.sessions[-1].last_row_at).total_seconds()
            total += min(max(0.0, since_s), LONGEST_GAP_S)
        return total

    @property
    def spent(self) -> tuple[Spent, ...]:
        """How much of its budget the study used, for what the budget limits."""
        budget = self.facts.budget
        known = (
            ("wall hours", self.wall_s / 3600, budget.wall_hours),
            ("GPU hours", self._gpu_s / 3600, budget.gpu_hours),
            ("trials", sum(not t.reused for t in self.trials), budget.trials),
        )
        return tuple(Spent(what=what, used=used, limit=limit) for what, used, limit in known if limit is not None)

    @property
    def _gpu_s(self) -> float:
        """Time of all epochs ever recorded, times the GPUs that their attempt was given; s."""
        ((found,),) = self.rows(
            "select coalesce(sum(epoch_time_s * coalesce(share, ?)), 0) from all_epochs left join (select trial, "
            "attempt, max(gpu_share) as share from all_trials where state = 'RUNNING' group by all) "
            "using (trial, attempt)",
            [self.facts.gpus],
        )
        return float(found)

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """Every rung of every arm at which a trial was judged, by arm and epoch; brackets are added up."""
        return self._rungs("null")

    @cached_property
    def bracket_rungs(self) -> tuple[Rung, ...]:
        """The same, but every bracket of Hyperband apart, by arm, epoch and bracket."""
        return self._rungs("coalesce(bracket, 0)")

    def _rungs(self, bracket: str) -> tuple[Rung, ...]:
        names = ["arm", "epoch", "bracket", "reached", "stopped", "audited", "paused", "promoted"]
        found = self.rows(
            f"""
            with met as (
                select arm, rung, trial, {bracket} as bracket, arg_min(verdict, seq) as verdict,
                       bool_or(verdict = 'PROMOTE') as promoted
                from decisions group by all
            )
            select arm, rung, bracket, count(*), count(*) filter (verdict = 'STOP'),
                   count(*) filter (verdict = 'AUDIT'), count(*) filter (verdict = 'PAUSE' and not promoted),
                   count(*) filter (verdict = 'PAUSE' and promoted)
            from met group by all order by all
            """
        )
        return tuple(Rung(**dict(zip(names, row, strict=True))) for row in found)


def _repeated_in(session: str, trained_in: Sequence[str], repeats: Sequence[Repeat]) -> str:
    """Say: ``session s0003 took over from s0002: 2 epochs of t0014 and 1 of t0017 were trained again``."""
    epochs: Counter[str] = Counter()
    for repeat in repeats:
        epochs[repeat.trial] += repeat.epochs
    (first, most), *others = epochs.items()
    parts = [f"{count(most, 'epoch')} of {first}", *(f"{n} of {trial}" for trial, n in others)]
    before = [name for name in trained_in if name != session]
    why = (
        f"session {session} took over from {listed(before)}" if before else f"after a worker died in session {session}"
    )
    was = "was" if epochs.total() == 1 else "were"
    return f"{why}: {listed(parts)} {was} trained again"


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
