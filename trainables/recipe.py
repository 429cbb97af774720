"""Recipe: everything one training run needs, and the only type of configuration in ``trainables``.

Any value may be searched by its dotted path, for example ``loss.beta`` or ``optimizer.lr``.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from trainables.data import check_dataset
from trainables.loss_settings import DistilledLoss, Loss, Part, RecipeWarning, TemperedLoss, named
from trainables.models import check_model


def _known_dataset(name: str) -> str:
    check_dataset(name)
    return name


def _known_model(name: str) -> str:
    check_model(name)
    return name


class Sgd(Part):
    """Stochastic gradient descent; weight decay is left off biases and norms."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(True, description="Nesterov momentum")
    weight_decay: float = Field(5e-4, ge=0, description="coupled L2 coefficient")
    clip_norm: float | None = Field(None, gt=0, description="gradients are shortened to this norm; null: never")


class AdamW(Part):
    """Adam with decoupled weight decay, which is left off biases and norms."""

    name: Literal["adamw"]
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of their squares")
    eps: float = Field(1e-8, gt=0, description="added to the root of the squares; to be scaled with the gradients")
    weight_decay: float = Field(1e-2, ge=0, description="share of the parameters taken off, times lr")
    clip_norm: float | None = Field(None, gt=0, description="gradients are shortened to this norm; null: never")


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="name"), named("sgd")]


class Augment(Part):
    """How training images are changed anew in every epoch; validation and test images never are."""

    pad: int = Field(0, ge=0, description="pixels of black added at every side before a random crop to the old size")
    crop_scale: tuple[float, float] | None = Field(
        None, description="random resized crop: lowest and highest share of the image's area; streamed data only"
    )
    flip: bool = Field(False, description="mirror every second image from left to right, at random")
    color_jitter: float = Field(
        0.0, ge=0, lt=1, description="brightness, contrast and saturation change by up to this; streamed data only"
    )
    cutout: int = Field(0, ge=0, description="side of a square somewhere in the image that is set to the mean; pixels")
    mixup: float = Field(
        0.0, ge=0, description="a of Beta(a, a), from which the share is drawn in which two images are mixed; 0: never"
    )

    @property
    def is_off(self) -> bool:
        """Whether images stay as they are."""
        return self == Augment()

    @model_validator(mode="after")
    def _crops_part_of_the_image(self) -> Augment:
        if self.crop_scale is not None:
            low, high = self.crop_scale
            if not 0 < low <= high <= 1:
                raise ValueError(f"crop_scale must be two shares with 0 < low <= high <= 1, got {low:g} and {high:g}")
            if self.pad:
                raise ValueError(
                    f"pad must be 0 beside crop_scale, which crops already, got {self.pad}; leave one of them out"
                )
        return self


class Compute(Part):
    """How the arithmetic is done."""

    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="type in which networks compute; parameters and losses stay fp32; fp16 scales its losses"
    )
    channels_last: bool = Field(True, description="lay images out with the channels innermost, which is faster")
    compile: bool = Field(False, description="compile the network with torch.compile; takes seconds to minutes")
    sync_batch_norm: bool = Field(
        False,
        description="with strategy ddp: normalise over the whole batch, not over the share of each process; slower",
    )

    @model_validator(mode="after")
    def _norms_talk(self) -> Compute:
        if self.compile and self.sync_batch_norm:
            raise ValueError(
                "compile must be false with sync_batch_norm, in whose norms the processes wait for each other, got true"
            )
        return self


class Diagnostics(Part):
    """What is measured beside the ordinary metrics."""

    theory: bool = Field(False, description="measure the timescales of early learning (tau_z, tau_nl); takes time")
    probe_samples: int = Field(
        16, ge=1, le=512, description="training samples on which logit norms and timescales are measured"
    )


