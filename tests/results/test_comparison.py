"""Studies side by side: who is better is said only as far as common seeds, equal data and equal tuning carry."""

from __future__ import annotations

import json

import pytest
import yaml
from scipy import stats

from results.errors import ResultsError, StudyNotFound
from results.report import Format, compare_studies, render_comparison
from results.statistics import Outcome
from tests.results.synthetic import Study

LOW = [0.900, 0.905, 0.910, 0.902, 0.908]
HIGH = [0.930, 0.934, 0.941, 0.931, 0.939]


def made(root, name, tested, trials=1, *, data=None, **options):
    """A completed study of one arm, with these test accuracies on the confirm seeds."""
    study = Study(root, name=name, trials=trials, reference=None, confirm_seeds=len(tested), **options)
    if data is not None:
        (study.folder / "environment.json").write_text(json.dumps({"data": data}))
    study.begin()
    best, *others = [study.explored("search", 0.95 - 0.001 * i) for i in range(trials)]
    study.confirmed(best, "search", [v + 0.01 for v in tested], tested)
    for other in others:
        study.confirmed(other, "search", [v - 0.1 for v in tested], tested)
    study.end()
    return study.folder


def digits(digest="abc"):
    return {"name": "digits", "digest": digest, "classes": 10, "sizes": {"train": 1000, "val": 300, "test": 400}}


