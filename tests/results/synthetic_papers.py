"""Made-up studies of the three papers' kinds: tampering, timescales of early learning, distillation with teachers."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from results.schema import EpochRow, TrialRow
from tests.results.synthetic import EPOCHS, Study


@dataclass
class Tampered(Study):
    """alpha is searched, and the logits of every trial are measured after its last epoch."""

    name: str = "digits-alpha"
    path: str = "loss.alpha"

    def _suggest(self, arm: str) -> dict[str, object]:
        params: dict[str, object] = {"optimizer.lr": 10 ** self.random.uniform(-1.6, -0.3)}
        return params | ({} if arm == self.reference else {self.path: self.random.uniform(0.05, 1.0)})

    def _quality(self, params: dict[str, object], noise: random.Random) -> tuple[float, int | None]:
        alpha, step = float(params.get(self.path, 1.0)), math.log10(float(params["optimizer.lr"])) + 0.9
        return 0.98 - 0.02 * (alpha - 0.35) ** 2 - 0.03 * step**2 + noise.gauss(0, 0.0015), None

    def _document(self, arms: dict[str, dict[str, object]]) -> dict[str, object]:
        document = super()._document(arms)
        return document | {"space": {**document["space"], "loss.alpha": {"uniform": [0.01, 1.0]}}}

    def _extras(self, params: dict[str, object], stage: str, epoch: int) -> dict[str, float]:
        alpha = float(params.get(self.path, 1.0))
        if epoch < EPOCHS:
            return {}
        return {"val/logit_norm": 300 * math.exp(-1.3 * alpha) + 20 * float(params["optimizer.lr"])}


@dataclass
class Timed(Study):
    """The timescales of early learning are measured; ||Z0|| is 0.01 in every trial."""

    name: str = "digits-theory"

    def _extras(self, params: dict[str, object], stage: str, epoch: int) -> dict[str, float]:
        beta, lr = float(params.get(self.path, 1.0)), float(params["optimizer.lr"])
        late = math.exp(0.3 * math.sin(40 * beta + lr))
        tau_z, tau_nl = 6.7e-3 * 0.01 / beta**2, 0.6 / beta
        known = {"probe/logit_norm": 0.01 + 0.5 * epoch, "probe/raw_logit_norm": (0.01 + 0.5 * epoch) / beta}
        if epoch == 1:
            known |= {"probe/logit_norm_start": 0.01, "theory/eta_tilde": lr * beta**2}
            known |= {"theory/tau_z": tau_z, "theory/tau_nl": tau_nl}
        known |= {"theory/tau_z_measured": tau_z * late}
        return known | ({"theory/tau_nl_measured": 2 * tau_nl * late} if epoch >= 2 else {})


@dataclass
class Distilled(Study):
    """Students without a teacher, with plain and with asymmetric temperatures; the teacher learnt from another."""

    name: str = "digits-ats"
    path: str = "loss.tau1"
    reference: str | None = "nokd"
    teachers: tuple[str, ...] = ("small", "big")

    def _document(self, arms: dict[str, dict[str, object]]) -> dict[str, object]:
        document = super()._document(arms)
        loss = {"name": "distilled", "teacher": "big", "tau1": 4.0, "gap": 2.0, "weight": 0.5}
        small = {"dataset": "digits", "model": "mlp-64", "epochs": 6, "loss": {"name": "tempered", "beta": 1.0}}
        return document | {
            "recipe": {"dataset": "digits", "model": "mlp-32", "epochs": EPOCHS, "loss": loss, "base": None},
            "space": {
                "loss.tau1": {"uniform": [2.5, 8.0]},
                "loss.gap": {"uniform": [0.5, 2.0]},
                "loss.weight": {"uniform": [0.1, 0.9]},
                "optimizer.lr": {"log": [0.001, 1.0]},
                "optimizer.weight_decay": {"fixed": 0.0005, "times": "loss.weight ** 1"},
            },
            "arms": {
                "nokd": {"set": {"loss.name": "tempered"}, "varies": ["optimizer.lr"]},
                "kd": {"set": {"loss.gap": 0.0}, "varies": ["loss.tau1", "loss.weight", "optimizer.lr"]},
                "ats": {
                    "set": {},
                    "varies": [
                        *("loss.tau1", "loss.gap", "loss.weight"),
                        *("optimizer.lr", "optimizer.weight_decay"),
                    ],
                },
            },
            "teachers": {
                "small": {"recipe": small, "seed": 0, "epoch": None},
                "big": {
                    "recipe": {**small, "model": "mlp-512-512", "epochs": 9, "loss": {**loss, "teacher": "small"}},
                    "seed": 1,
                    "epoch": 6,
                },
                "spare": {"recipe": small, "seed": 2, "epoch": None},
            },
        }

    def teach(self, name: str, state: str = "COMPLETED", epochs: int = 6, reason: str = "trained to the end") -> str:
        """A teacher's trial; RUNNING leaves it at work, no epochs make it one that was trained before."""
        self.count += 1
        trial = f"t{self.count:04d}"
        recipe = self.document["teachers"][name]["recipe"]
        kind = {"trial": trial, "arm": name, "stage": "teach"}
        self.writer.append(
            TrialRow(
                **self.common, **kind, number=0, state="PENDING", attempt=0, recipe=json.dumps(recipe), seeds="[0]"
            )
        )
        if epochs:
            self._state(trial, name, "teach", "RUNNING", attempt=1)
        for epoch in range(1, epochs + 1):
            accuracy = 0.985 - 0.4 / epoch**2
            metrics = {"train/loss": 2.0 / epoch, "val/loss": 2.1 / epoch, "val/accuracy": accuracy}
            self.clock += timedelta(seconds=2)
            self.writer.append(
                EpochRow(
                    **self.common,
                    **kind,
                    lane=0,
                    seed=0,
                    epoch=epoch,
                    attempt=1,
                    attempt_start=0,
                    epoch_time_s=2.0,
                    metrics=metrics,
                )
            )
        if state not in ("PENDING", "RUNNING"):
            value = 0.985 - 0.4 / epochs**2 if epochs and state == "COMPLETED" else None
            self._final(trial, name, "teach", state, epochs, value, reason, attempt=1 if epochs else 0)
        return trial

    def _recipe(self, arm: str, params: dict[str, object]) -> dict[str, object]:
        loss = {"name": "tempered", "beta": 1.0}
        if arm != "nokd":
            loss = dict(self.document["recipe"]["loss"]) | ({"gap": 0.0} if arm == "kd" else {})
            loss |= {path.partition(".")[2]: value for path, value in params.items() if path.startswith("loss.")}
        optimizer = {"lr": params["optimizer.lr"], "weight_decay": 0.0005 * float(params.get("loss.weight", 1.0))}
        return {"dataset": "digits", "model": "mlp-32", "epochs": EPOCHS, "loss": loss, "optimizer": optimizer}

    def _suggest(self, arm: str) -> dict[str, object]:
        params: dict[str, object] = {"optimizer.lr": 10 ** self.random.uniform(-1.4, -0.3)}
        if arm != "nokd":
            params |= {"loss.tau1": self.random.uniform(2.5, 8.0), "loss.weight": self.random.uniform(0.1, 0.9)}
        if arm == "ats":
            params["loss.gap"] = self.random.uniform(0.5, 2.0)
        return params

    def _quality(self, params: dict[str, object], noise: random.Random) -> tuple[float, int | None]:
        step = math.log10(float(params["optimizer.lr"])) + 0.9
        quality = 0.955 - 0.03 * step**2 + noise.gauss(0, 0.0015)
        if "loss.tau1" in params:
            quality += 0.004 + 0.012 * float(params.get("loss.gap", 0.0)) / 2
            quality -= 0.0006 * (float(params["loss.tau1"]) - 4) ** 2
        return quality, None

    def _extras(self, params: dict[str, object], stage: str, epoch: int) -> dict[str, float]:
        known: dict[str, float] = {}
        if epoch == 1 and "loss.tau1" in params:
            tau1, gap = float(params["loss.tau1"]), float(params.get("loss.gap", 0.0))
            wrong = [math.exp(f / (tau1 - gap)) for f in (3.0, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -2.5)]
            whole = math.exp(14.0 / tau1) + sum(wrong)
            mean = sum(wrong) / whole / 9
            variance = sum((w / whole - mean) ** 2 for w in wrong) / 9
            inherent = sum((w / sum(wrong) - 1 / 9) ** 2 for w in wrong) / 9
            known |= {
                "teacher/target_logit": 14.0,
                "teacher/wrong_logit_std": 1.66,
                "teacher/target_probability": math.exp(14.0 / tau1) / whole,
                "teacher/derived_average": mean,
                "teacher/derived_variance": variance,
                "teacher/derived_std": math.sqrt(variance),
                "teacher/inherent_variance": inherent,
                "teacher/flip_rate": 0.0125,
            }
        if stage == "confirm" and epoch == EPOCHS:
            known |= {
                "val/refit_temperature": 1.25,
                "test/ece": 0.031,
                "test/ece_refit": 0.012,
                "test/loss_refit": 0.11,
            }
        return known


def distilled(root: Path, **options: object) -> Path:
    """A completed study with teachers; gives its folder."""
    study = Distilled(root, **options)
    study.begin()
    for name in study.teachers:
        study.teach(name)
    study.explore()
    study.confirm()
    study.end()
    return study.folder
