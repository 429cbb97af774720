"""Timescales of early learning: predicted against measured, and what to do where there are none."""

from __future__ import annotations

import json
import re

import pytest
from scipy import stats

from results.errors import ResultsError
from results.query import StudyView
from results.report import Format, build, render, render_theory, theory
from results.report.theory import rank_correlation
from results.schema import EpochRow, TrialRow
from tests.results.synthetic import Study, finished
from tests.results.synthetic_papers import Timed


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    study = Timed(tmp_path_factory.mktemp("timed"), trials=8)
    study.begin()
    study.explore()
    study.confirm()
    study.end()
    return study.folder


@pytest.fixture(scope="module")
def found(done):
    return theory(done, command="thermotune --root runs")


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path)
    made.begin()
    return made


def timed(study, beta=1.0, lr=0.1, *, norm=0.01, diagnostics=None, later=None, **metrics):
    """A trial of the search with these metrics in its first epoch, and others in its second."""
    study.count += 1
    trial = f"t{study.count:04d}"
    kind = {"trial": trial, "arm": "search", "stage": "explore"}
    recipe = {"loss": {"name": "tempered", "beta": beta}, "optimizer": {"lr": lr}, "diagnostics": diagnostics or {}}
    study.writer.append(
        TrialRow(**study.common, **kind, number=0, state="PENDING", attempt=0, recipe=json.dumps(recipe), seeds="[0]")
    )
    first = {"probe/logit_norm_start": norm} if norm is not None else {}
    first |= {f"theory/{name}": value for name, value in metrics.items()}
    for epoch, values in ((1, first), (2, {f"theory/{n}": v for n, v in (later or {}).items()})):
        study.writer.append(
            EpochRow(
                **study.common,
                **kind,
                lane=0,
                seed=0,
                epoch=epoch,
                attempt=1,
                attempt_start=0,
                epoch_time_s=1.0,
                metrics={"val/accuracy": 0.5, **values},
            )
        )
    return trial


def ask(study):
    study.writer.flush()
    return theory(study.folder)


def test_a_trial_is_a_row_with_predictions_and_what_came(study):
    timed(study, 0.5, 0.2, eta_tilde=0.05, tau_z=0.4, tau_nl=8.0, later={"tau_z_measured": 0.5})
    (row,) = ask(study).rows
    assert (row.beta, row.lr, row.eta_tilde, row.logit_norm) == (0.5, 0.2, 0.05, 0.01)
    assert (row.tau_z.predicted, row.tau_z.measured, row.tau_z.ratio) == pytest.approx((0.4, 0.5, 1.25))
    assert (row.tau_z.predicted_steps, row.tau_z.measured_steps) == pytest.approx((2.0, 2.5))
    assert (row.tau_nl.predicted, row.tau_nl.measured, row.tau_nl.ratio) == (8.0, None, None)


def test_trials_that_recorded_nothing_are_no_rows(study):
    timed(study, norm=None)
    timed(study, eta_tilde=0.1, tau_z=0.4)
    assert [r.trial for r in ask(study).rows] == ["t0002"]


def test_a_loss_without_beta_has_one(tmp_path):
    study = Study(tmp_path, path="loss.alpha")
    study.begin()
    trial = study.propose("search")
    kind = {"trial": trial, "arm": "search", "stage": "explore", "lane": 0, "seed": 0}
    study.writer.append(
        EpochRow(
            **study.common, **kind, epoch=1, attempt=1, attempt_start=0, epoch_time_s=1.0, metrics={"theory/tau_z": 2.0}
        )
    )
    (row,) = ask(study).rows
    assert row.beta == 1


def test_a_prediction_of_nothing_has_no_ratio(study):
    timed(study, tau_z=0.0, tau_z_measured=0.1)
    report = ask(study)
    assert report.rows[0].tau_z.ratio is None
    assert report.agreements == ()