def rewrite(folder, **changes):
    document = yaml.safe_load((folder / "study.yaml").read_text())
    for path, value in changes.items():
        *groups, leaf = path.split("__")
        inner = document
        for group in groups:
            inner = inner[group]
        inner[leaf] = value
    (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def test_a_difference_is_paired_over_the_common_seeds(tmp_path):
    dirs = [made(tmp_path, "low", LOW, data=digits()), made(tmp_path, "high", HIGH, data=digits())]
    (found,) = compare_studies(dirs).differences
    expected = stats.ttest_rel(HIGH, LOW)
    interval = expected.confidence_interval()
    assert (found.study, found.first, found.outcome) == ("high", "low", Outcome.BETTER)
    assert found.difference.n == 5
    assert found.difference.mean == pytest.approx(sum(HIGH) / 5 - sum(LOW) / 5)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.p_corrected == found.difference.p == pytest.approx(expected.pvalue)
    assert found.cautions == ()
    text = render_comparison(compare_studies(dirs), Format.TABLE, width=200)
    assert text.startswith("high is better than low: test accuracy +3.00 percentage points, 95 % interval")
    assert "after correction" not in text


def test_only_seeds_that_both_have_are_paired(tmp_path):
    dirs = [made(tmp_path, "low", LOW[:3]), made(tmp_path, "high", HIGH)]
    (found,) = compare_studies(dirs).differences
    assert found.difference.n == 3


def test_several_differences_are_corrected(tmp_path):
    near = [a + b for a, b in zip(LOW, [0.010, 0.001, 0.012, 0.003, 0.009], strict=True)]
    dirs = [made(tmp_path, name, tested) for name, tested in (("low", LOW), ("near", near), ("high", HIGH))]
    close, far = compare_studies(dirs).differences
    assert close.difference.p == pytest.approx(stats.ttest_rel(near, LOW).pvalue)
    assert close.p_corrected == pytest.approx(max(close.difference.p, 2 * far.difference.p))
    assert far.p_corrected == pytest.approx(2 * far.difference.p)
    assert far.outcome is Outcome.BETTER
    worse = compare_studies(dirs[::-1]).differences
    assert [(d.study, d.first) for d in worse] == [("near", "high"), ("low", "high")]
    assert {d.outcome for d in worse} == {Outcome.WORSE}
    assert "after correction for 2 differences" in render_comparison(compare_studies(dirs), Format.MARKDOWN)


def test_the_correction_can_take_a_difference_away(tmp_path):
    near = [a + b for a, b in zip(LOW, [0.010, 0.002, 0.012, 0.001, 0.007], strict=True)]
    also = [a + b for a, b in zip(LOW, [0.001, 0.012, 0.002, 0.010, 0.007], strict=True)]
    alone = compare_studies([made(tmp_path, "low", LOW), made(tmp_path, "near", near)]).differences[0]
    assert 0.025 < alone.difference.p < 0.05
    assert alone.outcome is Outcome.BETTER
    dirs = [tmp_path / "low", tmp_path / "near", made(tmp_path, "also", also)]
    assert [d.outcome for d in compare_studies(dirs).differences] == [Outcome.NOT_SHOWN] * 2


def test_a_study_that_was_tuned_less_loses_to_nobody(tmp_path):
    """Neither as the first study nor as another one; a study in which nothing varies is tuned as well as can be."""
    dirs = [made(tmp_path, "low", LOW, trials=1), made(tmp_path, "high", HIGH, trials=3)]
    for order in (dirs, dirs[::-1]):
        (found,) = compare_studies(order).differences
        assert found.outcome is Outcome.NOT_COMPARED
        assert "low was not tuned as well as high: 1 trials" in found.reason
    assert render_comparison(compare_studies(dirs), Format.TABLE, width=300).startswith("No winner is named between")
    rewrite(dirs[0], arms={"search": {"set": {}, "varies": []}})
    assert compare_studies(dirs).differences[0].outcome is Outcome.BETTER


def test_equal_steps_on_all_seeds_show_nothing(tmp_path):
    dirs = [made(tmp_path, "low", LOW), made(tmp_path, "step", [v + 0.01 for v in LOW])]
    (found,) = compare_studies(dirs).differences
    assert (found.outcome, found.p_corrected) == (Outcome.NOT_SHOWN, None)
    assert "says nothing about their spread" in found.reason
    assert "no p value" in render_comparison(compare_studies(dirs), Format.TABLE)


def test_different_data_do_not_compare(tmp_path):
    first = made(tmp_path, "low", LOW, data=digits())
    other = made(tmp_path, "other", HIGH, data={**digits(), "name": "cifar10"})
    newer = made(tmp_path, "newer", HIGH, data=digits("def"))
    by_data, by_digest = compare_studies([first, other, newer]).differences
    assert by_data.reason == "they are trained on different data, cifar10 and digits"
    assert by_digest.reason == "they are trained on different versions of digits"
    for found in (by_data, by_digest):
        assert (found.outcome, found.difference, found.p_corrected) == (Outcome.NOT_COMPARED, None, None)
    text = render_comparison(compare_studies([first, other]), Format.TABLE, width=200)
    assert text.startswith("other and low are not compared: they are trained on different data, cifar10 and digits.")
    assert "Against low" not in text


def test_different_metrics_do_not_compare(tmp_path):
    dirs = [made(tmp_path, "low", LOW), made(tmp_path, "loss", HIGH, metric="val/loss")]
    (found,) = compare_studies(dirs).differences
    assert found.difference is None
    assert "test/loss and test/accuracy" in found.reason


@pytest.mark.parametrize(("common", "words"), [(0, "no confirm seed in common"), (1, "only one confirm seed")])
def test_without_common_seeds_nothing_is_compared(tmp_path, common, words):
    first = made(tmp_path, "low", LOW[:2])
    study = Study(tmp_path, name="high", trials=1, reference=None, confirm_seeds=2)
    study.begin()
    source = study.explored("search", 0.95)
    study.confirmed(source, "search", ["FAILED"] * (2 - common) + HIGH[:2])
    study.end()
    (found,) = compare_studies([first, study.folder]).differences
    assert found.difference is None
    assert words in found.reason
    assert "studies of the same search.seed have the same confirm seeds (high has 0, low 0)" in found.reason


def test_other_lengths_and_unknown_data_are_cautions(tmp_path):
    dirs = [made(tmp_path, "low", LOW, data=digits()), made(tmp_path, "high", HIGH)]
    rewrite(dirs[1], recipe__epochs=9)
    (found,) = compare_studies(dirs).differences
    assert found.outcome is Outcome.BETTER
    length, data = found.cautions
    assert length.startswith("Trials have 9 epochs in high and 27 in low")
    assert data == "Whether digits is the very same in both is not on record for high."
    assert length in render_comparison(compare_studies(dirs), Format.TABLE, width=300)


def test_recipes_that_differ_beside_the_search_are_said(tmp_path):
    dirs = [made(tmp_path, "low", LOW, data=digits()), made(tmp_path, "few", HIGH, data=digits())]
    common = {"recipe__model": "mlp", "recipe__train_samples": None, "recipe__image_size": None}
    rewrite(dirs[0], **common, recipe__batch_size=64, recipe__members=1)
    rewrite(dirs[1], **common | {"recipe__train_samples": 100}, recipe__batch_size=128)
    found = compare_studies(dirs)
    assert {d.path: dict(d.values) for d in found.recipe} == {
        "train_samples": {"low": None, "few": 100},
        "batch_size": {"low": 64, "few": 128},
    }  # not members, which the other file does not know
    (difference,) = found.differences
    assert difference.outcome is Outcome.BETTER
    data, others = difference.cautions
    assert data.startswith("Networks learn from 100 training samples in few and all in low")
    assert others.startswith("Beside what is searched, few and low differ in batch_size:")
    text = render_comparison(found, Format.MARKDOWN)
    assert "Recipes that differ" in text
    assert r"| batch\_size | 64 | 128 |" in text
    assert json.loads(render_comparison(found, Format.JSON))["recipe"][0]["path"] == "train_samples"
    rewrite(dirs[1], recipe__image_size=32, recipe__batch_size=64, recipe__train_samples=None)
    (size,) = compare_studies(dirs).differences[0].cautions
    assert size.startswith("Networks see images of 32 pixels in few and of the size in the data set in low")


def test_what_is_searched_or_set_in_an_arm_is_no_difference_of_recipes(tmp_path):
    dirs = [made(tmp_path, "low", LOW, data=digits()), made(tmp_path, "high", HIGH, data=digits())]
    rewrite(dirs[0], recipe__loss__beta=1.0, recipe__optimizer={"lr": 0.1, "momentum": 0.9})
    arms = {"search": {"set": {"optimizer.momentum": 0.5}}}
    rewrite(dirs[1], recipe__loss__beta=2.0, recipe__optimizer={"lr": 0.2, "momentum": 0.5}, arms=arms)
    found = compare_studies(dirs)
    assert found.recipe == ()
    assert found.differences[0].cautions == ()
    assert "Recipes that differ" not in render_comparison(found, Format.TABLE)


def test_a_study_in_progress_is_shown_as_far_as_it_is(tmp_path):
    first = made(tmp_path, "low", LOW)
    empty = Study(tmp_path, name="empty")
    empty.writer.close()
    begun = Study(tmp_path, name="begun", trials=2, reference=None)
    begun.begin()
    trial = begun.explored("search", 0.91)
    begun.end("INTERRUPTED", "Ctrl-C")
    found = compare_studies([first, empty.folder, begun.folder], command="uv run thermotune")
    assert [s.best.trial if s.best else None for s in found.studies] == ["t0001", None, trial]
    assert [d.reason for d in found.differences] == [
        f"{name} has no configuration confirmed on fresh seeds yet" for name in ("empty", "begun")
    ]
    assert [s.command for s in found.steps] == ["uv run thermotune resume empty", "uv run thermotune resume begun"]
    text = render_comparison(found, Format.MARKDOWN)
    assert "91.00 %, not confirmed" in text
    assert "1 of 2 trials" in text
    both = compare_studies([empty.folder, begun.folder]).differences[0]
    assert both.reason == "begun and empty have no configuration confirmed on fresh seeds yet"


def test_studies_stand_side_by_side_in_every_format(tmp_path):
    dirs = [made(tmp_path, name, tested, data=digits()) for name, tested in (("low", LOW), ("high", HIGH))]
    found = compare_studies(dirs)
    for width in (80, 140):
        text = render_comparison(found, Format.TABLE, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "loss.beta log" in text
    document = json.loads(render_comparison(found, Format.JSON))
    assert [s["study"] for s in document["studies"]] == ["low", "high"]
    assert document["studies"][1]["confirmed"]["test"]["mean"] == pytest.approx(sum(HIGH) / 5)
    assert document["studies"][0]["data"] == {"name": "digits", "digest": "abc"}
    assert document["differences"][0]["outcome"] == "better"
    assert str(tmp_path) not in json.dumps(document)
    markdown = render_comparison(found, Format.MARKDOWN)
    assert "|  | low | high |" in markdown
    assert "| confirm seeds | 5 of 5 | 5 of 5 |" in markdown
    with pytest.raises(ResultsError, match="table, json or markdown"):
        render_comparison(found, Format.HTML)


def test_less_than_two_studies_are_refused(tmp_path):
    folder = made(tmp_path, "low", LOW)
    for dirs in ([], [folder], [folder, tmp_path / "x" / ".." / "low"]):
        with pytest.raises(ResultsError, match="two or more different studies"):
            compare_studies(dirs)
    with pytest.raises(StudyNotFound):
        compare_studies([folder, tmp_path / "nowhere"])
