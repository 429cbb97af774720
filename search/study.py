"""Study: what a study file says, with its defaults."""

from __future__ import annotations

import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)

from search.settings import (
    DEFAULT_TRIALS,
    FIRST_CONFIRM_SEED,
    NAME_PATTERN,
    Arm,
    Asha,
    Budget,
    Confirm,
    Grid,
    Resources,
    Search,
    Section,
    Seeds,
    Stopping,
    as_list,
)
from search.stopping.rule import Rule, rule_of
from spaces import MOST_GRID_POINTS, Axis, Coordinates, Expression, Scalar, SearchSpace, SpaceError
from spaces.refinement import is_refinable, refined
from trainables.loss_settings import RecipeWarning
from trainables.recipe import Recipe, Teacher
from trainables.teachers import in_order
from trainables.values import flatten, varied, with_values

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
AxisField = Annotated[Axis, PlainValidator(Axis.parse), PlainSerializer(Axis.spec)]
ExpressionField = Annotated[
    Expression, PlainValidator(Expression.parse), PlainSerializer(lambda expression: expression.text)
]

SHELF = "teachers"
"""Folder under the root where trained teachers are kept; no study may have this name."""

NAMES_OF_TEACHERS = ("loss.teacher", "base")
"""Paths of a recipe whose values are names of teachers."""


