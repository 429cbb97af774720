"""What a study set out to do: the part of it that reports, tracking and status need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from results.places import Place
from results.schema import METRICS

_AXIS = {
    "loss.beta": "inverse temperature beta",
    "loss.alpha": "tampering exponent alpha",
    "loss.tau1": "teacher's temperature tau1 of the true class",
    "loss.gap": "temperature gap tau1 - tau2",
    "loss.weight": "distillation weight lambda",
    "loss.logit_norm": "logit norm at the start ||Z0||",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """A network that is trained before those that need it."""

    name: str
    """Its name under ``teachers``, and in the column ``arm`` of its trial."""
    model: str | None
    """Its network."""
    epochs: int
    """Epochs that it is trained: its schedule, or up to the epoch at which it is taken."""
    schedule_epochs: int
    """Epochs of its whole schedule."""
    learns_from: str | None
    """Its own teacher."""
    adds_to: str | None
    """The trained network to whose logits it adds its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a study is trained on; all but the name is None or empty where an older version did not write it down."""

    name: str
    """Name of the data set."""
    digest: str | None
    """Equal only for the very same samples."""
    classes: int | None
    """Number of classes."""
    sizes: Mapping[str, int]
    """Samples of every split: ``train``, ``val``, ``test``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a study may take over all its sessions; None where there is no limit."""

    wall_hours: float | None
    """Hours of all sessions together."""
    gpu_hours: float | None
    """GPU hours of all trials together."""
    trials: int | None
    """Trials begun, over all arms and stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """The part of a resolved study that reports, tracking and status need."""

    study_dir: Place
    """Folder of the study."""
    id: str
    """32 hex digits, unique to the study wherever it is copied."""
    name: str
    """Name of the study, unique in its root."""
    amendment: int
    """1 for ``study.yaml``, n for ``study-n.yaml``."""
    data: DataFacts
    """What it is trained on."""
    epochs: int
    """Length of a full trial."""
    recipe: Mapping[str, object]
    """The recipe by dotted path, where no arm sets a value and nothing is searched."""
    space: Mapping[str, str]
    """What is searched in one arm or another: dotted recipe path to its range, in words."""
    derived: Mapping[str, str]
    """What follows from searched values: dotted recipe path to its rule, in words; nothing is searched there."""
    require: tuple[str, ...]
    """What every proposed configuration must fulfil, as the study file writes it."""
    temperature: str | None
    """The path that the report is about: the first under ``loss.`` that varies in an arm, else the first that does."""
    arms: Mapping[str, Mapping[str, object]]
    """Arms by name, each with the recipe values that it fixes."""
    varying: Mapping[str, tuple[str, ...]]
    """Arms by name, each with the paths of ``space`` that are searched in it."""
    teachers: Mapping[str, TeacherFacts]
    """Teachers by name, in the order of the study file."""
    needed: tuple[str, ...]
    """Those of them that an arm needs, directly or to train another teacher."""
    reference: str | None
    """The arm that others are compared with."""
    metric: str
    """What is searched for, for instance ``val/accuracy``."""
    mode: str
    """``max`` or ``min``."""
    epoch_rule: str
    """Which epoch of a trial counts; ``last``."""
    sampler: str
    """The sampler in words: ``tpe``, ``tpe, multivariate``, ``grid, refined once``."""
    trials: Mapping[str, int]
    """Arms by name, each with the trials to explore in it: an upper bound where a grid is refined."""
    seed: int
    """Seed of the search."""
    search_seeds: int
    """Seeds of an explored trial."""
    confirm_seeds: int
    """Fresh seeds that each chosen trial is run on again; 0 without the stage confirm."""
    confirm_top: int
    """Explored trials of every arm but the reference that are confirmed."""
    stopping: str
    """The stopping rule in words, its name first: ``asha (promotion), grace 1, factor 3``."""
    grace_epochs: int
    """Epoch of the first rung."""
    reduction_factor: float
    """One in this many trials passes a rung; 1 where the rule has no such factor."""
    audit: float
    """Share of trials that run on where the rule would end them, 0..1."""
    budget: Budget
    """How much it may take."""
    gpus: float
    """GPUs of a trial."""

    @property
    def temperature_is_log(self) -> bool:
        """Whether the temperature dimension is searched on a log scale."""
        return self.is_log(self.temperature or "")

    @property
    def axis_label(self) -> str:
        """The temperature dimension in words."""
        return self.label_of(self.temperature) if self.temperature else "trial"

    def is_log(self, path: str) -> bool:
        """Whether a path is searched on a log scale."""
        return self.space.get(path, "").startswith("log")

    def label_of(self, path: str) -> str:
        """A searched path in words."""
        return _AXIS.get(path, path)

    @property
    def test_metric(self) -> str:
        """The searched metric on the test split."""
        counterpart = f"test/{self.metric.partition('/')[2]}"
        return counterpart if counterpart in METRICS else "test/accuracy"

    @property
    def test_mode(self) -> str:
        """``max`` or ``min``: which way the test metric is better."""
        return "min" if self.test_metric.endswith("loss") else "max"

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, 0..1; None where the number of classes is not on record."""
        return 1 / self.data.classes if self.data.classes else None

    @property
    def validation_samples(self) -> int | None:
        """Samples of the validation split; None where they are not on record."""
        return self.data.sizes.get("val")

    def varies(self, arm: str) -> bool:
        """Whether an arm leaves anything to search; if not, its one trial is as well tuned as it can be."""
        return bool(self.varying[arm])

    def confirmed_trials(self, arm: str) -> int:
        """Explored trials of an arm that are confirmed; of the reference its best one."""
        return 1 if arm == self.reference else self.confirm_top

    def planned(self, arm: str) -> int:
        """Trials to explore in an arm; an upper bound where a grid is refined."""
        return self.trials[arm]
