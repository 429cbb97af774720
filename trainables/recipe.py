"""Recipe: everything one training run needs, and the only type of configuration in ``trainables``.

Any value may be searched by its dotted path, for example ``loss.beta`` or ``optimizer.lr``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from trainables.data import check_dataset
from trainables.models import check_model


def _known_dataset(name: str) -> str:
    check_dataset(name)
    return name


def _known_model(name: str) -> str:
    check_model(name)
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TemperedLoss(_Part):
    """Cross-entropy of softmax(beta * logits) (arXiv 2010.07344)."""

    name: Literal["tempered"] = "tempered"
    beta: float = Field(1.0, gt=0, description="inverse temperature; the paper's range is 0.01 to 10")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread evenly over all classes")


class TamperedLoss(_Part):
    """Cross-entropy whose gradient uses softmax(alpha * logits) (softmax gradient tampering)."""

    name: Literal["tampered"]
    alpha: float = Field(1.0, ge=0, le=1, description="exponent of the probabilities in the gradient; 1 is plain")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread evenly over all classes")


Loss = Annotated[TemperedLoss | TamperedLoss, Field(discriminator="name")]


class Optimizer(_Part):
    """Stochastic gradient descent; weight decay is left off biases and norms."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(True, description="Nesterov momentum")
    weight_decay: float = Field(5e-4, ge=0, description="coupled L2 coefficient")


class Schedule(_Part):
    """Learning rate over the run: linear warm-up, cosine, constant cool-down."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of linear warm-up from floor * lr to lr")
    cooldown_epochs: float = Field(0.0, ge=0, description="last epochs, at floor * lr")
    floor: float = Field(1e-3, ge=0, le=1, description="lowest learning rate as a share of lr")


class Recipe(_Part):
    """One training run.

    Raises:
        pydantic.ValidationError: A value is outside its range, or a key is unknown.
    """

    dataset: Annotated[str, AfterValidator(_known_dataset)] = Field("digits", description="name of a data set")
    model: Annotated[str, AfterValidator(_known_model)] = Field("mlp-128-128", description="name of a network")
    loss: Loss = Field(default_factory=TemperedLoss)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    schedule: Schedule = Field(default_factory=Schedule)
    batch_size: int = Field(128, ge=1, description="samples a step")
    epochs: int = Field(27, ge=1, description="length of the whole run; the schedule ends there")

    @model_validator(mode="after")
    def _schedule_fits(self) -> Recipe:
        used = self.schedule.warmup_epochs + self.schedule.cooldown_epochs
        if used > self.epochs:
            raise ValueError(
                f"warm-up and cool-down must fit into the run, got {used:g} of {self.epochs} epochs; "
                "lower schedule.warmup_epochs or schedule.cooldown_epochs"
            )
        return self
