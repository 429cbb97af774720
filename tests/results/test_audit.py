"""The early-stopping audit: what is counted, and the advice that follows."""

from __future__ import annotations

import json
import random

import pytest
from scipy import stats

from results.query import StudyView
from results.report import Format, build, render, to_json
from results.report.audit import ENOUGH, audit
from results.report.panels import panels
from results.report.search_tables import audit_tables
from tests.results.synthetic import EPOCHS
from tests.results.synthetic_search import Tabulated, searched


def study(tmp_path, share=0.5, **options):
    made = Tabulated(tmp_path, **({"trials": 40, "reference": None} | options))
    made.stopping(name="asha", grace_epochs=1, reduction_factor=3, audit=share)
    made.begin()
    return made


def judged(made):
    made.writer.flush()
    return audit(StudyView(made.folder))


def ranked(made, orders, *, spared=(), beta=lambda i: 1.0, **options):
    """Audited trials whose rank at rungs 1, 3 and 9 is given for each; in the end trial 0 is the best."""
    for i, order in enumerate(orders):
        values = {epoch: 0.9 - 0.01 * rank for epoch, rank in zip((1, 3, 9), order, strict=True)}
        verdicts = {1: "AUDIT"} if i in spared else {1: "CONTINUE", 3: "CONTINUE", 9: "CONTINUE"}
        made.trial({**values, EPOCHS: 0.99 - 0.01 * i}, verdicts, audited=True, beta=beta(i), **options)


def test_a_study_without_audited_trials_has_no_audit(tmp_path):
    made = study(tmp_path, share=0)
    made.trial({1: 0.5, EPOCHS: 0.9}, {1: "CONTINUE"})
    assert judged(made) is None


def test_only_audited_trials_that_were_trained_to_the_end_count(tmp_path):
    made = study(tmp_path)
    made.trial({1: 0.5, EPOCHS: 0.9}, {1: "CONTINUE"})
    made.trial({1: 0.5}, {1: "STOP"}, state="PRUNED")
    made.trial({1: 0.5, 2: 0.4}, {1: "AUDIT"}, state="DIVERGED", audited=True)
    made.trial({1: 0.5}, {1: "AUDIT"}, state="RUNNING", audited=True)
    made.trial({1: 0.6, EPOCHS: 0.9}, {1: "AUDIT"}, audited=True)
    found = judged(made)
    assert (found.audited, [t.trial for t in found.trials]) == (3, ["t0005"])
    assert [(r.epoch, r.n, r.tau, r.stopped) for r in found.rungs] == [(1, 1, None, 1)]


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss"])
def test_agreement_of_a_rung_is_scipys_over_the_audited(tmp_path, metric):
    made = study(tmp_path, metric=metric)
    chance = random.Random(1)
    values = [(chance.random(), chance.random(), chance.random()) for _ in range(15)]
    for first, third, final in values:
        made.trial({1: first, 3: third, EPOCHS: final}, {1: "CONTINUE", 3: "CONTINUE"}, audited=True)
    by_epoch = {r.epoch: r.tau for r in judged(made).rungs}
    firsts, thirds, finals = zip(*values, strict=True)
    assert by_epoch[1] == pytest.approx(stats.kendalltau(firsts, finals).statistic)
    assert by_epoch[3] == pytest.approx(stats.kendalltau(thirds, finals).statistic)


@pytest.mark.parametrize(("metric", "good"), [("val/accuracy", [7, 8]), ("val/loss", [0, 1])])
def test_what_the_rule_would_have_ended_is_counted_from_its_verdicts(tmp_path, metric, good):
    made = study(tmp_path, metric=metric)
    for i in range(9):  # the best third are three; two of them the rule would have ended, at epochs 1 and 3
        verdicts = {1: "CONTINUE", 3: "CONTINUE"}
        if i in good:
            verdicts = {1: "AUDIT"} if i == good[0] else {1: "CONTINUE", 3: "AUDIT"}
        made.trial({1: 0.5 + i / 100, 3: 0.6 + i / 100, EPOCHS: 0.7 + i / 100}, verdicts, audited=True)
    assert [(r.epoch, r.stopped, r.good) for r in judged(made).rungs] == [(1, 1, 1), (3, 2, 2)]


