"""The sections of a study file about the search itself: samplers, stopping rules, seeds, budget, resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from spaces import Scalar
from trainables.loss_settings import named
from trainables.values import flatten

FIRST_CONFIRM_SEED = 1000
"""Confirm seeds begin so far above the seed of the search, whose lanes they must not meet."""

MODES: Mapping[str, Literal["max", "min"]] = {"val/accuracy": "max", "val/loss": "min"}
"""Metrics that a search may go by, all on the validation split, and which way is better."""

DEFAULT_TRIALS = 48
"""Trials of an arm where neither the file nor a grid says how many."""

MOST_TRIALS = 1_000_000
"""Trials beyond which a number is taken for a slip."""

REPORT_EVERY_S = 1.0
"""Epochs shorter than this are reported together, so that the driver is no bottleneck; seconds."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names of studies and arms: they become names of folders, and must not leave theirs."""


def by_path(raw: Any) -> Any:  # Any: pydantic passes what the file holds
    """``{loss: {name: tempered}}`` is as good as ``{loss.name: tempered}``."""
    return flatten(raw) if isinstance(raw, dict) else raw


def as_list(raw: object) -> object:
    """A word is as good as a list of one."""
    return [raw] if isinstance(raw, str) else raw


class Section(BaseModel):
    """Part of a study file: frozen, with no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# Samplers


class Tpe(Section):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = Field(10, ge=0, description="trials of an arm drawn at random before the model takes over")
    multivariate: bool = Field(False, description="model all values together, so that ridges are seen")


class Gp(Section):
    """Gaussian process with expected improvement in the logarithm."""

    name: Literal["gp"] = "gp"
    startup_trials: int = Field(10, ge=1, description="trials of an arm drawn at random before the model takes over")


class CmaEs(Section):
    """Covariance matrix adaptation evolution strategy; numbers only."""

    name: Literal["cmaes"] = "cmaes"
    population: int | None = Field(None, ge=4, description="trials of a generation; null: 4 + 3 ln(dimensions)")


class Qmc(Section):
    """Scrambled Sobol sequence: spread evenly, blind to results."""

    name: Literal["qmc"] = "qmc"


class Random(Section):
    """Independent draws, blind to results."""

    name: Literal["random"] = "random"


class Grid(Section):
    """Every point of a finite space once, in an order drawn from the seed."""

    name: Literal["grid"] = "grid"
    refine: int = Field(
        0, ge=0, le=4, description="rounds of a grid of half the step around the best, one old step to each side"
    )


SAMPLERS: Mapping[str, type[Section]] = {
    "tpe": Tpe,
    "gp": Gp,
    "cmaes": CmaEs,
    "qmc": Qmc,
    "random": Random,
    "grid": Grid,
}


def _by_name(raw: object) -> object:
    """``sampler: tpe`` is as good as ``sampler: {name: tpe}``."""
    return {"name": raw} if isinstance(raw, str) else raw


Sampler = Annotated[
    Tpe | Gp | CmaEs | Qmc | Random | Grid, Field(discriminator="name"), named("tpe"), BeforeValidator(_by_name)
]


class Search(Section):
    """How the space is explored."""

    sampler: Sampler = Field(default_factory=Tpe, description="one of tpe, gp, cmaes, qmc, random, grid")
    trials: int | None = Field(
        None, ge=1, le=MOST_TRIALS, description="trials of every arm; null: the whole grid, else 48"
    )
    seed: int = Field(0, ge=0, le=2**31, description="seed of all choices and of the first lane")
    metric: Literal["val/accuracy", "val/loss"] = Field("val/accuracy", description="what is optimised")
    mode: Literal["max", "min"] = Field("max", description="max for accuracy, min for loss")
    epoch_rule: Literal["last"] = Field("last", description="which epoch counts: the last")
    points: tuple[Annotated[dict[str, Scalar], BeforeValidator(by_path)], ...] = Field(
        (), description="recipe values to try first in every arm that searches them; what a point leaves out is drawn"
    )
    warm_start: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description="an earlier study of the same root, whose explored trials the sampler knows from the start",
    )

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


# Stopping rules

_MAX_LOSS = Field(1000.0, gt=0, description="a training loss above it counts as diverged; nats")
_AUDIT = Field(
    0.0, ge=0, le=1, description="share of trials, drawn at random, that run on where the rule would end them"
)
_GRACE = Field(1, ge=1, description="epochs before the first comparison")
_FACTOR = Field(3, ge=2, description="one of so many goes on at a rung; 2 to 4 are usual")


class Asha(Section):
    """Asynchronous successive halving (arXiv 1810.05934)."""

    name: Literal["asha"] = "asha"
    form: Literal["stopping", "promotion"] = Field(
        "stopping", description="stopping: decided once, on arrival; promotion: wait at a rung until among the best"
    )
    grace_epochs: int = _GRACE
    reduction_factor: int = _FACTOR
    audit: float = _AUDIT
    max_loss: float = _MAX_LOSS

    @field_validator("audit")
    @classmethod
    def _audit_fits(cls, audit: float, info: ValidationInfo) -> float:
        if audit and info.data.get("form") == "promotion":
            raise ValueError("audit must be 0 with form promotion, which ends no trial early; use form stopping")
        return audit


class Hyperband(Section):
    """Brackets of successive halving with longer and longer grace (arXiv 1603.06560), each decided on arrival."""

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: int = _GRACE
    reduction_factor: int = _FACTOR
    brackets: int | None = Field(None, ge=1, description="null: as many as there are rungs, and one that never stops")
    audit: float = _AUDIT
    max_loss: float = _MAX_LOSS


class Median(Section):
    """Ends a trial whose best so far is below the median of the others' at the same epoch."""

    name: Literal["median"] = "median"
    grace_epochs: int = _GRACE
    interval_epochs: int = Field(1, ge=1, description="epochs between two comparisons")
    min_trials: int = Field(5, ge=1, description="trials that must have come so far before one is ended")
    audit: float = _AUDIT
    max_loss: float = _MAX_LOSS


