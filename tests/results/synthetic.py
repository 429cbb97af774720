"""A made-up study, written through RecordWriter: two arms, successive halving, divergence, a restart, confirmation."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from results.schema import DecisionRow, EpochRow, SessionRow, TrialRow
from results.store import RecordWriter

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
EPOCHS = 27
RUNGS = (1, 3, 9)
STUDY_ID = "0123456789abcdef0123456789abcdef"


@dataclass
class Study:
    """Writes one study; every method appends the rows a driver would."""

    root: Path
    name: str = "digits-beta"
    path: str = "loss.beta"
    trials: int = 48
    reference: str | None = "baseline"
    arms: dict[str, dict[str, object]] | None = None
    metric: str = "val/accuracy"
    confirm_seeds: int = 5
    seed: int = 0
    session: str = "s0001"
    amendment: int | None = None
    rungs: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    finals: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    clock: datetime = START
    seq: int = 0
    count: int = 0
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    proposals: dict[str, dict[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.folder = self.root / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        arms = {"search": {"set": {}}}
        if self.reference:
            arms[self.reference] = {"set": {self.path: 1.0}}
        if self.arms is not None:
            arms = {arm: {"set": values} for arm, values in self.arms.items()}
        self.document = self._document(arms)
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")
        self.writer = RecordWriter(self.folder, session=self.session)

    def _document(self, arms: dict[str, dict[str, object]]) -> dict[str, object]:
        return {
            "schema": 1,
            "id": STUDY_ID,
            "name": self.name,
            "recipe": {
                "dataset": "digits",
                "epochs": EPOCHS,
                "loss": {"name": "tampered" if self.path == "loss.alpha" else "tempered"},
            },
            "space": {self.path: {"log": [0.01, 10]}, "optimizer.lr": {"log": [0.001, 1.0]}},
            "search": {
                "sampler": "tpe",
                "trials": self.trials,
                "seed": self.seed,
                "metric": self.metric,
                "mode": "min" if self.metric.endswith("loss") else "max",
                "epoch_rule": "last",
            },
            "stopping": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3, "max_loss": 1000.0},
            "seeds": {"search": 1, "confirm": self.confirm_seeds},
            "confirm": {"top": 2},
            "arms": arms,
            "reference": self.reference,
            "resources": {"cpus": 1, "gpus": 0, "max_concurrent": None, "max_failures": 3},
        }

    @property
    def common(self) -> dict[str, object]:
        self.seq += 1
        self.clock += timedelta(milliseconds=7)
        return {"study": self.name, "session": self.session, "seq": self.seq, "reported_at": self.clock}

    def extend(self, trials: int) -> None:
        """What ``resume --trials`` leaves: an amendment with more trials for every arm."""
        self.document["search"]["trials"] = self.trials = trials
        (self.folder / "study-2.yaml").write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")

    def explored(self, arm: str, value: float) -> str:
        """A trial of the search that ended with this value; without epochs."""
        trial = self.propose(arm)
        self._final(trial, arm, "explore", "COMPLETED", EPOCHS, value, "trained to the end")
        return trial

    def confirmed(self, source: str, arm: str, values: list[float | str], tested: list[float] | None = None) -> None:
        """Confirm runs of a source, one a seed: a value, or the state in which it ended without one."""
        for seed, value in enumerate(values, 1000):
            trial = self.propose(arm, "confirm", source, seed)
            if isinstance(value, str):
                self._final(trial, arm, "confirm", value, 3, None, "no value")
                continue
            metrics = {"val/accuracy": value, "test/accuracy": tested[seed - 1000] if tested else value - 0.01}
            kind = {"trial": trial, "arm": arm, "stage": "confirm", "lane": 0, "seed": seed, "attempt": 1}
            self.writer.append(
                EpochRow(
                    **self.common, **kind, epoch=EPOCHS, attempt_start=EPOCHS - 1, epoch_time_s=1.0, metrics=metrics
                )
            )
            self._final(trial, arm, "confirm", "COMPLETED", EPOCHS, value, "trained to the end")

    def begin(self) -> None:
        self._session("RUNNING", None)

    def end(self, state: str = "COMPLETED", reason: str = "every trial is done") -> None:
        self._session(state, reason)
        self.writer.close()

    def reopen(self, session: str) -> None:
        """A driver that was killed is followed by another."""
        self.writer.close()
        self.session = session
        self.clock += timedelta(minutes=10)
        self.writer = RecordWriter(self.folder, session=session)
        self.begin()

    def propose(self, arm: str, stage: str = "explore", source: str | None = None, seed: int = 0) -> str:
        self.count += 1
        trial = f"t{self.count:04d}"
        number = self.numbers.get((arm, stage), 0)
        self.numbers[arm, stage] = number + 1
        params = dict(self.proposals[source]) if source else self._suggest(arm)
        self.proposals[trial] = params
        self.writer.append(
            TrialRow(
                **self.common,
                trial=trial,
                arm=arm,
                stage=stage,
                number=number,
                state="PENDING",
                attempt=0,
                coordinates=json.dumps(params),
                params=json.dumps(params),
                recipe=json.dumps(self._recipe(arm, params)),
                seeds=json.dumps([seed]),
                source=source,
            )
        )
        return trial

    def run(self, trial: str, arm: str, stage: str = "explore", seed: int = 0, restart_at: int | None = None) -> str:
        """Trains a proposed trial to its end; gives the final state."""
        self._state(trial, arm, stage, "RUNNING", attempt=1)
        noise = random.Random(f"{trial}-{seed}-{self.seed}")
        quality, diverges_at = self._quality(self.proposals[trial], noise)
        epoch, attempt, start = 0, 1, 0
        while epoch < EPOCHS:
            epoch += 1
            if restart_at == epoch:
                attempt, start, restart_at, epoch = 2, max(0, epoch - 3), None, max(0, epoch - 3)
                self._state(trial, arm, stage, "RUNNING", attempt=2)
                continue
            accuracy = quality - (quality - 0.1) * math.exp(-epoch / 2.2) + noise.gauss(0, 0.0025)
            loss = float("inf") if diverges_at == epoch else max(0.01, 2.3 * math.exp(-epoch / 4) + 1 - quality)
            metrics = {"train/loss": loss, "train/accuracy": accuracy}
            if diverges_at != epoch:
                metrics |= {"val/loss": loss + 0.05, "val/accuracy": accuracy, "optimizer/lr": 0.1}
            if stage == "confirm" and epoch == EPOCHS:
                metrics |= {"test/accuracy": accuracy - 0.004 + noise.gauss(0, 0.002), "test/loss": loss + 0.06}
            metrics |= self._extras(self.proposals[trial], stage, epoch)
            self.clock += timedelta(seconds=0.3)
            self.writer.append(
                EpochRow(
                    **self.common,
                    trial=trial,
                    arm=arm,
                    stage=stage,
                    lane=0,
                    seed=seed,
                    epoch=epoch,
                    attempt=attempt,
                    attempt_start=start,
                    epoch_time_s=1.1 + noise.random() / 5,
                    metrics=metrics,
                )
            )
            if diverges_at == epoch:
                return self._final(
                    trial, arm, stage, "DIVERGED", epoch, None, f"the training loss is inf in epoch {epoch}"
                )
            value = metrics[self.metric]
            if stage == "explore" and epoch in RUNGS and self._stops(trial, arm, epoch, value):
                return self._final(trial, arm, stage, "PRUNED", epoch, value, f"below the best third at epoch {epoch}")
        return self._final(trial, arm, stage, "COMPLETED", epoch, value, "trained to the end", attempt)

    def explore(self, trials: int | None = None) -> None:
        for _ in range(trials or self.trials):
            for arm in self.document["arms"]:
                trial = self.propose(arm)
                self.run(trial, arm, restart_at=12 if trial == "t0003" else None)

    def confirm(self, limit: int | None = None) -> None:
        """Re-runs the two best of every arm and the best of the reference; ``limit`` leaves the rest pending."""
        sign = -1 if self.metric.endswith("loss") else 1
        chosen = []
        for arm, top in ((arm, 1 if arm == self.reference else 2) for arm in self.document["arms"]):
            done = [(sign * v, t) for t, (a, s, v) in self.finals.items() if a == arm and s == "COMPLETED"]
            chosen += [(arm, trial) for _, trial in sorted(done, key=lambda x: (-x[0], x[1]))[:top]]
        queue = [
            (arm, seed, self.propose(str(arm), "confirm", source, seed))
            for arm, source in chosen
            for seed in range(1000, 1000 + self.confirm_seeds)
        ]
        for arm, seed, trial in queue[:limit]:
            self.run(trial, str(arm), "confirm", seed)

    def _recipe(self, arm: str, params: dict[str, object]) -> dict[str, object]:
        group, leaf = self.path.split(".")
        return {
            "dataset": "digits",
            "epochs": EPOCHS,
            group: {"name": "tempered", leaf: float(params.get(self.path, 1.0))},
            "optimizer": {"lr": params["optimizer.lr"]},
        }

    def _extras(self, params: dict[str, object], stage: str, epoch: int) -> dict[str, float]:
        """Metrics beside the ordinary ones."""
        return {}

    def _suggest(self, arm: str) -> dict[str, object]:
        """Somewhere, or near what did well so far in this arm."""
        ranges = {"optimizer.lr": (-3.0, 0.0)} | ({} if arm == self.reference else {self.path: (-2.0, 1.0)})
        sign = -1 if self.metric.endswith("loss") else 1
        known = sorted((sign * v, t) for t, (a, s, v) in self.finals.items() if a == arm and s == "COMPLETED")
        near = self.proposals[known[-1][1]] if len(known) > 1 and self.random.random() < 0.6 else None
        params: dict[str, object] = {}
        for path, (low, high) in ranges.items():
            place = self.random.gauss(math.log10(float(near[path])), 0.3) if near else self.random.uniform(low, high)
            params[path] = 10 ** min(high, max(low, place))
        return params

    def _quality(self, params: dict[str, object], noise: random.Random) -> tuple[float, int | None]:
        beta, lr = float(params.get(self.path, 1.0)), float(params["optimizer.lr"])
        step = math.log10(beta * lr)
        quality = 0.981 - 0.012 * (math.log10(beta) - 0.45) ** 2 - 0.05 * (step + 0.9) ** 2 + noise.gauss(0, 0.0015)
        return max(0.1, quality), noise.randint(1, 6) if step > -0.25 else None

    def _stops(self, trial: str, arm: str, rung: int, value: float) -> bool:
        sign = -1 if self.metric.endswith("loss") else 1
        values = self.rungs.setdefault((arm, rung), [])
        values.append(sign * value)
        ranked = sorted(values, reverse=True)
        cutoff = ranked[max(0, len(ranked) // 3 - 1)] if len(ranked) >= 3 else None
        stop = cutoff is not None and sign * value < cutoff
        self.writer.append(
            DecisionRow(
                **self.common,
                trial=trial,
                arm=arm,
                rung=rung,
                value=value,
                cutoff=None if cutoff is None else sign * cutoff,
                rank=ranked.index(sign * value) + 1,
                n=len(ranked),
                verdict="STOP" if stop else "CONTINUE",
            )
        )
        return stop

    def _final(
        self,
        trial: str,
        arm: str,
        stage: str,
        state: str,
        epochs: int,
        value: float | None,
        reason: str,
        attempt: int = 1,
    ) -> str:
        if stage == "explore" and value is not None:
            self.finals[trial] = (arm, state, value)
        self._state(trial, arm, stage, state, attempt=attempt, epochs=epochs, value=value, reason=reason)
        return state

    def _state(self, trial: str, arm: str, stage: str, state: str, **values: object) -> None:
        number = int(trial[1:]) - 1
        self.writer.append(
            TrialRow(**self.common, trial=trial, arm=arm, stage=stage, number=number, state=state, **values)
        )

    def _session(self, state: str, reason: str | None) -> None:
        self.writer.append(
            SessionRow(
                **self.common,
                state=state,
                host="node-1",
                pid=4242,
                slots=4,
                command="thermotune submit digits-beta.yaml",
                environment=json.dumps(
                    {"thermotune": {"commit": "abc1234", "dirty": None}, "versions": {"torch": "2.11"}}
                ),
                reason=reason,
                amendment=self.amendment,
            )
        )


def finished(root: Path, **options: object) -> Path:
    """A completed study; gives its folder."""
    study = Study(root, **options)
    study.begin()
    study.explore()
    study.confirm()
    study.end()
    return study.folder
