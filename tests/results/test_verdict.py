"""Who is a candidate, who is the best, and that headline, details and the best configuration agree."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from results.report import Format, build, render, render_best, render_status, render_statuses, status, statuses
from results.schema import StudyState
from results.statistics import Outcome
from tests.results.synthetic import Study

HIGH = [0.980, 0.978, 0.981, 0.979, 0.982]
LOW = [0.960, 0.963, 0.961, 0.959, 0.962]


def begun(tmp_path, trials=2, **options):
    study = Study(tmp_path, trials=trials, **options)
    study.begin()
    return study


def two_arms(tmp_path, **options):
    """t0001 is the best of the search, t0003 the best of the reference."""
    study = begun(tmp_path, **options)
    for arm, value in (("search", 0.98), ("search", 0.90), ("baseline", 0.97), ("baseline", 0.95)):
        study.explored(arm, value)
    return study


def ended(study):
    study.end()
    return build(study.folder)


def plain(text):
    return re.sub(r"\s+", " ", text.replace("&nbsp;", " ").replace("\\", ""))


# Who is a candidate


def test_the_report_does_not_wait_for_candidates_that_the_driver_dropped(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0002", "search", LOW[:2])
    study.extend(4)
    for arm, value in (("search", 0.985), ("search", 0.5), ("baseline", 0.6), ("baseline", 0.5)):
        study.explored(arm, value)
    for source, values in (("t0001", LOW), ("t0007", HIGH)):
        study.confirmed(source, "search", values)
    study.confirmed("t0003", "baseline", LOW)
    found = ended(study)
    assert found.state is StudyState.COMPLETED
    assert [c.trial for c in found.candidates] == ["t0007", "t0001", "t0003"]
    assert (found.best.trial, found.best.confirmed) == ("t0007", True)
    assert (found.progress.confirmed, found.progress.to_confirm) == (15, 15)
    assert [c.trial for c in found.earlier] == ["t0002"]
    assert any("t0002 (2 of 5 seeds) began in an earlier round" in n and "no longer" in n for n in found.notes)
    assert "2 of 5, earlier round" in render(found, Format.TABLE, width=200)
    assert found.test_openings == 2


def test_candidates_that_have_no_run_yet_are_waited_for(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH)
    study.confirmed("t0003", "baseline", LOW)
    found = ended(study)
    assert not found.best.confirmed
    assert (found.progress.confirmed, found.progress.to_confirm) == (10, 15)
    assert "10 of 15 runs" in found.verdict.details[0]


def test_nobody_is_a_candidate_before_the_search_has_ended(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH)
    study.extend(3)
    found = ended(study)
    assert found.candidates == ()
    assert found.progress.to_confirm == 0
    assert "4 of 6 trials ended" in found.verdict.details[0]
    assert any("t0001" in note and "until the search has ended" in note for note in found.notes)


def test_before_its_first_run_the_confirmation_has_not_begun(tmp_path):
    found = ended(two_arms(tmp_path))
    assert "none of 15 confirm runs" in found.verdict.details[0]


def test_among_equals_the_earlier_proposals_are_confirmed(tmp_path):
    study = begun(tmp_path, trials=4, reference=None)
    for _ in range(4):
        study.explored("search", 0.9)
    assert [c.trial for c in ended(study).candidates] == ["t0001", "t0002"]


def with_trials(study, **trials):
    """The study file says for every arm how many trials it has."""
    for arm, number in trials.items():
        study.document["arms"][arm]["trials"] = number
    (study.folder / "study.yaml").write_text(yaml.safe_dump(study.document, sort_keys=False), encoding="utf-8")


def test_a_refined_grid_may_need_fewer_trials_than_planned(tmp_path):
    study = two_arms(tmp_path)
    with_trials(study, search=9, baseline=2)
    study.writer.flush()
    assert build(study.folder).candidates == ()
    assert build(study.folder).progress.to_explore == 11
    study.confirmed("t0001", "search", HIGH)
    study.writer.flush()
    under_way = build(study.folder)
    assert {c.trial for c in under_way.candidates} == {"t0001", "t0002", "t0003"}
    assert (under_way.progress.explored, under_way.progress.to_explore) == (4, 4)
    assert {c.arm: c.planned for c in under_way.counts if c.stage == "explore"} == {"search": 2, "baseline": 2}


def test_a_completed_study_waits_for_no_trial(tmp_path):
    study = two_arms(tmp_path, confirm_seeds=0)
    with_trials(study, search=9, baseline=2)
    assert ended(study).progress.to_explore == 4


def test_after_an_amendment_the_trials_it_adds_are_waited_for(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH)
    study.extend(3)
    study.amendment = 2
    study.reopen("s0002")
    study.writer.flush()
    found = build(study.folder)
    assert found.candidates == ()
    assert (found.progress.explored, found.progress.to_explore) == (4, 6)


def test_a_trial_that_waits_at_a_rung_holds_the_confirmation_back(tmp_path):
    study = two_arms(tmp_path)
    study._state(study.propose("search"), "search", "explore", "PAUSED", attempt=1)
    found = ended(study)
    assert found.candidates == ()
    assert "4 of 5 trials ended, 1 waiting at a rung" in found.verdict.details[0]
    assert "paused" in render(found, Format.TABLE)


# Who is the best


def reference_leads(tmp_path, tested=None, reference_tested=None):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", [0.970, 0.971, 0.969, 0.972, 0.970], tested)
    study.confirmed("t0002", "search", LOW)
    study.confirmed("t0003", "baseline", HIGH, reference_tested)
    return ended(study)


def test_a_reference_that_leads_on_validation_is_the_best_configuration(tmp_path):
    found = reference_leads(tmp_path)
    assert (found.best.trial, found.best.arm, found.best.reference) == ("t0003", "baseline", True)
    assert found.best.retrain.endswith("train digits-beta t0003")
    assert (found.challenger.trial, found.reference.trial) == ("t0001", "t0003")
    assert found.comparison.outcome is found.verdict.outcome is Outcome.WORSE
    assert "(t0003 of the reference arm baseline). The best of the search" in found.verdict.headline
    assert "(t0001), is worse: test accuracy -" in found.verdict.headline
    assert found.verdict.details[0].startswith("The best configuration, that of the reference arm baseline: test")
    assert found.verdict.details[1].startswith("The best of the search: test")
    assert "best of the search minus reference: -" in found.verdict.details[2]
    document = json.loads(render_best(found, Format.JSON))
    assert (document["best"]["trial"], document["best"]["reference"]) == ("t0003", True)
    for form in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        assert "Best configuration: t0003 of the reference arm baseline" in plain(render(found, form))
    short = status(found.view.study_dir)
    assert "Best configuration: t0003 of the reference arm baseline" in plain(render_status(short, Format.TABLE))
    line = render_statuses(statuses(found.view.study_dir.parent), Format.TABLE, width=200)
    assert "of the reference arm baseline" in line


def test_a_challenger_behind_on_validation_is_not_better_whatever_test_says(tmp_path):
    found = reference_leads(tmp_path, tested=[0.99, 0.991, 0.989, 0.990, 0.992], reference_tested=LOW)
    assert found.comparison.outcome is Outcome.BETTER
    assert found.verdict.outcome is Outcome.NOT_SHOWN
    assert "is not better: it is behind on validation, though it is ahead on test, test acc" in found.verdict.headline
    assert (
        "of the search: not shown to differ, because it is ahead on test, but it is behind" in found.verdict.details[3]
    )


def test_a_challenger_behind_on_validation_is_not_shown_to_differ_where_test_shows_nothing(tmp_path):
    found = reference_leads(tmp_path, tested=LOW, reference_tested=LOW[::-1])
    assert found.verdict.outcome is Outcome.NOT_SHOWN
    assert "is not shown to differ: test accuracy" in found.verdict.headline


def test_a_best_that_is_worse_on_test_is_said_to_lead_on_validation_only(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH, LOW)
    study.confirmed("t0002", "search", LOW)
    study.confirmed("t0003", "baseline", LOW, HIGH)
    found = ended(study)
    assert (found.best.trial, found.verdict.outcome) == ("t0001", Outcome.WORSE)
    assert "leads on validation but is worse than the reference baseline on test" in found.verdict.headline


def test_equal_steps_on_all_seeds_show_nothing(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH, [v + 1 / 360 for v in LOW])
    study.confirmed("t0002", "search", LOW)
    study.confirmed("t0003", "baseline", LOW, LOW)
    found = ended(study)
    assert found.verdict.outcome is Outcome.NOT_SHOWN
    assert "is not shown to differ" in found.verdict.headline
    assert "+0.28 percentage points on each of 5 seeds" in found.verdict.headline
    assert "one and the same step" in found.verdict.details[3]
    for form in Format:
        assert render(found, form)


def test_while_nothing_is_confirmed_the_reference_may_be_the_best_so_far(tmp_path):
    study = begun(tmp_path)
    study.explored("search", 0.90)
    study.explored("baseline", 0.95)
    found = ended(study)
    assert (found.best.trial, found.best.reference) == ("t0002", True)
    assert "(t0002 of the reference arm baseline)" in found.verdict.headline


def test_a_candidate_without_all_seeds_ranks_behind_those_with_all(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", [*HIGH[:4], "FAILED"])
    study.confirmed("t0002", "search", [0.970, 0.971, 0.969, 0.972, 0.970])
    study.confirmed("t0003", "baseline", LOW)
    found = ended(study)
    assert [c.trial for c in found.candidates] == ["t0002", "t0003", "t0001"]
    assert found.best.trial == "t0002"
    assert any("t0001 failed on 1 of 5 confirm seeds and ranks behind" in note for note in found.notes)


def test_a_challenger_that_lost_a_seed_is_not_said_to_be_behind(tmp_path):
    study = begun(tmp_path, trials=1)
    study.confirmed(study.explored("search", 0.9), "search", [*HIGH[:4], "FAILED"])
    study.confirmed(study.explored("baseline", 0.9), "baseline", LOW)
    found = ended(study)
    assert found.best.reference
    assert "is not better: it was not measured on every confirm seed, though" in found.verdict.headline


def test_a_challenger_without_common_seeds_is_not_better(tmp_path):
    study = begun(tmp_path, trials=1)
    study.confirmed(study.explored("search", 0.9), "search", [0.9, "FAILED", "FAILED", "FAILED", "FAILED"])
    study.confirmed(study.explored("baseline", 0.9), "baseline", LOW)
    headline = ended(study).verdict.headline
    assert "is not better: it is behind on validation, and on test a comparison needs at least 2" in headline


def test_a_best_is_not_said_to_lead_a_reference_that_lost_a_seed(tmp_path):
    study = begun(tmp_path, trials=1)
    study.confirmed(study.explored("search", 0.9), "search", LOW)
    study.confirmed(study.explored("baseline", 0.9), "baseline", [*HIGH[:4], "FAILED"])
    found = ended(study)
    assert not found.best.reference
    assert "is worse than the reference baseline on test" in found.verdict.headline
    assert "leads" not in found.verdict.headline


# Nobody to compare with


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([*LOW[:4], "DIVERGED"], "t0003 of the reference arm baseline diverged on 1 of 5 confirm seeds."),
        (["FAILED"] * 5, "t0003 of the reference arm baseline failed on 5 of 5 confirm seeds."),
    ],
)
def test_a_reference_that_did_not_come_through_is_named_with_what_happened(tmp_path, values, words):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH)
    study.confirmed("t0002", "search", LOW)
    study.confirmed("t0003", "baseline", values)
    found = ended(study)
    assert found.best.trial == "t0001"
    assert found.verdict.outcome is Outcome.NOT_COMPARED
    assert found.verdict.headline.endswith(words)


def test_where_only_the_reference_came_through_it_is_the_best(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", [*HIGH[:4], "DIVERGED"])
    study.confirmed("t0002", "search", ["DIVERGED"] * 5)
    study.confirmed("t0003", "baseline", LOW)
    found = ended(study)
    assert (found.best.trial, found.best.reference) == ("t0003", True)
    assert found.verdict.headline.endswith(
        "t0001 diverged on 1 of 5 confirm seeds and t0002 diverged on 5 of 5 confirm seeds."
    )


@pytest.mark.parametrize(
    ("explored", "words"),
    [
        ([("search", 0.9)], "no trial of the reference arm baseline was trained to the end."),
        ([("baseline", 0.9)], "no trial of another arm was trained to the end."),
    ],
)
def test_an_arm_without_a_full_trial_is_named(tmp_path, explored, words):
    study = begun(tmp_path, trials=1)
    for arm, value in explored:
        source = study.explored(arm, value)
    other = "baseline" if arm == "search" else "search"
    study._final(study.propose(other), other, "explore", "DIVERGED", 1, None, "loss inf")
    study.confirmed(source, arm, LOW)
    assert ended(study).verdict.headline.endswith(words)


def test_a_study_of_the_reference_alone_has_nothing_to_compare(tmp_path):
    study = begun(tmp_path, trials=1, arms={"baseline": {}})
    study.confirmed(study.explored("baseline", 0.9), "baseline", LOW)
    assert ended(study).verdict.headline.endswith("compared with nothing: the study has no other arm.")


def test_where_everybody_diverged_no_winner_is_named(tmp_path):
    study = begun(tmp_path, trials=1, reference=None)
    study.confirmed(study.explored("search", 0.9), "search", ["DIVERGED"] * 5)
    found = ended(study)
    assert found.best is None
    assert "no candidate came through on every confirm seed" in found.verdict.headline


def hopeless(tmp_path, ends, **options):
    """A search in which no trial was trained to the end."""
    study = begun(tmp_path, trials=len(ends), reference=None, **options)
    for state, epochs, reason in ends:
        study._final(study.propose("search"), "search", "explore", state, epochs, None, reason)
    return ended(study)


def test_where_all_trials_diverged_it_is_said_where_and_what_to_change(tmp_path):
    ends = [("DIVERGED", epoch, f"train/loss 60.6 is above max_loss 5 at epoch {epoch}, step 1") for epoch in (2, 1, 3)]
    found = hopeless(tmp_path, ends)
    rates = [t.setting("optimizer.lr") for t in found.view.trials]
    said = " ".join(found.verdict.details)
    assert found.verdict.headline == "No trial was trained to the end, so there is no best configuration."
    assert said.startswith("3 diverged of 3 trials. They diverged in epoch 1 to 3, at loss.beta ")
    assert f"optimizer.lr {min(rates):.3g} to {max(rates):.3g}; the first, t0001: train/loss 60.6" in said
    assert "Lower the range of optimizer.lr, now log 0.001 .. 1.0, and submit the study file under another" in said
    assert "raise stopping.max_loss instead" in said
    for form in Format:
        assert render(found, form)


def test_where_no_trial_came_through_each_end_is_counted(tmp_path):
    ends = [("DIVERGED", 1, "train/loss is nan"), ("PRUNED", 3, "below the best third"), ("FAILED", 0, "out of memory")]
    said = " ".join(hopeless(tmp_path, ends).verdict.details)
    assert said.startswith("1 diverged, 1 stopped early and 1 failed of 3 trials. They diverged in epoch 1,")
    assert "max_loss" not in said


def test_before_the_search_has_ended_no_change_is_advised(tmp_path):
    study = begun(tmp_path, trials=9, reference=None)
    study._final(study.propose("search"), "search", "explore", "DIVERGED", 1, None, "train/loss is nan")
    study.end("INTERRUPTED", "SIGTERM")
    assert "Lower" not in " ".join(build(study.folder).verdict.details)


# Arms


def test_a_reference_in_which_nothing_varies_has_one_trial_and_is_fully_tuned(tmp_path):
    study = begun(tmp_path, trials=2, arms={"search": {}, "baseline": {"loss.beta": 1.0, "optimizer.lr": 0.1}})
    for arm, value in (("search", 0.98), ("search", 0.90), ("baseline", 0.97)):
        study.explored(arm, value)
    study.confirmed("t0001", "search", HIGH)
    study.confirmed("t0002", "search", LOW)
    study.confirmed("t0003", "baseline", LOW)
    found = ended(study)
    assert (found.progress.explored, found.progress.to_explore) == (3, 3)
    assert {(c.stage, c.arm): c.planned for c in found.counts}["explore", "baseline"] == 1
    assert found.verdict.outcome is Outcome.BETTER
    assert not any("had 1 trial" in note for note in found.notes)


def test_a_reference_with_fewer_trials_of_its_own_names_no_winner(tmp_path):
    study = begun(tmp_path, trials=1)
    with_trials(study, search=3, baseline=1)
    for arm, value in (("search", 0.98), ("search", 0.90), ("search", 0.91), ("baseline", 0.97)):
        study.explored(arm, value)
    study.confirmed("t0001", "search", HIGH)
    study.confirmed("t0003", "search", LOW)
    study.confirmed("t0004", "baseline", LOW)
    found = ended(study)
    assert (found.progress.explored, found.progress.to_explore) == (4, 4)
    assert found.verdict.outcome is Outcome.NOT_COMPARED
    assert found.verdict.headline.startswith("No winner is named: the reference had 1 trial and the candidate's arm 3")
    assert any("The reference arm baseline had 1 trial and search had 3" in note for note in found.notes)


@pytest.mark.parametrize(("hot", "words"), [(HIGH, "is better than"), (LOW, "The best of the arm hot, ")])
def test_with_three_arms_that_of_the_best_candidate_is_named(tmp_path, hot, words):
    study = begun(tmp_path, trials=1, arms={"cold": {}, "hot": {}, "baseline": {"loss.beta": 1.0}})
    for arm in ("cold", "hot", "baseline"):
        study.explored(arm, 0.9)
    study.confirmed("t0001", "cold", [v - 0.1 for v in LOW])
    study.confirmed("t0002", "hot", hot)
    study.confirmed("t0003", "baseline", [v + 0.001 for v in reversed(LOW)])
    found = ended(study)
    assert ("(t0002 of the arm hot)" if hot is HIGH else "The best of the arm hot, beta") in found.verdict.headline
    assert found.verdict.headline.count("arm hot") == 1
    assert words in found.verdict.headline
    assert "search" not in found.verdict.headline
    assert found.best.reference == (hot is LOW)


def test_the_table_says_what_its_intervals_leave_out(tmp_path):
    study = two_arms(tmp_path)
    study.confirmed("t0001", "search", HIGH)
    text = plain(render(ended(study), Format.MARKDOWN))
    assert "over seeds only, on one fixed test set" in text
    assert "The reference arm sends its best trial to the confirmation, every other arm 2." in text
