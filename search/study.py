"""Study: what a study file says, with its defaults."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)

from search.asha import rungs
from spaces import Axis, Coordinates, Fixed, Scalar, SearchSpace
from trainables.recipe import Recipe, Teacher
from trainables.teachers import in_order
from trainables.values import flatten, varied, with_values

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names of studies and arms: they become names of folders, and must not leave theirs."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
AxisField = Annotated[Axis, PlainValidator(Axis.parse), PlainSerializer(Axis.spec)]

FIRST_CONFIRM_SEED = 1000
"""Confirm seeds begin so far above the seed of the search, whose lanes they must not meet."""

MODES: Mapping[str, Literal["max", "min"]] = {"val/accuracy": "max", "val/loss": "min"}
"""Metrics that a search may go by, all on the validation split, and which way is better."""


def _by_path(raw: Any) -> Any:  # Any: pydantic passes what the file holds
    """``{loss: {name: tempered}}`` is as good as ``{loss.name: tempered}``."""
    return flatten(raw) if isinstance(raw, dict) else raw


SHELF = "teachers"
"""Folder under the root where trained teachers are kept; no study may have this name."""

NAMES_OF_TEACHERS = ("loss.teacher", "base")
"""Paths of a recipe whose values are names of teachers."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Search(_Section):
    """How the space is explored."""

    sampler: Literal["tpe"] = Field("tpe", description="tree-structured Parzen estimator")
    trials: int = Field(48, ge=1, description="trials of every arm")
    seed: int = Field(0, ge=0, le=2**31, description="seed of all choices and of the first lane")
    metric: Literal["val/accuracy", "val/loss"] = Field("val/accuracy", description="what is optimised")
    mode: Literal["max", "min"] = Field("max", description="max for accuracy, min for loss")
    epoch_rule: Literal["last"] = Field("last", description="which epoch counts: the last")

    @model_validator(mode="before")
    @classmethod
    def _mode_of_metric(cls, raw: Any) -> Any:  # Any: pydantic passes what the file holds
        if isinstance(raw, dict) and "mode" not in raw and raw.get("metric") in MODES:
            return {**raw, "mode": MODES[raw["metric"]]}
        return raw

    @model_validator(mode="after")
    def _mode_fits(self) -> Search:
        if self.mode != MODES[self.metric]:
            raise ValueError(f"mode must be {MODES[self.metric]} for {self.metric}, got {self.mode}; leave mode out")
        return self


class Stopping(_Section):
    """When a trial ends early."""

    name: Literal["asha"] = Field("asha", description="asynchronous successive halving, stopping form")
    grace_epochs: int = Field(1, ge=1, description="epochs before the first comparison")
    reduction_factor: int = Field(3, ge=2, description="one of so many goes on at a rung; 2 to 4 are usual")
    max_loss: float = Field(1000.0, gt=0, description="a training loss above it counts as diverged; nats")


class Seeds(_Section):
    """How many seeds a configuration is trained with."""

    search: int = Field(
        1, ge=1, le=FIRST_CONFIRM_SEED, description="lanes of a trial while searching; the rule sees their mean"
    )
    confirm: int = Field(5, ge=2, description="fresh seeds for the candidates; an interval needs 2")


class Confirm(_Section):
    """Which candidates are measured on fresh seeds."""

    top: int = Field(2, ge=1, description="best trials of every arm; the reference arm sends its best one")


class Arm(_Section):
    """A named variation of the recipe, explored with rungs of its own."""

    set: Annotated[dict[str, Scalar], BeforeValidator(_by_path)] = Field(
        default_factory=dict, description="recipe values that differ, and do not vary"
    )
    varies: tuple[str, ...] | None = Field(
        None, description="paths of the space searched in this arm; null: all that its recipe has and it does not set"
    )


class Resources(_Section):
    """What one trial takes, and how often it may fail."""

    cpus: float = Field(1.0, gt=0, description="CPU cores of a trial")
    gpus: float = Field(0.0, ge=0, description="GPUs of a trial; a fraction shares one")
    max_concurrent: int | None = Field(None, ge=1, description="trials at once; null: as many as fit")
    max_failures: int = Field(3, ge=0, description="restarts of a trial after a crash of its worker")


