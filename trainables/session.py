"""What one trial does in a worker: train, report, checkpoint, and continue after a restart. Knows no ray."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from trainables.memory import measured
from trainables.recipe import Recipe, Teacher
from trainables.storage import Folder
from trainables.teachers import Shelf, in_order

if TYPE_CHECKING:
    from trainables.engine.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial, in plain JSON types.

    Attributes:
        trial: Name, for example t0001.
        attempt: Which start of the trial it is, from 1; every report says it.
        recipe: As ``Recipe.model_dump()`` gives it; missing keys take their defaults.
        seeds: One for each lane.
        return_at: Epochs after which :meth:`TrialSession.advance` returns at the latest (the rungs).
        report_every_s: Seconds of training after which it returns, at the end of an epoch.
        test: Whether to evaluate on the test split after the last epoch.
        checkpoints: Folder for this trial's checkpoints, or its address on an object store; None for none.
        max_loss: A training loss above it is a divergence; nats.
        data_root: Folder of the packed data sets; None for the default one.
        threads: CPU threads of torch.
        workers: Processes that decode images, for a data set that is streamed.
        device: ``cpu`` or ``cuda``.
        teachers: What the names in the recipe mean, in the JSON types of a Teacher.
        shelf: Likewise of the trained teachers; needed where the recipe names one, or ``publish`` is set.
        until: End after this epoch of the schedule; None for its last one.
        publish: The name among ``teachers`` under which the trained network goes on the shelf.
        terms: What must hold on the machine that trains, for ``StudyTrial.admit``; None for nothing.
    """

    trial: str
    recipe: dict[str, Any]  # Any: JSON; checked as a Recipe
    seeds: tuple[int, ...]
    attempt: int = 1
    return_at: tuple[int, ...] = ()
    report_every_s: float = 1.0
    test: bool = False
    checkpoints: str | None = None
    max_loss: float = 1000.0
    data_root: str | None = None
    threads: int = 1
    workers: int = 1
    device: str = "cpu"
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)  # Any: JSON; checked as Teachers
    shelf: str | None = None
    until: int | None = None
    publish: str | None = None
    terms: dict[str, Any] | None = None  # Any: JSON

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Checks and converts what :meth:`to_dict` gave.

        Raises:
            pydantic.ValidationError: A key is missing, unknown or of the wrong type; all mistakes at once.
        """
        return _CONFIG.validate_python(dict(values))

    def to_dict(self) -> dict[str, Any]:
        """The config in JSON types."""
        plain: dict[str, Any] = _CONFIG.dump_python(self, mode="json")
        return plain


_CONFIG = TypeAdapter(TrialConfig)


class TrialSession:
    """Trains one trial in pieces. A new session with the same config goes on where the last checkpoint stands.

    Where several processes train the trial together, each has a session, and all are asked for the same at the same
    time. Rank 0 alone reads and writes checkpoints and teachers, and its reports count; what it read, it tells the
    others. A checkpoint does not depend on the number of processes.
    """

    def __init__(self, config: TrialConfig, place: Callable[[str], Folder] = Path, ranks: Ranks | None = None) -> None:
        """Builds the run and restores the newest checkpoint that belongs to it.

        Args:
            config: The trial.
            place: Turns the folders that it names into what can be read and written.
            ranks: Who trains together; None for this process alone.

        Raises:
            pydantic.ValidationError: The recipe is not valid.
            ValueError: Its model, data set or seeds are not, or a teacher that it needs is not on the shelf.
            OSError: The object store of a folder did not answer for a long time.
            RankLost: Another process of the trial does not answer.
        """
        import torch  # here and below: the driver imports this module, and torch costs seconds

        from trainables.engine.train import Training

        torch.set_num_threads(config.threads)
        recipe = Recipe.model_validate(config.recipe)
        self._config = config
        self._ranks = ranks
        self._teachers = {name: Teacher.model_validate(values) for name, values in config.teachers.items()}
        self._shelf = None if config.shelf is None else Shelf(place(config.shelf))
        self._folder = None if config.checkpoints is None else place(config.checkpoints)
        self._training = Training(
            recipe,
            config.seeds,
            device=config.device,
            data_root=config.data_root,
            test=config.test,
            max_loss=config.max_loss,
            until=config.until,
            teachers=self._teachers,
            shelf=self._shelf,
            workers=config.workers,
            ranks=ranks,
        )
        self._digest = _digest(recipe, config, self._teachers, self._training.data.packed.digest)
        self._rows: list[dict[str, Any]] = []
        self._restored = self._restore()
        self._attempt_start = self._training.epoch

    def advance(self) -> dict[str, Any]:
        """Trains on, until an epoch in ``return_at`` is done, the run ends, or ``report_every_s`` have passed.

        The first call after a restore trains nothing and returns all rows up to the checkpoint: the driver may have
        missed the last ones, and decides about them first. At the end of the run nothing more is trained.

        Returns:
            ``trial``; ``attempt``; ``attempt_start``, the epoch from which this session started; ``epochs``, the new
            rows with ``epoch``, ``lane``, ``seed``, ``epoch_time_s`` and ``metrics``; ``divergence``, None or a dict of
            ``epoch``, ``step``, ``lane`` and ``reason``; ``finished``, whether the run came to its end without one;
            ``memory``, None or ``peak_bytes`` and ``total_bytes`` of its GPU; ``out_of_memory``, None. A teacher is on
            the shelf before its run is reported as finished.

        Raises:
            OSError: A trained teacher cannot be put on the shelf.
            RankLost: Another process of the trial does not answer.
        """
        if self._restored:
            self._restored = False
            return self._report(self._rows)
        training = self._training
        known = len(self._rows)
        started = time.monotonic()
        while not training.finished and training.divergence is None:
            self._rows += [asdict(report) for report in training.train_epoch()]
            waited = time.monotonic() - started
            enough = training.epoch in self._config.return_at or waited >= self._config.report_every_s
            if enough if self._ranks is None else self._ranks.agreed(enough):
                break
        if len(self._rows) > known and self._leads:
            self._save()
        return self._report(self._rows[known:])

    def _report(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        if self._training.finished and self._config.publish is not None and self._leads:
            self._publish(self._config.publish)
        divergence = self._training.divergence
        return {
            **_without_epochs(self._config),
            "attempt_start": self._attempt_start,
            "epochs": list(rows),
            "divergence": None if divergence is None else asdict(divergence),
            "finished": self._training.finished,
        }

    @property
    def _leads(self) -> bool:
        return self._ranks is None or self._ranks.leads

    def _publish(self, name: str) -> None:
        from trainables.engine.teaching import publish

        assert self._shelf is not None, "who publishes names a shelf"
        publish(
            name,
            self._teachers,
            self._shelf,
            self._training.data,
            network=self._training.network(0),
            metrics=self._rows[-1]["metrics"],
            train_time_s=sum(row["epoch_time_s"] for row in self._rows),
        )

    def _save(self) -> None:
        if self._folder is None:
            return
        from trainables import checkpoint

        payload = {"digest": self._digest, "rows": self._rows, "training": self._training.state_dict()}
        try:
            checkpoint.save(self._folder, self._training.epoch, payload)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            warnings.warn(f"no checkpoint of {self._config.trial} could be written: {error}", stacklevel=2)

    def _restore(self) -> bool:
        if self._folder is None:
            return False
        from trainables import checkpoint

        payload = None
        if self._leads:
            payload = checkpoint.load_newest(self._folder, lambda found: found.get("digest") == self._digest)
        if self._ranks is not None:
            payload = self._ranks.agreed(payload)
        if payload is None:
            return False
        self._training.load_state_dict(payload["training"])
        self._rows = list(payload["rows"])
        return True


def prepare_data(config: TrialConfig) -> None:
    """Packs the data set of a trial on this machine, unless that has been done.

    Args:
        config: The trial.

    Raises:
        ValueError: The recipe is not valid, or the data set is unknown.
        OSError: It cannot be had.
    """
    from trainables.data import prepare

    prepare(Recipe.model_validate(config.recipe).dataset, config.data_root)


def out_of_memory(config: TrialConfig, message: str) -> dict[str, Any]:
    """The report of a session that ended because memory was lacking: no epoch, and what was said.

    Args:
        config: The trial.
        message: As trainables.memory.shortage gives it.
    """
    return _without_epochs(config) | {"out_of_memory": message}


def _without_epochs(config: TrialConfig) -> dict[str, Any]:
    memory = measured(config.device)
    return {
        "trial": config.trial,
        "attempt": config.attempt,
        "attempt_start": 0,
        "epochs": [],
        "divergence": None,
        "finished": False,
        "memory": None if memory is None else asdict(memory),
        "out_of_memory": None,
    }


def _digest(recipe: Recipe, config: TrialConfig, teachers: Mapping[str, Teacher], data: str) -> str:
    """sha256 of all that decides the numbers of a trial: a checkpoint of anything else must not be continued."""
    facts = {
        "recipe": recipe.model_dump(mode="json"),
        "data": data,
        "seeds": config.seeds,
        "test": config.test,
        "max_loss": config.max_loss,
        "until": config.until,
        "teachers": {name: config.teachers[name] for name in in_order(recipe.names, teachers)},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
