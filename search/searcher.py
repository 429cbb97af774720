"""The searcher that Ray Tune asks for trials: it hands out what the conductor wants to run, and what a worker needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from results.places import Place
from results.schema import Stage
from search.checkpoints import checkpoint_folder
from search.conductor import Conductor
from search.doctor.admission import Terms
from search.folder import shelf_of
from search.history import Trial
from search.nodes import Fleet
from search.settings import REPORT_EVERY_S
from search.study import Study
from trainables.recipe import Recipe
from trainables.teachers import in_order
from trainables.trial import PLACEHOLDER


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

    def __init__(
        self, conductor: Conductor, folder: Place, fleet: Fleet, terms: Terms | None, first_error: FirstError
    ) -> None:
        super().__init__()
        self._terms = terms
        self._conductor = conductor
        self._folder = folder
        self._fleet = fleet
        self._first_error = first_error
        self._placeholders: set[str] = set()
        self._placeholders_left = self._fits

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial; None while there is none, FINISHED when there never will be."""
        held = len(self._conductor.active) + len(self._placeholders)
        if held >= self._fleet.slots(self._usual) or self._conductor.running < self._fits <= held:
            return None  # a worker that comes free is for those that wait already: Ray Tune prefers the newest
        with self._first_error.kept():
            trial = self._conductor.next_trial()
            if trial is not None:
                self._placeholders_left = self._fits
                return trial_config(self._conductor.study, trial, self._folder, self._terms)
            if self._conductor.at_rest:
                return str(Searcher.FINISHED)
            if not self._conductor.between_stages or self._placeholders_left == 0 or held >= self._fits:
                return None
        self._placeholders_left -= 1
        self._placeholders.add(trial_id)
        return dict(PLACEHOLDER)

    @property
    def _usual(self) -> float:
        return self._conductor.shares.usual

    @property
    def _fits(self) -> int:
        return self._fleet.fits(self._usual)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Frees the slot of a placeholder; of trials the conductor knows, since it gave the verdict."""
        self._placeholders.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a study is rebuilt from its records."""


def trial_config(study: Study, trial: Trial, folder: Place, terms: Terms | None = None) -> dict[str, Any]:
    """What a worker needs to run the trial: a trainables.session.TrialConfig as plain values."""
    explore = trial.stage is Stage.EXPLORE
    taught = trial.stage is Stage.TEACH
    names = [trial.arm] if taught else Recipe.model_validate(trial.recipe).names
    return {
        "trial": trial.name,
        "attempt": trial.attempt + 1,
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
        "terms": terms,
    }
