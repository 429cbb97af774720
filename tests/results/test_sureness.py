"""How sure the choice is: luck of the search, other draws of the seeds, several candidates, seeds still needed."""

from __future__ import annotations

import json
import re

import pytest
from scipy import stats

from results.report import Format, build, render, to_json
from results.statistics import Outcome, may_be_best
from search.amending import AMENDABLE
from tests.results.synthetic import Study, finished

HIGH = [0.980, 0.978, 0.981, 0.979, 0.982]
LOW = [0.960, 0.963, 0.961, 0.959, 0.962]


def studied(tmp_path, first, second, reference, *, tested=(None, None, None), promised=0.98, state="COMPLETED"):
    """Two candidates of the search, t0001 and t0002, against the reference t0003: validation, and test if given."""
    study = Study(tmp_path, trials=2, confirm_seeds=len(first))
    study.begin()
    for arm, value in (("search", promised), ("search", 0.9), ("baseline", 0.97), ("baseline", 0.5)):
        study.explored(arm, value)
    study.confirmed("t0001", "search", first, tested[0])
    study.confirmed("t0002", "search", second, tested[1])
    study.confirmed("t0003", "baseline", reference, tested[2])
    study.end(state)
    return build(study.folder)


def said(report):
    return " ".join(report.verdict.details)


def plain(text):
    return re.sub(r"\s+", " ", text.replace("\\", ""))


# What the search had promised


@pytest.mark.parametrize(
    ("promised", "words"),
    [
        (
            0.99,
            "promised validation accuracy 99.00 % for t0001, and 5 fresh seeds gave 98.00 %: more apart than seeds "
            "vary, so the search was lucky with it.",
        ),
        (0.9801, "5 fresh seeds gave 98.00 %: no more apart than seeds vary."),
        (0.983, "5 fresh seeds gave 98.00 %: no more apart than seeds vary."),
        (0.97, "5 fresh seeds gave 98.00 %: more apart than seeds vary, and better than promised."),
    ],
)
def test_what_the_search_had_promised_is_set_beside_fresh_seeds(tmp_path, promised, words):
    report = studied(tmp_path, HIGH, LOW, LOW, promised=promised)
    assert words in said(report)
    assert ("lucky" in said(report)) == (promised == 0.99)


@pytest.mark.parametrize("fresh", [[0.98], [0.98, 0.98, 0.98]])
def test_without_a_spread_over_seeds_nothing_is_said_of_luck(tmp_path, fresh):
    report = studied(tmp_path, fresh, LOW[: len(fresh)], LOW[: len(fresh)], promised=0.99)
    assert "these seeds do not show how much seeds vary, so nobody knows whether it was luck." in said(report)
    assert "[98.00" not in render(report, Format.MARKDOWN)
    for form in Format:
        assert render(report, form)


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss"])
def test_luck_is_what_looked_better_in_the_search_whichever_way_is_better(tmp_path, metric):
    report = build(finished(tmp_path, trials=12, metric=metric))
    assert len(report.standings) == len(report.candidates) == 3
    sign = 1 if metric == "val/accuracy" else -1
    for candidate, standing in zip(report.candidates, report.standings, strict=True):
        assert standing.trial == candidate.trial
        fresh = list(candidate.validation_by_seed.values())
        interval = stats.ttest_1samp([sign * (candidate.explored - v) for v in fresh], 0).confidence_interval()
        luck = standing.optimism
        wider = 6**0.5  # the one value of the search scatters as each of the 5 fresh ones does
        assert luck.mean == pytest.approx(sign * (candidate.explored - sum(fresh) / 5))
        expected = [luck.mean + wider * (end - luck.mean) for end in interval]
        assert [luck.low, luck.high] == pytest.approx(expected)


# Other draws of the seeds


def test_how_often_other_draws_lead_to_the_same_choice_is_said_with_its_limits(tmp_path):
    near = [0.981, 0.977, 0.980, 0.980, 0.980]
    report = studied(tmp_path, HIGH, near, LOW)
    shares = {s.trial: s.first_share for s in report.standings}
    assert sum(shares.values()) == pytest.approx(1)
    assert 0.5 < shares["t0001"] < 1
    assert shares["t0003"] == 0
    assert f"t0001 comes first on validation in {100 * shares['t0001']:.0f} % of the draws, t0002 in" in said(report)
    assert "t0003 in 0 %; 5 seeds are few, so take it for a hint." in said(report)


def test_with_ten_seeds_it_is_no_mere_hint(tmp_path):
    assert "take it for a hint" not in said(studied(tmp_path, HIGH * 2, LOW * 2, LOW * 2))


# Who may be the best on test