def test_agreement_is_median_range_and_rank_correlation(found):
    for scale in found.agreements:
        pairs = [(s.predicted, s.measured) for r in found.rows for s in r.scales if s.name == scale.name and s.measured]
        ratios = [m / p for p, m in pairs]
        assert (scale.low, scale.high) == pytest.approx((min(ratios), max(ratios)))
        assert scale.median == pytest.approx(sorted(ratios)[len(ratios) // 2], rel=0.3)
        assert scale.rank_correlation == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
        assert (scale.n, scale.of) == (len(pairs), len(found.rows))
    assert [a.name for a in found.agreements] == ["tau_z", "tau_nl"]


@pytest.mark.parametrize(("trials", "given"), [(4, False), (5, True)])
def test_a_rank_correlation_needs_five_trials(study, trials, given):
    for i in range(trials):
        timed(study, tau_z=1.0 + i, tau_z_measured=2.0 + i)
    (agreement,) = ask(study).agreements
    assert (agreement.rank_correlation is not None) is given


def test_equal_values_share_their_rank():
    pairs = [(1.0, 2.0), (1.0, 3.0), (2.0, 2.0), (5.0, 9.0), (4.0, 9.0)]
    assert rank_correlation(pairs) == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    assert rank_correlation([(1.0, 2.0), (1.0, 3.0)]) is None


def test_predictions_freed_of_beta_and_norm_are_the_same(found):
    assert [i.quantity for i in found.invariances] == ["beta^2 * tau_z / ||Z0||", "beta * tau_nl"]
    for invariance in found.invariances:
        assert invariance.spread == pytest.approx(1)
        assert invariance.n == 16
        assert "up to 0.1" in invariance.among


def test_large_norms_are_compared_among_their_like_only(study):
    for beta, norm, tau_nl in ((1.0, 0.05, 0.6), (2.0, 0.1, 0.3), (1.0, 20.0, 0.4), (4.0, 25.0, 0.11), (2.0, 90.0, 9)):
        timed(study, beta, norm=norm, tau_z=norm / beta**2, tau_nl=tau_nl)
    found = [(i.quantity, i.n, round(i.spread, 3)) for i in ask(study).invariances]
    assert found == [("beta^2 * tau_z / ||Z0||", 2, 1.0), ("beta * tau_nl", 2, 1.0), ("beta * tau_nl", 2, 1.1)]


def test_one_beta_shows_no_invariance(study):
    timed(study, tau_z=0.1, tau_nl=1.0)
    timed(study, lr=0.2, tau_z=0.1, tau_nl=1.0)
    assert ask(study).invariances == ()


def test_the_summary_says_it_in_words(found):
    words = " ".join(found.summary)
    assert "tau_z: measured / predicted has the median" in words
    assert f"of {len(found.rows)} trials (in the others training ended before); rank correlation" in words
    assert "theory says 1" in words


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_shows_both_timescales_and_fits(found, width):
    text = render_theory(found, Format.TABLE, width=width)
    assert "tau_z: until the logits have changed by their norm" in text
    assert "tau_nl: until the tangent kernel has changed by its norm" in text
    assert "thermotune --root runs report digits-theory --open" in text
    assert all(len(line) <= width for line in text.splitlines() if "--format" not in line)
    assert "\x1b" in render_theory(found, Format.TABLE, color=True)


def test_markdown_and_json_hold_every_row(found):
    document = json.loads(render_theory(found, Format.JSON))
    assert [r["trial"] for r in document["rows"]] == [r.trial for r in found.rows]
    assert document["rows"][0]["tau_z"]["ratio"] == pytest.approx(found.rows[0].tau_z.ratio)
    assert document["agreements"][0]["n"] == found.agreements[0].n
    text = render_theory(found, Format.MARKDOWN)
    assert len(re.findall(r"^\| t\d+ ", text, re.MULTILINE)) == 2 * len(found.rows)


def test_timescales_are_no_page(found):
    with pytest.raises(ResultsError, match="table, json or markdown"):
        render_theory(found, Format.HTML)


def test_where_nothing_was_recorded_it_says_what_to_do(tmp_path):
    report = theory(finished(tmp_path, trials=3))
    assert report.rows == ()
    for form in (Format.TABLE, Format.MARKDOWN, Format.JSON):
        assert "Set recipe.diagnostics.theory: true" in render_theory(report, form, width=200)


def test_with_another_optimizer_there_are_norms_but_no_timescales(study):
    timed(study)
    report = ask(study)
    assert report.rows == ()
    assert "optimizer.name: sgd" in report.summary[0]


def test_before_the_first_epoch_it_says_to_wait(study):
    timed(study, norm=None, diagnostics={"theory": True})
    assert "Look again later" in ask(study).summary[0]


def test_the_page_shows_predicted_against_measured(done, tmp_path):
    assert 'id="plot-theory"' in render(build(done), Format.HTML)
    assert 'id="plot-theory"' not in render(build(finished(tmp_path, trials=3)), Format.HTML)


def test_a_study_that_has_not_begun_is_no_error(tmp_path):
    study = Study(tmp_path)
    study.writer.close()
    assert theory(study.folder).rows == ()
    assert not StudyView(study.folder).trials