def test_arms_are_judged_apart_and_parts_of_the_range_together(tmp_path):
    made = study(tmp_path, reference="baseline", arms={"a": {}, "b": {}, "baseline": {"loss.beta": 1.0}})
    for arm in ("a", "b", "baseline"):
        for i in range(6):
            beta = 10 ** (-2 + 3 * i / 5)
            made.trial({1: i / 10, EPOCHS: 0.1 + i / 10}, {1: "CONTINUE"}, arm=arm, audited=True, beta=beta)
    found = judged(made)
    assert [(r.arm, r.n, r.tau) for r in found.rungs] == [("a", 6, 1.0), ("b", 6, 1.0), ("baseline", 6, 1.0)]
    assert [(str(r.bin), r.n) for r in found.bins] == [("0.01 to 0.1", 4), ("0.1 to 1", 4), ("1 to 10", 4)]


# Advice

TRUE = [(i, i, i) for i in range(9)]
LATE = [((i * 4) % 9, i, i) for i in range(9)]  # the first rung shows little, the second all
NEVER = [((i * 4) % 9, (i * 5) % 9, (i * 4) % 9) for i in range(9)]


def test_too_few_audited_trials_say_nothing(tmp_path):
    made = study(tmp_path, share=0.1)
    ranked(made, TRUE[: ENOUGH - 1])
    advice = judged(made).advice
    assert "7 of an arm trained to the end, 8 are needed" in advice
    assert "At a share of 0.1 that takes about 80 trials an arm" in advice


def test_an_audit_that_was_amended_away_still_counts(tmp_path):
    made = study(tmp_path, share=0.0)
    ranked(made, TRUE[:2])
    assert judged(made).advice.endswith("2 of an arm trained to the end, 8 are needed.")


def test_a_first_rung_that_tells_is_kept(tmp_path):
    made = study(tmp_path)
    ranked(made, TRUE, spared=range(3, 9))
    assert judged(made).advice.startswith(
        "Keep grace_epochs at 1: values at this rung agree with final ones (tau-b 1.00"
    )


def test_the_first_rung_that_tells_is_advised(tmp_path):
    made = study(tmp_path)
    ranked(made, LATE)
    advice = judged(made).advice
    assert advice.startswith("Raise stopping.grace_epochs from 1 to 3: at epoch 1 values agree little with final ones")
    assert "at epoch 3 values agree with final ones (tau-b 1.00), and none of the best 1/9" in advice


def test_a_rung_that_would_lose_the_best_is_not_kept(tmp_path):
    made = study(tmp_path)
    ranked(made, TRUE, spared=[0])
    assert "1 of the best of 9 audited trials" in judged(made).advice
    assert "Raise stopping.grace_epochs from 1 to 3" in judged(made).advice


def test_where_no_rung_tells_early_stopping_is_doubted(tmp_path):
    made = study(tmp_path)
    ranked(made, NEVER)
    advice = judged(made).advice
    assert advice.startswith("No rung tells enough: at epoch 9 values agree little")
    assert "Raise stopping.grace_epochs beyond 9, or use stopping none." in advice


def test_the_arm_that_speaks_against_a_rung_is_named(tmp_path):
    made = study(tmp_path, reference="baseline")
    ranked(made, TRUE)
    ranked(made, LATE, arm="baseline")
    assert "at epoch 1 values in baseline agree little" in judged(made).advice


def test_a_rule_without_a_factor_keeps_the_better_half(tmp_path):
    made = study(tmp_path)
    made.stopping(name="median", grace_epochs=1, interval_epochs=1, min_trials=5, audit=0.5)
    ranked(made, TRUE)
    found = judged(made)
    assert found.keep == 2
    assert [t.good for t in found.trials] == [True] * 4 + [False] * 5


def test_at_a_rung_only_trials_that_meet_it_count(tmp_path):
    """Hyperband: of two trials of bracket 0, three of bracket 1, and one of the last, which nobody judges."""
    made = study(tmp_path)
    made.stopping(name="hyperband", grace_epochs=1, reduction_factor=3, audit=1.0)
    values = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9]
    for value, bracket in zip(values, (0, 0, 1, 1, 1, 2), strict=True):
        verdicts = dict.fromkeys((1, 3)[bracket:], "CONTINUE")
        made.trial({1: value, 3: value, EPOCHS: value}, verdicts, audited=True, bracket=bracket)
    found = judged(made)
    assert len(found.trials) == 6
    assert [(r.epoch, r.n) for r in found.rungs] == [(1, 2), (3, 5)]
    assert [sorted(t.at_rungs) for t in found.trials] == [[1, 3]] * 2 + [[3]] * 3 + [[]]
    assert "2 of an arm trained to the end, 8 are needed" in found.advice