class Study(Section):
    """A study with all defaults filled in: what ``study.yaml`` in its folder holds.

    Raises:
        pydantic.ValidationError: A value is outside its range, or a key is unknown.
    """

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this layout")
    id: str = Field(default_factory=lambda: uuid.uuid4().hex, pattern="^[0-9a-f]{32}$", description="unique")
    name: Name
    recipe: Recipe = Field(default_factory=Recipe)
    space: dict[str, AxisField]
    require: Annotated[tuple[ExpressionField, ...], BeforeValidator(as_list)] = Field(
        (), description="what must hold between recipe values, for example tau1 > tau2"
    )
    search: Search = Field(default_factory=Search)
    stopping: Stopping = Field(default_factory=Asha)
    seeds: Seeds = Field(default_factory=Seeds)
    confirm: Confirm = Field(default_factory=Confirm)
    arms: dict[Name, Arm] = Field(min_length=1)
    reference: str | None
    teachers: dict[Name, Teacher] = Field(default_factory=dict, description="networks that others learn from, by name")
    budget: Budget = Field(default_factory=Budget)
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

    # What is compared when

    @cached_property
    def rule(self) -> Rule:
        """The stopping rule."""
        return rule_of(self.stopping, epochs=self.recipe.epochs, mode=self.search.mode)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared; with brackets those of the first, which has them all."""
        return self.rule.rungs()

    @property
    def audit(self) -> float:
        """Share of the trials that run on where the rule would end them."""
        return float(getattr(self.stopping, "audit", 0.0))

    @property
    def search_seeds(self) -> list[int]:
        """The seeds of a search trial's lanes; the same for all trials, so that differences are the settings'."""
        return [self.search.seed + lane for lane in range(self.seeds.search)]

    @property
    def confirm_seeds(self) -> list[int]:
        """Seeds that the search never saw, common to all candidates so that differences are paired."""
        return [self.search.seed + FIRST_CONFIRM_SEED + i for i in range(self.seeds.confirm)]

    # Arms

    def arm_values(self, arm: str, switches: Mapping[str, Scalar] | None = None) -> dict[str, Any]:
        """The recipe of an arm where nothing of the space is applied yet, as nested plain values.

        Args:
            arm: Its name.
            switches: Names of variants (``loss.name``) that the space chooses.
        """
        return varied(self.recipe.model_dump(), {**self.arms[arm].set, **(switches or {})})

    def variants(self, arm: str) -> Iterator[dict[str, Any]]:
        """The recipes of an arm by dotted path, one for every combination of variants that the space chooses from.

        Raises:
            pydantic.ValidationError: One is not possible.
        """
        for chosen in self._switches(arm):
            with warnings.catch_warnings():  # what is hardly wanted is said of whole configurations
                warnings.simplefilter("ignore", RecipeWarning)
                recipe = Recipe.model_validate(self.arm_values(arm, chosen))
            yield flatten(recipe.model_dump())

    def _switches(self, arm: str) -> Iterator[dict[str, Scalar]]:
        free = {
            path: axis.dimension.values or ()
            for path, axis in self.space.items()
            if is_switch(path) and not axis.follows and self.is_searched(path, arm)
        }
        for values in product(*free.values()):
            yield dict(zip(free, values, strict=True))

    def is_searched(self, path: str, arm: str) -> bool:
        """Whether an arm leaves a path to the search, be there such a value in its recipe or not."""
        varies = self.arms[arm].varies
        return path not in self.arms[arm].set and (varies is None or path in varies)

    @cached_property
    def arm_spaces(self) -> Mapping[str, SearchSpace]:
        """What varies in every arm: what it does not set, and what its recipe has at all.

        Raises:
            pydantic.ValidationError: The recipe of an arm is not possible.
            SpaceError: The axes do not fit together.
        """
        return {name: self._arm_space(name) for name in self.arms}

    def _arm_space(self, arm: str) -> SearchSpace:
        known = {path for values in self.variants(arm) for path in values}
        entries = {}
        for path, axis in self.space.items():
            if path not in known or path in self.arms[arm].set:
                continue
            if not axis.follows and not self.is_searched(path, arm):
                continue
            if axis.names <= known:
                entries[path] = axis
            elif not axis.follows:
                entries[path] = replace(axis, times=None)  # this arm has no such value to be rescaled by
        return SearchSpace(entries, self._requirements(known)).given(self.fixed[arm])

    def _requirements(self, known: set[str]) -> list[Expression]:
        """Those that say something about an arm whose recipe has these values."""
        found = []
        for requirement in self.require:
            try:
                found.append(requirement.bound(known))
            except SpaceError:
                continue  # that some arm has the values is checked when the study is loaded
        return found

    @cached_property
    def fixed(self) -> Mapping[str, Mapping[str, Any]]:
        """What all recipes of an arm have in common before the space is applied: by arm, then by dotted path.

        Raises:
            pydantic.ValidationError: The recipe of an arm is not possible.
        """
        return {arm: self._fixed_values(arm) for arm in self.arms}

    def _fixed_values(self, arm: str) -> dict[str, Any]:
        first, *others = list(self.variants(arm))
        return {path: value for path, value in first.items() if all(path in other for other in others)}

    def arm_space(self, arm: str) -> SearchSpace:
        """What varies in an arm."""
        return self.arm_spaces[arm]

    def points(self, arm: str) -> list[dict[str, Scalar]]:
        """What ``search.points`` says about an arm: coordinates to try first, as far as they are given.

        Points that lie outside by now, since an amendment made the space narrower, are left out.
        """
        return self._points[arm]

    @cached_property
    def _points(self) -> Mapping[str, list[dict[str, Scalar]]]:
        found: dict[str, list[dict[str, Scalar]]] = {}
        for arm in self.arms:
            given = [self.coordinates_of_point(arm, point) for point in self.search.points]
            found[arm] = [
                point
                for number, point in enumerate(given)
                if point and point not in given[:number] and self.arm_space(arm).allows(point, self.fixed[arm])
            ]
        return found

    def coordinates_of_point(self, arm: str, point: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """The coordinates of a point of ``search.points`` in an arm, as far as it says something about them.

        Returns:
            The coordinates; None if the point lies outside the arm's space.
        """
        space = self.arm_space(arm)
        given = {path: value for path, value in point.items() if path in space.axes}
        return space.coordinates_of(given, self.fixed[arm])

    def resolved(self) -> Study:
        """The study in which every arm names what varies in it, and how many trials it gets."""
        arms = {
            name: arm.model_copy(
                update={"varies": tuple(self.arm_space(name).axes), "planned": self.planned_trials(name)}
            )
            for name, arm in self.arms.items()
        }
        return self.model_copy(update={"arms": arms})

    def wanted_trials(self, arm: str) -> int | None:
        """How many trials an arm is to get; None for a whole grid. A space that has an end may have fewer points."""
        if not self.arm_space(arm).axes:
            return 1
        wanted = self.arms[arm].trials or self.search.trials
        return DEFAULT_TRIALS if wanted is None and not isinstance(self.search.sampler, Grid) else wanted

    def planned_trials(self, arm: str) -> int:
        """How many trials an arm gets at most: as many as are wanted, but no more than there are points."""
        wanted, there = self.wanted_trials(arm), self._points_there[arm]
        return there if wanted is None else min(wanted, there)

    def confirmed_trials(self, arm: str) -> int:
        """How many trials of an arm are confirmed, if so many are completed.

        The reference arm sends one, since it stands for the baseline.
        """
        return 1 if arm == self.reference else self.confirm.top

    @cached_property
    def grids(self) -> Mapping[str, list[dict[str, Scalar]]]:
        """All points of every arm whose space has an end; of the others none."""
        return {
            arm: space.grid(self.fixed[arm]) if space.size is not None and space.size <= MOST_GRID_POINTS else []
            for arm, space in self.arm_spaces.items()
        }

    @cached_property
    def _points_there(self) -> Mapping[str, int]:
        there = {arm: len(points) or sys.maxsize for arm, points in self.grids.items()}
        if isinstance(self.search.sampler, Grid):
            for arm in there:
                there[arm] += self.search.sampler.refine * _new_when_refined(self.arm_space(arm))
        return there

    def resolve(self, arm: str, coordinates: Coordinates) -> tuple[dict[str, Scalar], Recipe]:
        """The recipe of an arm at these coordinates.

        Returns:
            The values that the coordinates give, by dotted path, and the whole recipe.

        Raises:
            SpaceError: A factor or formula of the space gives no number.
            pydantic.ValidationError: The values are not possible.
        """
        switches = {path: value for path, value in coordinates.items() if is_switch(path)}
        base = Recipe.model_validate(self.arm_values(arm, switches)).model_dump()
        params = self.arm_space(arm).resolve(coordinates, flatten(base))
        return params, Recipe.model_validate(with_values(base, params))

    # Teachers

    @cached_property
    def needed_teachers(self) -> tuple[str, ...]:
        """The teachers that any trial may ask for, each after those that it learns from itself.

        Raises:
            ValueError: One of them is not described, or learns from itself.
        """
        names: list[str] = []
        for arm in self.arms:
            space = self.arm_space(arm)
            for values in self.variants(arm):
                for path in NAMES_OF_TEACHERS:
                    if path in space.axes:
                        names += [str(name) for name in space.axes[path].dimension.extremes()]
                    elif values.get(path) is not None:
                        names.append(str(values[path]))
        return in_order(names, self.teachers)

    def to_yaml(self) -> str:
        """The study as a file that ``Study`` reads back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, width=120)


def is_switch(path: str) -> bool:
    """Whether a recipe path names the variant of a section, such as ``loss.name``."""
    return str(path).endswith(".name")


def _new_when_refined(space: SearchSpace) -> int:
    """The most points that a finer grid around the best can add: those of three in a row have been tried."""
    finer = [
        max(refined(axis.dimension, value).count or 0 for value in axis.dimension.values or ())
        for axis in space.axes.values()
        if is_refinable(axis.dimension)
    ]
    return prod(finer) - 3 ** len(finer) if finer else 0