def test_candidates_that_cannot_be_told_apart_on_test_are_named(tmp_path):
    near = [v + d for v, d in zip(HIGH, (0.001, -0.001, 0.0, 0.001, -0.001), strict=True)]
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(HIGH, near, LOW))
    assert {s.trial: s.may_be_best for s in report.standings} == {"t0001": True, "t0002": True, "t0003": False}
    assert "On test any of t0001 and t0002 may be the best: t0003 is shown to be worse" in said(report)
    assert "new test set" not in said(report)


def test_where_nobody_is_shown_to_be_better_all_may_be_the_best(tmp_path):
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(LOW, LOW[::-1], [*LOW[2:], *LOW[:2]]))
    assert "On test no candidate is shown to be better than another" in said(report)
    assert "all 3 (t0001, t0002 and t0003)" in said(report)


def test_a_choice_that_is_worse_on_test_stays_the_choice_and_is_said_to_be_worse(tmp_path):
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(LOW, LOW, HIGH))
    assert report.best.trial == "t0001"
    assert "On test t0003 alone may be the best: t0001 and t0002 are shown to be worse" in said(report)
    assert "t0001 was chosen on validation and stays the choice: choosing by test would need a new test" in said(report)


# Several candidates


def test_a_winner_picked_among_several_needs_more_than_its_own_interval(tmp_path):
    reference = [0.950, 0.952, 0.948, 0.951, 0.949]
    ahead = [0.956, 0.953, 0.953, 0.953, 0.9505]
    level = [0.950, 0.951, 0.949, 0.952, 0.948]
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(ahead, level, reference))
    raw = stats.ttest_rel(ahead, reference).pvalue
    assert report.comparison.difference.p == pytest.approx(raw)
    assert report.comparison.p_corrected == pytest.approx(2 * raw)
    assert report.comparison.difference.low > 0
    assert report.verdict.outcome is Outcome.NOT_SHOWN
    assert "is not shown to differ from the reference baseline" in report.verdict.headline
    assert f"p = {raw:.2g}; p = {2 * raw:.2g} after Holm's correction for 2 candidates on the same seeds" in said(
        report
    )
    assert f"because p = {2 * raw:.2g} after correction for 2 candidates" in said(report)
    assert report.verdict.headline.endswith(
        f"over 5 seeds (taken alone), p = {2 * raw:.2g} corrected for 2 candidates."
    )


STEPS = [0.0060, 0.0045, 0.0031, 0.0017, 0.0002]  # p = 0.04: enough for Holm's second step, not for Bonferroni


@pytest.mark.parametrize(("sign", "outcome", "left"), [(-1, Outcome.WORSE, "t0003"), (1, Outcome.BETTER, "t0001")])
def test_who_is_called_worse_than_another_in_the_verdict_is_not_perhaps_the_best(tmp_path, sign, outcome, left):
    reference = LOW
    near = [v + sign * step for v, step in zip(reference, STEPS, strict=True)]
    far = [v - 0.04 for v in reversed(reference)]
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(near, far, reference))
    by_pairs = may_be_best({c.trial: c.test_by_seed for c in report.candidates}, "max")
    assert by_pairs == {"t0001", "t0003"}
    assert report.verdict.outcome is outcome
    assert {s.trial for s in report.standings if s.may_be_best} == {left}
    assert f"On test {left} alone may be the best" in said(report)


def test_a_candidate_that_diverged_is_in_no_comparison(tmp_path):
    report = studied(tmp_path, HIGH, [*LOW[:4], "DIVERGED"], LOW)
    out = next(s for s in report.standings if s.trial == "t0002")
    assert (out.comparison, out.first_share, out.may_be_best) == (None, None, None)
    assert report.comparison.compared == 1
    assert "Holm" not in said(report)
    low, high = stats.binomtest(1, 5).proportion_ci(method="wilson")
    assert any(f"anything from {100 * low:.0f} to {100 * high:.0f} % (95 % Wilson" in note for note in report.notes)


def test_before_all_is_confirmed_nothing_of_this_is_said(tmp_path):
    study = Study(tmp_path, trials=1)
    study.begin()
    study.explored("search", 0.98)
    study.explored("baseline", 0.97)
    study.confirmed("t0001", "search", HIGH)
    study.end("INTERRUPTED", "Ctrl-C")
    report = build(study.folder)
    assert (report.standings, report.seeds_needed) == ((), None)
    assert "How sure that is" not in render(report, Format.MARKDOWN)


# Seeds still needed

CLOSE = [0.965, 0.963, 0.966, 0.958, 0.964]


