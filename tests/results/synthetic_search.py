"""A made-up study written trial by trial: what the tests of audit, Pareto set, stability and survival say of each."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from results.schema import DecisionRow, EpochRow, TrialRow
from tests.results.synthetic import EPOCHS, Study


@dataclass
class Tabulated(Study):
    """Every trial has the values, verdicts and end that the test asks for."""

    def stopping(self, **rule: object) -> None:
        """The stopping rule of the study file."""
        self.document["stopping"] = rule
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")

    def data(self, classes: int = 10, **sizes: int) -> None:
        """What the driver notes of the data."""
        known = {"name": "digits", "digest": "abc", "source": "here", "classes": classes, "sizes": sizes}
        (self.folder / "environment.json").write_text(json.dumps({"data": known}), encoding="utf-8")

    def trial(
        self,
        values: Mapping[int, float],
        verdicts: Mapping[int, str] | None = None,
        *,
        arm: str = "search",
        state: str = "COMPLETED",
        audited: bool = False,
        beta: float = 1.0,
        lr: float = 0.1,
        origin: str | None = None,
        epoch_time_s: float = 1.0,
        last: Mapping[str, float] | None = None,
        bracket: int = 0,
    ) -> str:
        """A trial of the search with these values and verdicts by epoch, and more metrics of its last one."""
        self.count += 1
        name = f"t{self.count:04d}"
        number = self.numbers.get((arm, "explore"), 0)
        self.numbers[arm, "explore"] = number + 1
        params = {"optimizer.lr": lr} | ({} if arm == self.reference else {self.path: beta})
        self.proposals[name] = params
        kind = {"trial": name, "arm": arm, "stage": "explore"}
        self.writer.append(
            TrialRow(
                **self.common,
                **kind,
                number=number,
                state="PENDING",
                attempt=0,
                coordinates=json.dumps(params),
                params=json.dumps(params),
                recipe=json.dumps(self._recipe(arm, params)),
                seeds="[0]",
                origin=origin,
                audited=int(audited),
            )
        )
        self._state(name, arm, "explore", "RUNNING", attempt=1)
        for epoch, value in values.items():
            metrics = {self.metric: value} | (dict(last or {}) if epoch == max(values) else {})
            self.writer.append(
                EpochRow(
                    **self.common,
                    **kind,
                    lane=0,
                    seed=0,
                    epoch=epoch,
                    attempt=1,
                    attempt_start=0,
                    epoch_time_s=epoch_time_s,
                    metrics=metrics,
                )
            )
            if verdict := (verdicts or {}).get(epoch):
                row = DecisionRow(
                    **self.common, trial=name, arm=arm, rung=epoch, value=value, rank=1, n=1, verdict=verdict,
                    bracket=bracket,
                )  # fmt: skip
                self.writer.append(row)
        if state in ("RUNNING", "PAUSED"):
            self._state(name, arm, "explore", state, attempt=1)
        else:
            final = values.get(max(values, default=0)) if state == "COMPLETED" else None
            self._final(name, arm, "explore", state, max(values, default=0), final, "as the test has it")
        return name


def searched(root: Path, *, trials: int = 160, audit: float = 0.25, **options: object) -> Tabulated:
    """A search of two arms by ASHA with an audit: hot networks diverge, cold ones learn late or never."""
    study = Tabulated(root, trials=trials, **options)
    study.stopping(name="asha", grace_epochs=1, reduction_factor=3, audit=audit)
    study.data(train=1257, val=270, test=270)
    study.begin()
    chance = random.Random(study.seed)
    for number in range(trials):
        for arm in ("search", "baseline"):
            _searched(study, chance, arm, number, audit)
    return study


def _searched(study: Tabulated, chance: random.Random, arm: str, number: int, audit: float) -> None:
    beta = 1.0 if arm == "baseline" else 10 ** chance.uniform(-2, 1)
    lr = 10 ** chance.uniform(-2, 0)
    heat, audited = math.log10(beta * lr), chance.random() < audit
    quality = 0.975 - 0.02 * (math.log10(beta) - 0.4) ** 2 - 0.03 * (heat + 0.9) ** 2 + chance.gauss(0, 0.003)
    pace = 2.0 + 3.0 * max(0.0, -heat - 1)  # cold ones learn late
    learns = heat > -3.0
    diverges = chance.randint(2, 9) if heat > 0.35 and chance.random() < 0.8 else None
    values: dict[int, float] = {}
    verdicts: dict[int, str] = {}
    state = "COMPLETED"
    for epoch in range(1, EPOCHS + 1):
        if epoch == diverges:
            state = "DIVERGED"
            break
        level = quality - (quality - 0.1) * math.exp(-epoch / pace) if learns else 0.1
        values[epoch] = max(0.05, level + chance.gauss(0, 0.006))
        if epoch in (1, 3, 9) and "AUDIT" not in verdicts.values():
            met = study.rungs.setdefault((arm, epoch), [])
            met.append(values[epoch])
            best = sorted(met, reverse=True)[max(0, len(met) // 3 - 1)]
            stop = len(met) >= 3 and values[epoch] < best
            verdicts[epoch] = "AUDIT" if stop and audited else "STOP" if stop else "CONTINUE"
            if verdicts[epoch] == "STOP":
                state = "PRUNED"
                break
    nll = 3.0 * (1 - quality) + 0.02 * abs(heat + 0.5) + chance.gauss(0, 0.004)
    study.trial(
        values,
        verdicts,
        arm=arm,
        state=state,
        audited=audited,
        beta=beta,
        lr=lr,
        origin="random start-up" if number < 10 else f"TPE model of {number} trials",
        epoch_time_s=1.0 + chance.random() / 20,
        last={"val/loss_refit": nll, "val/ece_refit": 0.01 + chance.random() * 0.02} if state == "COMPLETED" else {},
    )
