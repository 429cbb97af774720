"""The best-config report: what a study found, how sure that is, what it cost and what to do next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from results.facts import StudyFacts
from results.places import Place
from results.query import StudyView, Trial
from results.report.audit import audit
from results.report.evidence import arm_results, calibrations, signals, teachers
from results.report.fruitless import why_fruitless
from results.report.model import ArmCount, Best, Candidate, Progress, Report, TimeUse, TopTrial
from results.report.notes import notes, run_on, steps
from results.report.openings import openings_of
from results.report.pareto import pareto
from results.report.snippet import study_file
from results.report.stability import stability
from results.report.standing import against_reference, is_ranked, seeds_to_decide, standings
from results.report.trials import settings_of
from results.report.wording import verdict
from results.schema import Stage, StudyState, TrialState
from results.statistics import SAME_DIGITS, mean_interval

TOP = 10
"""Explored trials that a report lists."""


def build(study_dir: Place, *, command: str = "thermotune") -> Report:
    """Makes the report of a study from its records, at any time in its life.

    Args:
        study_dir: Folder of the study.
        command: What the printed commands begin with, for instance ``thermotune --root runs``.

    Returns:
        The report.

    Raises:
        StudyNotFound: There is no study in the folder.
        StudyUnreadable: Its ``study.yaml`` lacks facts.
        RecordsUnreadable: A file among its records is damaged, foreign or newer.
    """
    return report_of(StudyView(study_dir), command=command)


def report_of(view: StudyView, *, command: str = "thermotune") -> Report:
    """The report of a snapshot that is already there; otherwise as ``build``."""
    return _Builder(view, command).report()


class _Builder:
    """Works one report out."""

    def __init__(self, view: StudyView, command: str) -> None:
        self.view = view
        self.facts: StudyFacts = view.facts
        self.command = command
        self.explored = [t for t in view.trials if t.stage is Stage.EXPLORE]
        self.confirming = [t for t in view.trials if t.stage is Stage.CONFIRM]
        self.ended = Counter(t.arm for t in self.explored if t.state.is_final)
        self.teachers = teachers(view)
        self.begun = Counter(t.arm for t in self.explored)
        self.over = self._search_is_over()
        self.candidates, self.earlier = self._candidates()
        self.confirmed = bool(self.candidates) and all(c.ended == c.seeds for c in self.candidates)

    def report(self) -> Report:
        challenger = self._leader(reference=False) if self.confirmed else None
        reference = self._leader(reference=True)
        best = self._best()
        comparisons = against_reference(self.facts, self.candidates, reference, self.ended) if self.confirmed else {}
        comparison = comparisons.get(challenger.trial) if challenger else None
        standing = standings(self.facts, self.candidates, reference, comparisons) if self.confirmed else ()
        needed = seeds_to_decide(comparison)
        progress = self._progress()
        openings = openings_of(self.view)
        return Report(
            study=self.facts.name,
            state=self.view.state,
            generated_at=datetime.now(UTC).replace(microsecond=0),
            metric=self.facts.metric,
            test_metric=self.facts.test_metric,
            mode=self.facts.mode,
            space=self.facts.space,
            derived=self.facts.derived,
            reference_arm=self.facts.reference,
            progress=progress,
            verdict=verdict(
                self.facts,
                progress,
                best,
                challenger,
                reference,
                comparison,
                self.candidates,
                standing,
                needed,
                why_fruitless(self.view) if best is None else (),
            ),
            best=best,
            candidates=self.candidates,
            earlier=self.earlier,
            challenger=challenger,
            reference=reference,
            comparison=comparison,
            arms=arm_results(self.view, self.candidates, comparisons) if self.confirmed else (),
            calibration=calibrations(self.view, self.candidates),
            teachers=self.teachers,
            signals=signals(self.view, self._notable()),
            test_openings=openings,
            pareto=pareto(self.view),
            audit=audit(self.view),
            stability=stability(self.view),
            amendments=self.view.amendments,
            repeated=self.view.repeated_in_words,
            spent=self.view.spent,
            top=self._top(),
            counts=self._counts(),
            time=self._time(),
            notes=notes(
                self.view,
                confirmed=self.confirmed,
                candidates=self.candidates,
                earlier=self.earlier,
                teachers=self.teachers,
                trials=self.ended,
                test_openings=openings,
            ),
            steps=steps(self.view, best, self.candidates, needed, self.command),
            run_on=run_on(self.view),
            standings=standing,
            seeds_needed=needed,
            view=self.view,
        )

    def _search_is_over(self) -> bool:
        """Whether no trial is to come: the number planned is an upper bound where a grid is refined.

        Fewer trials are enough if the driver went on to confirm or completed the study by the newest study file.
        """
        if not all(t.state.is_final for t in self.explored):
            return False
        if all(self.begun[arm] >= self.facts.planned(arm) for arm in self.facts.arms):
            return True
        by_newest = [s for s in self.view.sessions if (s.amendment or 1) == self.facts.amendment]
        if not by_newest or not self.explored:
            return False
        if self.view.state is StudyState.COMPLETED and by_newest[-1] is self.view.sessions[-1]:
            return True
        newest = max(self.view.trials, key=lambda t: t.created_at)
        return newest.stage is Stage.CONFIRM and newest.created_at >= by_newest[0].started_at

    def _planned(self, arm: str) -> int:
        """Trials to explore in an arm; once the search is over no more than there are."""
        return min(self.facts.planned(arm), self.begun[arm]) if self.over else self.facts.planned(arm)

    def _chosen(self) -> list[str]:
        """The trials that the driver confirms: the best of every arm, one of the reference; none before all ended."""
        by_arm = {arm: [t for t in self.explored if t.arm == arm] for arm in self.facts.arms}
        if not self.over:
            return []
        chosen = []
        for arm, trials in by_arm.items():
            best = sorted(self._full(trials), key=self._by_value)
            chosen += [t.trial for t in best[: self.facts.confirmed_trials(arm)]]
        return chosen

    def _candidates(self) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """Those that count, best first, and those of earlier rounds that do not."""
        runs: dict[str | None, list[Trial]] = {}
        for trial in self.confirming:
            runs.setdefault(trial.source, []).append(trial)
        chosen = self._chosen() if self.facts.confirm_seeds else []
        found = [self._candidate(t, runs.get(t.trial, ())) for t in self.explored if t.trial in chosen]
        earlier = (
            self._candidate(t, runs[t.trial]) for t in self.explored if t.trial in runs and t.trial not in chosen
        )
        return tuple(sorted(found, key=self._standing)), tuple(earlier)  # the sort keeps the order of proposal in ties

    def _candidate(self, source: Trial, runs: Sequence[Trial]) -> Candidate:
        validation, test = {}, {}
        for run in runs:
            if run.state is not TrialState.COMPLETED:
                continue
            seed = run.seeds[0]
            if run.value is not None and math.isfinite(run.value):
                validation[seed] = run.value
            tested = self.view.epoch_means[run.trial][-1].metrics.get(self.facts.test_metric)
            if tested is not None and math.isfinite(tested):
                test[seed] = tested
        states = Counter(run.state for run in runs)
        return Candidate(
            trial=source.trial,
            arm=source.arm,
            settings=settings_of(self.view, source),
            explored=source.value,
            seeds=max(self.facts.confirm_seeds, len(runs)),
            ended=sum(n for state, n in states.items() if state.is_final),
            diverged=states[TrialState.DIVERGED],
            failed=states[TrialState.FAILED],
            validation=mean_interval(list(validation.values())) if validation else None,
            test=mean_interval(list(test.values())) if test else None,
            validation_by_seed=validation,
            test_by_seed=test,
        )

    def _notable(self) -> list[Trial]:
        """The candidates' trials; before there are any the best trial of every arm."""
        if self.candidates:
            by_name = {t.trial: t for t in self.explored}
            return [by_name[c.trial] for c in self.candidates]
        full = self._full(self.explored)
        best = (min((t for t in full if t.arm == arm), key=self._by_value, default=None) for arm in self.facts.arms)
        return [trial for trial in best if trial is not None]

    def _by_value(self, trial: Trial) -> tuple[float, int]:
        """Sorts the best explored trial first, and the earlier one of equals."""
        return self._rank(trial.value), trial.number

    def _standing(self, candidate: Candidate) -> tuple[bool, int, float]:
        """Sorts candidates: diverged ones last, then those that lost seeds, then by the mean on validation."""
        measured = candidate.validation
        lost = candidate.ended - (measured.n if measured else 0)
        return bool(candidate.diverged), lost, self._rank(round(measured.mean, SAME_DIGITS) if measured else None)

    def _rank(self, value: float | None) -> float:
        """Sorts the best value first and missing ones last."""
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.facts.mode == "max" else value

    def _leader(self, *, reference: bool) -> Candidate | None:
        """Best candidate by mean validation metric that diverged on no seed; the candidates are sorted so."""
        for candidate in self.candidates:
            is_reference = candidate.arm == self.facts.reference
            if is_reference == reference and is_ranked(candidate):
                return candidate
        return None

    def _first(self) -> Candidate | None:
        """The best of all; the reference only where it is ahead of every other."""
        challenger, reference = self._leader(reference=False), self._leader(reference=True)
        if challenger is None or reference is None:
            return challenger or reference
        return reference if self._standing(reference) < self._standing(challenger) else challenger

    def _best(self) -> Best | None:
        rule = f"{self.facts.epoch_rule} epoch"
        confirmed = self._first() if self.confirmed else None
        if confirmed is not None and confirmed.validation is not None:
            source = f"validation split, {rule}, mean over {confirmed.validation.n} confirm seeds"
            trial = next(t for t in self.explored if t.trial == confirmed.trial)
            return self._as_best(trial, confirmed.validation.mean, source, confirmed=True)
        done = self._full(self.explored)
        if self.confirmed or not done:
            return None
        first = min(done, key=lambda t: self._rank(t.value))
        assert first.value is not None
        seeds = "one seed" if len(first.seeds) <= 1 else f"{len(first.seeds)} seeds"
        source = f"validation split, {rule}, search stage only, {seeds}: not confirmed"
        return self._as_best(first, first.value, source, confirmed=False)

    def _as_best(self, trial: Trial, value: float, source: str, *, confirmed: bool) -> Best:
        return Best(
            trial=trial.trial,
            arm=trial.arm,
            reference=trial.arm == self.facts.reference,
            settings=settings_of(self.view, trial),
            value=value,
            source=source,
            confirmed=confirmed,
            origin=trial.origin,
            retrain=f"{self.command} train {self.facts.name} {trial.trial}",
            recipe=trial.recipe,
            study_file=study_file(self.view, trial),
        )

    @staticmethod
    def _full(trials: Sequence[Trial]) -> list[Trial]:
        return [t for t in trials if t.state is TrialState.COMPLETED and t.value is not None and math.isfinite(t.value)]

    def _progress(self) -> Progress:
        return Progress(
            state=self.view.state,
            explored=sum(t.state.is_final for t in self.explored),
            to_explore=sum(max(self._planned(arm), self.begun[arm]) for arm in self.facts.arms),
            completed=len(self._full(self.explored)),
            paused=sum(t.state is TrialState.PAUSED for t in self.explored),
            confirmed=sum(c.ended for c in self.candidates),
            to_confirm=sum(c.seeds for c in self.candidates),
            taught=sum(t.state is TrialState.COMPLETED for t in self.teachers),
            to_teach=len(self.teachers),
            lost_teachers=tuple(t.name for t in self.teachers if t.lost),
        )

    def _top(self) -> tuple[TopTrial, ...]:
        """Trials trained to the end by value, then those that came farthest: values of different epochs do not mix."""
        rows = [t for t in self.explored if t.epochs]
        value = {t.trial: t.value if t.value is not None else t.last_value for t in rows}
        rows.sort(key=lambda t: (t.state is not TrialState.COMPLETED, -t.epochs, self._rank(value[t.trial])))
        return tuple(
            TopTrial(
                trial=t.trial,
                arm=t.arm,
                settings=settings_of(self.view, t),
                epochs=t.epochs,
                state=t.state,
                value=value[t.trial],
            )
            for t in rows[:TOP]
        )

    def _counts(self) -> tuple[ArmCount, ...]:
        planned = Counter({(Stage.TEACH, teacher.name): 1 for teacher in self.teachers})
        planned.update({(Stage.EXPLORE, arm): self._planned(arm) for arm in self.facts.arms})
        by_arm: dict[tuple[Stage, str], Counter[TrialState]] = {place: Counter() for place in planned}
        for trial in self.view.trials:
            by_arm.setdefault((trial.stage, trial.arm), Counter())[trial.state] += 1
        for candidate in self.candidates:
            planned[Stage.CONFIRM, candidate.arm] += candidate.seeds
        return tuple(
            ArmCount(
                arm=arm,
                stage=stage,
                planned=planned[stage, arm],
                states={state: states[state] for state in TrialState if states[state]},
            )
            for (stage, arm), states in by_arm.items()
        )

    def _time(self) -> TimeUse:
        saved: dict[TrialState, tuple[float, int]] = {}
        for state in (TrialState.PRUNED, TrialState.DIVERGED):
            left = [
                (self.facts.epochs - t.epochs, t.mean_epoch_time_s or 0.0)
                for t in (*self.explored, *self.confirming)
                if t.state is state
            ]
            saved[state] = (sum(n * pace for n, pace in left), sum(n for n, _ in left))
        return TimeUse(
            training_s=sum(t.train_time_s for t in self.view.trials),
            teaching_s=sum(t.train_time_s for t in self.view.trials if t.stage is Stage.TEACH),
            wall_s=self.view.wall_s,
            sessions=len(self.view.sessions),
            epochs=sum(t.epochs for t in self.view.trials),
            stopped_saved_s=saved[TrialState.PRUNED][0],
            stopped_saved_epochs=saved[TrialState.PRUNED][1],
            diverged_saved_s=saved[TrialState.DIVERGED][0],
            diverged_saved_epochs=saved[TrialState.DIVERGED][1],
            restarts=sum(t.restarts for t in self.view.trials),
            restarted_trials=sum(t.restarts > 0 for t in self.view.trials),
            crashes=sum(t.crashes for t in self.view.trials),
            moves=sum(t.moves for t in self.view.trials),
        )