def test_seeds_that_would_decide_are_said_with_the_command_and_its_cost(tmp_path):
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(CLOSE, LOW, LOW))
    assert report.verdict.outcome is Outcome.NOT_SHOWN
    needed = report.seeds_needed
    assert 5 < needed.as_it_is < needed.likely <= 100
    assert f"{needed.as_it_is} confirm seeds would show it in about one case of two, and {needed.likely} in" in said(
        report
    )
    step = next(s for s in report.steps if "decide" in s.purpose)
    assert step.command == f"thermotune resume digits-beta --set seeds.confirm={needed.likely}"
    assert f"({3 * (needed.likely - 5)} runs, about" in step.purpose
    assert "second look at the test split" in step.purpose
    assert "seeds.confirm" in AMENDABLE


def test_one_number_of_seeds_is_said_where_both_are_the_same(tmp_path):
    one, other = [0.83, 0.96], [0.11, 0.12]
    report = studied(tmp_path, HIGH[:2], LOW[:2], LOW[:2], tested=(one, other, other[::-1]))
    assert report.seeds_needed.as_it_is == report.seeds_needed.likely
    needed = report.seeds_needed.likely
    assert f"seem to be, {needed} confirm seeds would show it in 80 % of cases." in said(report)
    assert "one case of two" not in said(report)
    assert any("Two confirm seeds bound next to nothing" in note for note in report.notes)


def test_a_difference_too_small_to_chase_is_said_to_be_not_worth_it(tmp_path):
    shuffled = [LOW[i] for i in (1, 2, 3, 4, 0)]
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(shuffled, LOW, LOW))
    assert report.seeds_needed.likely is None
    assert "more than 100 confirm seeds: not worth it." in said(report)
    assert not any("decide" in s.purpose for s in report.steps)


def test_where_the_question_is_decided_or_the_study_goes_on_no_seeds_are_asked_for(tmp_path):
    decided = studied(tmp_path / "a", HIGH, LOW, LOW)
    assert decided.verdict.outcome is Outcome.BETTER
    stopped = studied(tmp_path / "b", HIGH, LOW, LOW, tested=(CLOSE, LOW, LOW), state="INTERRUPTED")
    assert decided.seeds_needed is None
    for report in (decided, stopped):
        assert not any("decide" in s.purpose for s in report.steps)


# In the formats


def test_the_table_has_a_row_a_candidate_that_fits_a_terminal(tmp_path):
    report = studied(tmp_path, HIGH, LOW, LOW)
    text = render(report, Format.TABLE, width=80)
    lines = text[text.index("How sure that is") : text.index("Top ten")].splitlines()
    rows = {line.split()[0]: line for line in reversed(lines) if re.match(r" t000\d ", line)}
    assert "the reference" in rows["t0003"]
    assert re.search(
        r" \+0\.00 \[-0\.48, \+0\.48\] .* 100 % .* \+1\.90 \[\+1.*, \+2.*\]   < 0.001   maybe$", rows["t0001"]
    )
    assert rows["t0002"].endswith("no")
    assert "| t0001 | +0.00 [" in plain(render(report, Format.MARKDOWN))


def test_of_a_single_candidate_the_table_says_only_what_the_search_had_promised(tmp_path):
    study = Study(tmp_path, trials=1, reference=None, path="loss.beta")
    study.begin()
    study.confirmed(study.explored("search", 0.99), "search", HIGH)
    study.end()
    text = render(build(study.folder), Format.MARKDOWN)
    assert "| trial | luck |\n| --- | ---: |\n| t0001 | +1.00" in text
    assert "Leads:" not in text
    assert "On test" not in text


def test_json_has_everything_unrounded(tmp_path):
    report = studied(tmp_path, HIGH, LOW, LOW, tested=(CLOSE, LOW, LOW))
    document = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(name))
    first = document["standings"][0]
    assert first["comparison"]["p_corrected"] == report.comparison.p_corrected
    assert first["optimism"]["n"] == 5
    assert document["seeds_needed"] == {"as_it_is": report.seeds_needed.as_it_is, "likely": report.seeds_needed.likely}
    assert document["best"]["recipe"]["loss"]["beta"] == report.best.settings["loss.beta"]


def test_json_has_the_ends_of_an_interval_as_computed_and_texts_cut_off_what_is_impossible(tmp_path):
    report = studied(tmp_path, HIGH[:2], LOW[:2], LOW[:2], tested=([0.83, 0.96], LOW[:2], LOW[1::-1]))
    test = json.loads(to_json(report))["candidates"][0]["test"]
    assert (test["low"], test["high"]) == (report.candidates[0].test.low, report.candidates[0].test.high)
    assert test["high"] > 1
    assert "89.50 % [6.91, 100.00], n = 2" in said(report)