class Cosine(Part):
    """Learning rate over the run: linear warm-up, cosine, constant cool-down."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of linear warm-up from floor * lr to lr")
    cooldown_epochs: float = Field(0.0, ge=0, description="last epochs, at floor * lr")
    floor: float = Field(1e-3, ge=0, le=1, description="lowest learning rate as a share of lr")


class Step(Part):
    """Learning rate over the run: linear warm-up, then a drop at every milestone."""

    name: Literal["step"]
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of linear warm-up from floor * lr to lr")
    floor: float = Field(1e-3, ge=0, le=1, description="learning rate at the beginning of the warm-up as a share of lr")
    milestones: tuple[float, ...] = Field((30, 60, 90), description="epochs after which the learning rate drops")
    factor: float = Field(0.1, gt=0, lt=1, description="by which it is multiplied at each of them")


class EpochWise(Part):
    """The schedule of the asymmetric-temperature code: constant within an epoch, next to nothing in the first."""

    name: Literal["epochwise"]
    warmup_epochs: int = Field(5, ge=1, description="epoch t up to this one has (t + 1e-6) / warmup_epochs of lr")
    hold_epochs: int = Field(120, ge=0, description="the epoch from which drops are counted")
    step_epochs: int = Field(30, ge=1, description="epochs between drops; the first comes so many after hold_epochs")
    factor: float = Field(0.1, gt=0, lt=1, description="by which the learning rate is multiplied at each drop")


Schedule = Annotated[Cosine | Step | EpochWise, Field(discriminator="name"), named("cosine")]


class Recipe(Part):
    """One training run.

    Raises:
        pydantic.ValidationError: A value is outside its range, or a key is unknown.
    """

    dataset: Annotated[str, AfterValidator(_known_dataset)] = Field("digits", description="name of a data set")
    model: Annotated[str, AfterValidator(_known_model)] = Field("mlp-128-128", description="name of a network")
    loss: Loss = Field(default_factory=TemperedLoss)
    optimizer: Optimizer = Field(default_factory=Sgd)
    schedule: Schedule = Field(default_factory=Cosine)
    batch_size: int = Field(128, ge=1, description="samples a step")
    epochs: int = Field(27, ge=1, description="length of the whole run; the schedule ends there")
    train_samples: int | None = Field(
        None, ge=1, description="train on so many samples, with the classes in their shares; null: on all"
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="side of the images a network sees; null: the data set's; streamed data only"
    )
    augment: Augment = Field(default_factory=Augment)
    compute: Compute = Field(default_factory=Compute)
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="measure and keep the running mean of the parameters, with this decay; null: not"
    )
    base: str | None = Field(
        None, description="a name under teachers: this trained network stays as it is, and its logits are added"
    )
    members: int = Field(1, ge=1, le=64, description="networks trained alike whose mean probabilities count")
    diagnostics: Diagnostics = Field(default_factory=Diagnostics)

    @model_validator(mode="after")
    def _schedule_fits(self) -> Recipe:
        cooldown = self.schedule.cooldown_epochs if isinstance(self.schedule, Cosine) else 0
        used = self.schedule.warmup_epochs + cooldown
        if used > self.epochs:
            raise ValueError(
                f"warm-up and cool-down must fit into the run, got {used:g} of {self.epochs} epochs; "
                "lower schedule.warmup_epochs or schedule.cooldown_epochs"
            )
        return self

    @model_validator(mode="after")
    def _loss_acts_within_the_run(self) -> Recipe:
        for name in ("start_epoch", "stop_epoch"):
            epoch = getattr(self.loss, name, None)
            if epoch is not None and epoch >= self.epochs:
                warnings.warn(
                    f"loss.{name} should lie within the run's {self.epochs} epochs to have an effect, got {epoch:g}",
                    RecipeWarning,
                    stacklevel=2,
                )
        return self

    @model_validator(mode="after")
    def _norm_is_of_the_whole_network(self) -> Recipe:
        if self.base is not None and isinstance(self.loss, TemperedLoss) and self.loss.logit_norm is not None:
            raise ValueError(
                f"loss.logit_norm must be null on a base, whose logits it cannot set, got {self.loss.logit_norm:g}"
            )
        return self

    @model_validator(mode="after")
    def _mixed_images_have_no_one_label(self) -> Recipe:
        if self.augment.mixup and isinstance(self.loss, DistilledLoss):
            raise ValueError(
                f"augment.mixup must be 0 with loss distilled, whose tau1 belongs to the one true class, got "
                f"{self.augment.mixup:g}"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The trained networks that a run of this recipe needs: its teacher, and its base."""
        teacher = self.loss.teacher if isinstance(self.loss, DistilledLoss) else None
        return tuple(dict.fromkeys(name for name in (teacher, self.base) if name is not None))


class Teacher(Part):
    """A network trained before others that learn from it, or add to it."""

    recipe: Recipe
    seed: int = Field(0, ge=0, le=2**31, description="seed of its initial parameters and of the order of its data")
    epoch: int | None = Field(
        None,
        ge=1,
        description="take the network after this epoch of its schedule (early-stopped teacher); null: the last",
    )

    @model_validator(mode="after")
    def _one_network_within_its_run(self) -> Teacher:
        if self.recipe.members > 1:
            raise ValueError(
                f"a teacher must be one network, got {self.recipe.members} members; set recipe.members to 1"
            )
        if self.epoch is not None and self.epoch > self.recipe.epochs:
            raise ValueError(f"epoch must lie within the teacher's {self.recipe.epochs} epochs, got {self.epoch}")
        return self