class NoStopping(Section):
    """Every trial runs to its end, unless it diverges."""

    name: Literal["none"] = "none"
    max_loss: float = _MAX_LOSS


Stopping = Annotated[
    Asha | Hyperband | Median | NoStopping, Field(discriminator="name"), named("asha"), BeforeValidator(_by_name)
]


# Everything else


class Seeds(Section):
    """How many seeds a configuration is trained with."""

    search: int = Field(
        1, ge=1, le=FIRST_CONFIRM_SEED, description="lanes of a trial while searching; the rule sees their mean"
    )
    confirm: int = Field(
        5, ge=2, le=FIRST_CONFIRM_SEED, description="fresh seeds for the candidates; an interval needs 2"
    )


class Confirm(Section):
    """Which candidates are measured on fresh seeds."""

    top: int = Field(2, ge=1, description="best trials of every arm; the reference arm sends its best one")


class Arm(Section):
    """A named variation of the recipe, explored with rungs of its own."""

    set: Annotated[dict[str, Scalar], BeforeValidator(by_path)] = Field(
        default_factory=dict, description="recipe values that differ, and do not vary"
    )
    varies: Annotated[tuple[str, ...] | None, BeforeValidator(as_list)] = Field(
        None, description="paths of the space searched in this arm; null: all that its recipe has and it does not set"
    )
    trials: int | None = Field(
        None, ge=1, le=MOST_TRIALS, description="trials of this arm; null: search.trials, or all there are"
    )
    planned: int | None = Field(None, ge=1, description="worked out: the trials that this arm will have at most")


class Budget(Section):
    """How much a study may take over all its sessions; then it stops in order and can be resumed with more."""

    wall_hours: float | None = Field(None, gt=0, description="hours of all sessions together")
    gpu_hours: float | None = Field(None, gt=0, description="GPU hours, by the GPUs that each trial was given")
    trials: int | None = Field(None, ge=1, description="trials begun, over all arms and stages")


_ONE_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL = re.compile(rf"!?(?:{_ONE_LABEL}|in\({_ONE_LABEL}(?:, *{_ONE_LABEL})*\))")
"""Selectors of Ray 2.60, whose labels are those of Kubernetes."""
NODE_LABEL = "ray.io/node-id"
"""The label by which Ray tells every node."""


class Resources(Section):
    """What one trial takes, where it may run, and how often it may fail."""

    cpus: float = Field(1.0, gt=0, description="CPU cores of a trial")
    gpus: float = Field(0.0, ge=0, description="GPUs of a trial; a fraction shares one")
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="custom resources of a trial, as ray start --resources names them"
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="labels of the nodes to run on: a, !a, in(a,b) or !in(a,b)"
    )
    placement: Literal["spread", "pack"] = Field(
        "spread", description="on a cluster: spread trials over the nodes, or pack them on as few as possible"
    )
    strategy: Literal["single", "ddp"] = Field(
        "single", description="single: a trial is one process; ddp: one for each GPU, or for each core without GPUs"
    )
    max_concurrent: int | None = Field(None, ge=1, description="trials at once; null: as many as fit")
    max_failures: int = Field(3, ge=0, description="restarts of a trial after a crash of its worker")

    @field_validator("labels")
    @classmethod
    def _labels_as_ray_reads_them(cls, labels: dict[str, str]) -> dict[str, str]:
        if NODE_LABEL in labels:
            raise ValueError(f"{NODE_LABEL} must be left to thermotune, which leaves out unfit nodes by it")
        for key, wanted in labels.items():
            if not _LABEL.fullmatch(wanted):
                raise ValueError(f"{key} must be a label, or !a, in(a,b) or !in(a,b) of labels, got {wanted!r}")
        return {key: wanted.replace(" ", "") for key, wanted in labels.items()}  # Ray 2.60 takes " b" for the label

    @model_validator(mode="after")
    def _processes_fit(self) -> Resources:
        name, amount = ("gpus", self.gpus) if self.gpus > 0 else ("cpus", self.cpus)
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus must be a whole number above 1, got {self.gpus:g}")
        if self.strategy == "single" and self.gpus > 1:
            raise ValueError(f"gpus must be at most 1 with strategy single, got {self.gpus:g}; use strategy ddp")
        if self.strategy == "ddp" and (amount < 2 or amount != int(amount)):
            raise ValueError(f"{name} must be a whole number from 2 on with strategy ddp, got {amount:g}")
        return self

    @property
    def ranks(self) -> int:
        """Processes that train a trial together: with strategy ddp one for each GPU, or for each core without GPUs."""
        if self.strategy == "single":
            return 1
        return int(self.gpus or self.cpus)

    @property
    def threads(self) -> int:
        """Threads that each process of a trial computes with: one for every whole core, and at least one."""
        return max(1, int(self.cpus / self.ranks))

    @property
    def device(self) -> str:
        """Where a trial is trained, as PyTorch calls it: ``cuda`` or ``cpu``."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def decoders(self) -> int:
        """Processes that decode images beside a trial: with a GPU on all cores but one, else one that shares them."""
        return max(1, self.threads - 1) if self.gpus > 0 else 1
