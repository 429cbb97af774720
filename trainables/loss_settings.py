"""The settings of the training losses: parameters, ranges, defaults and sources."""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class RecipeWarning(UserWarning):
    """A setting is possible, but hardly what its source recommends."""


class Part(BaseModel):
    """A part of a recipe: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TemperedLoss(Part):
    """Cross-entropy of softmax(beta * logits)."""

    source: ClassVar[str] = '"Temperature check", arXiv 2010.07344'

    name: Literal["tempered"] = "tempered"
    beta: float = Field(1.0, gt=0, description="inverse temperature; the paper's range is 0.01 to 10")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread evenly over all classes")
    logit_norm: float | None = Field(
        None, ge=0, description="norm of beta * logits of a sample at the start (root mean square); null: as it comes"
    )
    logit_norm_mode: Literal["subtract", "twin", "twin_head", "head_scale"] = Field(
        "subtract",
        description="how the start is brought to logit_norm; head_scale also changes how features are learnt",
    )


class TamperedLoss(Part):
    """Cross-entropy whose gradient uses softmax(alpha * logits)."""

    source: ClassVar[str] = '"Softmax Gradient Tampering", ICLR 2022 submission; arXiv 2111.12495'

    name: Literal["tampered"]
    alpha: float = Field(1.0, ge=0, description="exponent of the probabilities in the gradient; 0 to 1, 1 is plain")
    start_epoch: float = Field(0.0, ge=0, description="epochs trained plainly first; 1 is advised for large batches")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs from there in which alpha falls from 1 to its value")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread evenly over all classes")
    legacy_hook: bool = Field(
        False, description="ablation: the gradient hook as the paper prints it, whose scale is wrong by the batch size"
    )

    @model_validator(mode="after")
    def _alpha_tempers(self) -> TamperedLoss:
        if self.alpha > 1:
            warnings.warn(
                f"loss.alpha should be in [0, 1], got {self.alpha:g}: above 1 the gradient ignores hard samples",
                RecipeWarning,
                stacklevel=2,
            )
        return self


class DistilledLoss(Part):
    """Cross-entropy plus distillation from a teacher whose true class has a temperature of its own."""

    source: ClassVar[str] = '"Asymmetric Temperature Scaling Makes Larger Networks Teach Well Again", arXiv 2210.04427'

    name: Literal["distilled"]
    teacher: str = Field(description="a name under teachers in the study file")
    tau1: float = Field(4.0, gt=0, description="temperature of the teacher's logit of the true class")
    gap: float = Field(
        2.0, description="tau1 - tau2, where tau2 is that of the other classes; 0 is plain, 1 to 2 advised"
    )
    weight: float = Field(0.5, ge=0, le=1, description="lambda: share of distillation; the rest is cross-entropy")
    student_temperature: Annotated[float, Field(gt=0)] | Literal["same"] = Field(
        1.0, description="temperature of the student's logits while it trains; same: tau1"
    )
    center_logits: bool = Field(False, description="subtract the mean of the teacher's logits of a sample")
    class_discriminability: bool = Field(
        True, description="false: wrong classes share their mass evenly, the ablation without inter-class similarity"
    )
    stop_epoch: float | None = Field(
        None, ge=0, description="epochs after which only the cross-entropy counts (early-stopped distillation)"
    )
    agreement: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="distil only in steps whose two gradients have at least this cosine; 0 is advised",
    )
    agreement_layers: Literal["all", "last"] = Field("all", description="layers that the cosine is taken over")

    @property
    def tau2(self) -> float:
        """Temperature of the teacher's logits of the wrong classes."""
        return self.tau1 - self.gap

    @model_validator(mode="after")
    def _temperatures_positive(self) -> DistilledLoss:
        if self.tau2 <= 0:
            raise ValueError(
                f"tau2 = tau1 - gap must be > 0, got {self.tau1:g} - {self.gap:g}; raise loss.tau1 or lower loss.gap"
            )
        if self.gap < 0:
            warnings.warn(
                f"loss.gap should be >= 0, got {self.gap:g}: the method wants tau1 above tau2",
                RecipeWarning,
                stacklevel=2,
            )
        return self


def named(default: str) -> BeforeValidator:
    """Lets a section with variants leave out its ``name``: it is then ``default``."""

    def fill_in(raw: object) -> object:
        return {"name": default, **raw} if isinstance(raw, dict) else raw

    return BeforeValidator(fill_in)


Loss = Annotated[TemperedLoss | TamperedLoss | DistilledLoss, Field(discriminator="name"), named("tempered")]
LOSSES: tuple[type[TemperedLoss | TamperedLoss | DistilledLoss], ...] = (TemperedLoss, TamperedLoss, DistilledLoss)
