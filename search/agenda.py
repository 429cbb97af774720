"""Agenda: what a study still has to do, as far as its history tells. Records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from results.schema import Stage, TrialState
from search.history import History, Trial
from search.proposing import is_exhausted, may_propose
from search.study import Study


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that the stage confirm measures: an explored trial's."""

    source: Trial
    seed: int


class Agenda:
    """Questions to a history that grows; the answers are functions of it, and of the teachers that are trained.

    Attributes:
        trained: The teachers that are on the shelf, with their addresses; to be filled in before the first trial.
    """

    def __init__(self, study: Study, history: History, *, session: str) -> None:
        """Takes a study up.

        Args:
            study: What is to be run.
            history: What its records say; may grow.
            session: Name of the driver session that asks.
        """
        self.trained: dict[str, str] = {}
        self._study = study
        self._history = history
        self._session = session
        self._chosen: tuple[int, list[Trial]] | None = None

    @property
    def spent(self) -> str | None:
        """Why no new trial is begun though there would be some: the budget of trials is used up; None if it is not."""
        limit = self._study.budget.trials
        reused = sum(t.state is TrialState.COMPLETED and t.attempt == 0 for t in self._history.of(stage=Stage.TEACH))
        begun = len(self._history.trials) - reused
        return None if limit is None or begun < limit else f"{begun} of {limit} trials"

    @property
    def blocked(self) -> str | None:
        """Why the study cannot go on: a teacher that it needs could not be trained in this session; None if it can."""
        for trial in self._history.of(stage=Stage.TEACH):
            if trial.session == self._session and trial.state in (TrialState.DIVERGED, TrialState.FAILED):
                diverged = trial.state is TrialState.DIVERGED
                remedy = (
                    "Lower its learning rate, and submit it as a new study"
                    if diverged
                    else "Mend the cause, and resume"
                )
                return f"the teacher {trial.arm} ({trial.name}) {trial.state.lower()}: {trial.reason}. {remedy}"
        return None

    def untrained(self) -> list[str]:
        """The teachers that the study needs and that are not on the shelf."""
        return [name for name in self._study.needed_teachers if name not in self.trained]

    def ready_to_be_taught(self) -> list[str]:
        """Teachers that nobody trains yet, though all that they learn from themselves is there."""
        if self.blocked is not None:
            return []
        begun = {trial.arm for trial in self._history.of(stage=Stage.TEACH) if not trial.state.is_final}
        return [
            name
            for name in self.untrained()
            if name not in begun and all(other in self.trained for other in self._study.teachers[name].recipe.names)
        ]

    def is_explored(self) -> bool:
        """Whether no arm will propose anything more."""
        return all(is_exhausted(self._study, self._history, arm) for arm in self._study.arms)

    def promotion(self) -> tuple[Trial, int] | None:
        """The paused trial that should go on, with its rung: of the highest rung that has one, the first arm's.

        Where an amendment made the rule one that does not pause, all go on that wait.
        """
        rule = self._study.rule
        for epoch, arm in self._history.waiting():
            rung = self._history.rung(arm, 0, epoch)
            name = rule.promotable(rung) if rule.pauses else rung.best_waiting(self._study.search.mode)
            if name is not None:
                return self._history.trials[name], epoch
        return None

    def only_wait(self) -> Iterator[str]:
        """The arms in which nothing else can be done than to wait; at the end, or at that of a round of a grid."""
        for arm in self._study.arms:
            if self._history.is_waiting(arm) and not may_propose(self._study, self._history, arm):
                yield arm

    def last_promotion(self) -> tuple[Trial, int] | None:
        """The best that waits at the highest rung of an arm that would else have too few trials to confirm."""
        search = self._study.search
        for arm in self.only_wait():
            wanted = self._study.confirmed_trials(arm)
            if len(self._history.best(arm, search.metric, search.mode, wanted)) < wanted:
                epoch = next(epoch for epoch, its_arm in self._history.waiting() if its_arm == arm)
                name = self._history.rung(arm, 0, epoch).best_waiting(search.mode)
                assert name is not None, "a rung at which somebody waits"
                return self._history.trials[name], epoch
        return None

    def candidates(self) -> list[Trial]:
        """The explored trials whose configurations are worth fresh seeds: the best of every arm.

        Empty while the search is not over.
        """
        if self._history.is_open(Stage.EXPLORE) or not self.is_explored():
            return []
        explored = len(self._history.of())
        if self._chosen is None or self._chosen[0] != explored:  # asked for at every idle moment
            search = self._study.search
            best = [
                trial
                for arm in self._study.arms
                for trial in self._history.best(arm, search.metric, search.mode, self._study.confirmed_trials(arm))
            ]
            self._chosen = (explored, best)
        return self._chosen[1]

    def to_confirm(self) -> list[Candidate]:
        """Candidates and seeds that no confirm trial covers; seed by seed, so that pairs are complete early."""
        covered = {(trial.source, seed) for trial in self._history.of(stage=Stage.CONFIRM) for seed in trial.seeds}
        sources = self.candidates()
        return [
            Candidate(source, seed)
            for seed in self._study.confirm_seeds
            for source in sources
            if (source.name, seed) not in covered
        ]