class Study(_Section):
    """A study with all defaults filled in: what ``study.yaml`` in its folder holds.

    Raises:
        pydantic.ValidationError: A value is outside its range, or a key is unknown.
    """

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this layout")
    id: str = Field(default_factory=lambda: uuid.uuid4().hex, pattern="^[0-9a-f]{32}$", description="unique")
    name: Name
    recipe: Recipe = Field(default_factory=Recipe)
    space: dict[str, AxisField]
    search: Search = Field(default_factory=Search)
    stopping: Stopping = Field(default_factory=Stopping)
    seeds: Seeds = Field(default_factory=Seeds)
    confirm: Confirm = Field(default_factory=Confirm)
    arms: dict[Name, Arm] = Field(min_length=1)
    reference: str | None
    teachers: dict[Name, Teacher] = Field(default_factory=dict, description="networks that others learn from, by name")
    resources: Resources = Field(default_factory=Resources)

    @field_validator("name")
    @classmethod
    def _not_the_shelf(cls, name: str) -> str:
        if name == SHELF:
            raise ValueError(
                f"a study must not be called {SHELF}, which is the folder of trained teachers; choose another"
            )
        return name

    @model_validator(mode="after")
    def _reference_exists(self) -> Study:
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"reference must be one of the arms ({', '.join(self.arms)}), got {self.reference}")
        return self

    @cached_property
    def search_space(self) -> SearchSpace:
        """What varies where an arm does not fix it.

        Raises:
            SpaceError: The axes do not fit together.
        """
        return SearchSpace(self.space)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared."""
        return rungs(self.stopping.grace_epochs, self.stopping.reduction_factor, self.recipe.epochs)

    @property
    def search_seeds(self) -> list[int]:
        """The seeds of a search trial's lanes; the same for all trials, so that differences are the settings'."""
        return [self.search.seed + lane for lane in range(self.seeds.search)]

    @property
    def confirm_seeds(self) -> list[int]:
        """Seeds that the search never saw, common to all candidates so that differences are paired."""
        return [self.search.seed + FIRST_CONFIRM_SEED + i for i in range(self.seeds.confirm)]

    def arm_values(self, arm: str) -> dict[str, Any]:
        """The recipe of an arm where nothing of the space is applied yet, as nested plain values."""
        return varied(self.recipe.model_dump(), self.arms[arm].set)

    @cached_property
    def arm_spaces(self) -> Mapping[str, SearchSpace]:
        """What varies in every arm: what it does not set, and what its recipe has at all.

        Raises:
            pydantic.ValidationError: The recipe of an arm is not possible.
        """
        spaces = {}
        for name, arm in self.arms.items():
            known = flatten(Recipe.model_validate(self.arm_values(name)).model_dump())
            entries = {}
            for path, axis in self.space.items():
                follows = isinstance(axis.dimension, Fixed)
                if (
                    path in arm.set
                    or path not in known
                    or (arm.varies is not None and not follows and path not in arm.varies)
                ):
                    continue
                if axis.times is None or axis.times.path in known:
                    entries[path] = axis
                elif not follows:
                    entries[path] = Axis(axis.dimension)  # this arm's loss has no such value to be rescaled by
            spaces[name] = SearchSpace(entries)
        return spaces

    def arm_space(self, arm: str) -> SearchSpace:
        """What varies in an arm."""
        return self.arm_spaces[arm]

    def with_varies(self) -> Study:
        """The study in which every arm names what varies in it."""
        arms = {
            name: arm.model_copy(update={"varies": tuple(self.arm_space(name).axes)}) for name, arm in self.arms.items()
        }
        return self.model_copy(update={"arms": arms})

    def planned_trials(self, arm: str) -> int:
        """How many trials an arm gets: ``search.trials``, or one where nothing varies."""
        return self.search.trials if self.arm_space(arm).axes else 1

    def resolve(self, arm: str, coordinates: Coordinates) -> tuple[dict[str, Scalar], Recipe]:
        """The recipe of an arm at these coordinates.

        Returns:
            The values that the coordinates give, by dotted path, and the whole recipe.

        Raises:
            SpaceError: A factor of the space names no number.
            pydantic.ValidationError: The values are not possible.
        """
        base = self.arm_values(arm)
        params = self.arm_space(arm).resolve(coordinates, flatten(base))
        return params, Recipe.model_validate(with_values(base, params))

    @cached_property
    def needed_teachers(self) -> tuple[str, ...]:
        """The teachers that any trial may ask for, each after those that it learns from itself.

        Raises:
            ValueError: One of them is not described, or learns from itself.
        """
        names: list[str] = []
        for arm in self.arms:
            values = flatten(self.arm_values(arm))
            space = self.arm_space(arm)
            for path in NAMES_OF_TEACHERS:
                if path in space.axes:
                    names += [str(name) for name in space.axes[path].dimension.extremes()]
                elif values.get(path) is not None:
                    names.append(str(values[path]))
        return in_order(names, self.teachers)

    def to_yaml(self) -> str:
        """The study as a file that ``Study`` reads back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, width=120)
