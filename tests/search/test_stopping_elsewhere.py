"""The stopping rules against Optuna's pruners and against ASHA's promotions as the paper writes them down."""

import random

import optuna
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from results.schema import Verdict
from search import settings
from search.stopping import Rung, rule_of
from tests.search.test_stopping_rung import MODES, key

EPOCHS = 27


def optuna_study(mode, pruner):
    return optuna.create_study(
        direction="maximize" if mode == "max" else "minimize", pruner=pruner, sampler=optuna.samplers.RandomSampler()
    )


def prunes(study, trial):
    """What the pruner says now; asked once a rung, since Optuna's notes in its storage that it was asked."""
    return study.pruner.prune(study, study._storage.get_trial(trial._trial_id))


@pytest.mark.parametrize("mode", MODES)
@hypothesis(max_examples=15)
@given(seed=st.integers(0, 2**32), factor=st.integers(2, 4), levels=st.sampled_from([5, 10**6]))
def test_stopping_form_decides_as_optunas_successive_halving(mode, seed, factor, levels):
    """Many trials at once, arriving in random order, with equal values among them.

    Before ``factor`` trials came Optuna goes on with the best so far and stops all others; here nobody is stopped.
    """
    rng = random.Random(seed)
    study = optuna_study(mode, optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor))
    rule = rule_of(settings.Asha(reduction_factor=factor), epochs=EPOCHS, mode=mode)
    rungs = {epoch: Rung() for epoch in rule.rungs()}
    running = {}
    begun = 0
    while begun < 30 or running:
        if begun < 30 and len(running) < 6:
            trial = study.ask()
            running[trial.number] = (trial, iter(rule.rungs()))
            begun += 1
            continue
        number = rng.choice(list(running))
        trial, left = running[number]
        epoch = next(left, None)
        if epoch is None:
            del running[number]
            continue
        value = rng.randrange(levels) / levels
        decision = rule.decide(rungs[epoch], value)
        rungs[epoch].add(f"t{number}", value)
        trial.report(value, epoch)
        if decision.n >= factor:
            assert prunes(study, trial) == (decision.verdict is Verdict.STOP)
        else:
            assert decision.verdict is Verdict.CONTINUE
            assert prunes(study, trial) == (decision.rank > 1)
        if decision.verdict is Verdict.STOP:
            del running[number]


@pytest.mark.parametrize("mode", MODES)
@hypothesis(max_examples=40)
@given(
    earlier=st.lists(st.lists(st.integers(0, 9), min_size=9, max_size=9), max_size=9),
    curve=st.lists(st.integers(0, 9), min_size=9, max_size=9),
    grace=st.integers(1, 4),
    interval=st.integers(1, 3),
    least=st.integers(1, 6),
)
def test_median_rule_decides_as_optunas(mode, earlier, curve, grace, interval, least):
    """Optuna compares with completed trials, by their value at the step: here all completed and none fell back."""
    study = optuna_study(
        mode,
        optuna.pruners.MedianPruner(
            n_startup_trials=1, n_warmup_steps=grace, interval_steps=interval, n_min_trials=least
        ),
    )
    section = settings.Median(grace_epochs=grace, interval_epochs=interval, min_trials=least)
    rule = rule_of(section, epochs=9, mode=mode)
    rungs = {epoch: Rung() for epoch in rule.rungs()}
    for number, steps in enumerate(earlier):
        improving = sorted(steps, reverse=mode == "min")
        for epoch, rung in rungs.items():
            rung.add(f"t{number}", rule.score(improving[:epoch]))
        study.add_trial(
            optuna.trial.create_trial(value=improving[-1], intermediate_values=dict(enumerate(improving, start=1)))
        )
    trial = study.ask()
    for epoch, value in enumerate(curve, start=1):
        trial.report(value, epoch)
        if epoch in rungs:
            decision = rule.decide(rungs[epoch], rule.score(curve[:epoch]))
            assert prunes(study, trial) == (decision.verdict is Verdict.STOP)


class PaperAsha:
    """Algorithm 2 of arXiv 1810.05934, get_job: every rung is sorted anew, from the top down."""

    def __init__(self, rungs, factor, mode):
        self.met = {epoch: {} for epoch in rungs}
        self.promoted = {epoch: set() for epoch in rungs}
        self.factor, self.mode = factor, mode

    def job(self):
        for epoch in reversed(self.met):
            best_first = sorted(self.met[epoch], key=lambda trial: key(self.met[epoch][trial], self.mode))
            candidates = best_first[: len(best_first) // self.factor]
            promotable = [trial for trial in candidates if trial not in self.promoted[epoch]]
            if promotable:
                self.promoted[epoch].add(promotable[0])
                return promotable[0], epoch
        return None


class OurAsha:
    """The same by the rule, as the conductor asks it."""

    def __init__(self, rule):
        self.rule = rule
        self.rungs = {epoch: Rung() for epoch in rule.rungs()}

    def job(self):
        for epoch in reversed(self.rungs):
            trial = self.rule.promotable(self.rungs[epoch])
            if trial is not None:
                self.rungs[epoch].promote(trial)
                return trial, epoch
        return None


@pytest.mark.parametrize("mode", MODES)
@hypothesis(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    factor=st.integers(2, 4),
    workers=st.integers(1, 12),
    levels=st.sampled_from([3, 10**6]),
)
def test_promotion_form_hands_out_the_jobs_of_the_paper(mode, seed, factor, workers, levels):
    """With many workers, random arrivals, equal values, and trials that crash while they wait."""
    rng = random.Random(seed)
    rule = rule_of(settings.Asha(form="promotion", reduction_factor=factor), epochs=EPOCHS, mode=mode)
    ours, paper = OurAsha(rule), PaperAsha(rule.rungs(), factor, mode)
    busy, begun, completed = [], 0, 0
    for _ in range(300):
        while len(busy) < workers:
            job = ours.job()
            assert job == paper.job()
            if job is None:
                job = (f"t{begun:04d}", 0)
                begun += 1
            busy.append(job)
        trial, epoch = busy.pop(rng.randrange(len(busy)))
        reached = next((later for later in rule.rungs() if later > epoch), None)
        if reached is None:
            completed += 1
            continue
        value = rng.randrange(levels) / levels
        decision = rule.decide(ours.rungs[reached], value)
        assert decision.verdict is Verdict.PAUSE
        ours.rungs[reached].add(trial, value, waits=True)
        paper.met[reached][trial] = value
        if rng.random() < 0.03:
            ours.rungs[reached].leave(trial)
            paper.promoted[reached].add(trial)
    assert completed <= begun / factor