def test_a_first_rung_that_ends_the_best_of_its_bracket_is_not_kept(tmp_path):
    """Trials of the other bracket do not hide that the first rung orders its own the wrong way round."""
    made = study(tmp_path)
    made.stopping(name="hyperband", grace_epochs=1, reduction_factor=3, audit=1.0)
    for i in range(27):
        final = 0.95 - 0.01 * i
        if i % 3 == 0:
            verdicts = {1: "AUDIT"} if i < 18 else {1: "CONTINUE", 3: "CONTINUE"}
            made.trial({1: 0.1 + 0.01 * i, 3: final, EPOCHS: final}, verdicts, audited=True, bracket=0)
        else:
            made.trial({1: final, 3: final, EPOCHS: final}, {3: "CONTINUE"}, audited=True, bracket=1)
    found = judged(made)
    assert [(r.epoch, r.n, r.tau, r.stopped) for r in found.rungs] == [(1, 9, -1.0, 6), (3, 27, 1.0, 6)]
    assert found.advice.startswith("Raise stopping.grace_epochs from 1 to 3")


# Shown


def test_arms_and_parts_without_audited_trials_are_left_out(tmp_path):
    made = study(tmp_path, reference="baseline")
    for arm, audited in (("search", True), ("search", False), ("baseline", False)):
        made.trial({1: 0.5, EPOCHS: 0.9}, {1: "CONTINUE"}, arm=arm, audited=audited)
    made.end()
    report = build(made.folder)
    assert {r.arm for r in report.audit.rungs} == {"search", "baseline"}
    rows = [row for table in audit_tables(report) for row in table.rows]
    assert rows == [("search", "1", "1", "-", "0", "0")]


def test_an_audit_that_nobody_came_through_yet_has_no_table(tmp_path):
    made = study(tmp_path)
    made.trial({1: 0.5}, {1: "AUDIT"}, state="RUNNING", audited=True)
    made.end("INTERRUPTED")
    assert "Early stopping audited" not in render(build(made.folder), Format.MARKDOWN)


def test_every_format_shows_the_audit(tmp_path):
    made = searched(tmp_path, trials=40)
    made.end()
    report = build(made.folder)
    assert json.loads(to_json(report))["audit"]["rungs"][0]["n"] == report.audit.rungs[0].n
    for form in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        text = render(report, form)
        assert "Early stopping audited" in text
        assert "tau-b" in text


def test_the_figure_marks_what_the_first_rung_would_have_ended(tmp_path):
    made = study(tmp_path)
    ranked(made, TRUE, spared=[0, 5], beta=lambda i: 0.1 * (i + 1))
    made.end()
    (panel,) = [p for p in panels(build(made.folder)) if p.key == "audit"]
    marks = {t.name: t for t in panel.figure.data if t.name}
    assert len(marks["goes on there"].x) == 7
    (ended,), (lost,) = marks["would be ended there"].marker.symbol, marks["of these, in the best 1/3"].marker.symbol
    assert (ended, lost) == ("circle-open", "circle")
    assert list(marks["of these, in the best 1/3"].y) == pytest.approx([99.0])
    assert panel.figure.layout.xaxis.title.text == "validation accuracy (%) at epoch 1"


def test_a_rule_that_compares_in_every_epoch_is_shown_at_a_few(tmp_path):
    made = study(tmp_path)
    made.stopping(name="median", grace_epochs=1, interval_epochs=1, min_trials=5, audit=1.0)
    for i in range(4):
        values = {epoch: (epoch + i) / 100 for epoch in range(1, EPOCHS + 1)}
        made.trial(values, dict.fromkeys(range(1, EPOCHS), "CONTINUE"), audited=True)
    made.end()
    report = build(made.folder)
    assert len(report.audit.rungs) == EPOCHS - 1
    text = render(report, Format.MARKDOWN)
    shown = [line for line in text.splitlines() if line.startswith("| search | ") and line.count("|") == 7]
    assert [int(line.split("|")[2]) for line in shown] == [1, 7, 13, 20, 26]
    (panel,) = [p for p in panels(report) if p.key == "survival"]
    assert len(panel.figure.data[0].x) == 10
