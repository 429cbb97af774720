"""The tables of a report as text cells, shared by the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence

from results import formats
from results.report.model import ArmCount, Candidate, Report, Table, TeacherRow
from results.report.search_tables import amended_table, audit_tables, pareto_table, stability_table
from results.schema import TrialState

__all__ = ["Table", "arm_counts", "facts", "tables"]


def tables(report: Report) -> tuple[Table, ...]:
    """The tables that a report has rows for."""
    made = (
        _candidates(report),
        _arms(report),
        _calibration(report),
        pareto_table(report),
        _teachers(report),
        _signals(report),
        _top(report),
        *audit_tables(report),
        stability_table(report),
        arm_counts(report.counts),
        amended_table(report),
    )
    return tuple(table for table in made if table.rows)


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Time and effort, as pairs of name and value."""
    time = report.time
    pace = "epochs not trained x the trial's own mean epoch time"
    rows = [
        (
            "time in training",
            f"{formats.duration(time.training_s)} over {formats.count(time.epochs, 'epoch')}"
            + (f", {formats.duration(time.teaching_s)} of it for teachers" if time.teaching_s else ""),
        ),
        ("wall time", f"{formats.duration(time.wall_s)} over {formats.count(time.sessions, 'session')}"),
        (
            "saved by early stopping",
            f"{formats.duration(time.stopped_saved_s)} ({formats.count(time.stopped_saved_epochs, 'epoch')}; {pace})",
        ),
        (
            "spared by divergence",
            f"{formats.duration(time.diverged_saved_s)} ({formats.count(time.diverged_saved_epochs, 'epoch')})",
        ),
        (
            "restarts",
            f"{time.restarts} in {formats.count(time.restarted_trials, 'trial')}" if time.restarts else "none",
        ),
        *_repeated(report),
        *(("budget", str(s)) for s in report.spent),
        ("test split opened", "not yet" if not report.test_openings else _times(report.test_openings)),
    ]
    return tuple(rows)


def _repeated(report: Report) -> list[tuple[str, str]]:
    """What was trained more than once because a session or a worker died, a row a sentence."""
    names = ["repeated work", *[""] * len(report.repeated)]
    return list(zip(names, report.repeated, strict=False))


def arm_counts(counts: Sequence[ArmCount]) -> Table:
    """Trials by stage, arm and state."""
    states = [state for state in TrialState if any(c.states.get(state) for c in counts)]
    return Table(
        title="Trials",
        caption="",
        columns=("stage", "arm", "planned", *(state.value.lower() for state in states)),
        right=(False, False, *([True] * (len(states) + 1))),
        rows=tuple(
            (c.stage.value, c.arm, str(c.planned), *(str(c.states.get(state, 0)) for state in states)) for c in counts
        ),
    )


def _candidates(report: Report) -> Table:
    study = report.view.facts
    caption = (
        "Chosen by the mean on the validation split; the test split is only read off. Means with 95 % t intervals "
        "over seeds only, on one fixed test set: they do not cover what another test set would change."
    )
    if study.reference is not None and len(study.arms) > 1:
        caption += f" The reference arm sends its best trial to the confirmation, every other arm {study.confirm_top}."
    return Table(
        title="Candidates on fresh seeds",
        caption=caption,
        columns=("trial", "arm", "settings", "in the search", report.metric, report.test_metric, "seeds"),
        right=(False, False, False, True, True, True, True),
        rows=tuple(
            (
                c.trial,
                c.arm + (" (ref.)" if c.arm == report.reference_arm else ""),
                formats.settings(c.settings),
                formats.metric(report.metric, c.explored),
                formats.interval(report.metric, c.validation, n=False),
                formats.interval(report.test_metric, c.test, n=False),
                _seeds(c) + (", earlier round" if c in report.earlier else ""),
            )
            for c in (*report.candidates, *report.earlier)
        ),
    )


def _arms(report: Report) -> Table:
    """Every arm's best against the reference."""
    name = report.test_metric
    rows = []
    for result in report.arms:
        comparison = result.comparison
        is_reference = result.arm == report.reference_arm
        gap = comparison.difference if comparison else None
        rows.append(
            (
                result.arm + (" (ref.)" if is_reference else ""),
                result.trial,
                formats.interval(name, result.test, n=False),
                formats.difference_only(name, gap) if gap else formats.NONE,
                formats.p_value(gap.p) if gap else formats.NONE,
                comparison.outcome.value if comparison else formats.NONE,
            )
        )
    unit = "percentage points" if name.endswith("accuracy") else "nats"
    return Table(
        title="Arms on the test split",
        caption=f"The best candidate of every arm, chosen on the validation split, against that of "
        f"{report.reference_arm} on the same seeds. Every row stands for itself: the more arms are compared, the more "
        "likely one of them looks better or worse by chance.",
        columns=("arm", "trial", name, f"minus the reference ({unit})", "paired t test", "verdict"),
        right=(False, False, True, True, True, False),
        rows=tuple(rows),
    )


def _calibration(report: Report) -> Table:
    return Table(
        title="Calibration",
        caption="Negative log-likelihood (NLL, nats) and expected calibration error (ECE) on the test split, as "
        "trained and after one temperature was fitted to the validation split; means over the confirm seeds. A "
        "difference in NLL that vanishes after refitting was only one of confidence.",
        columns=("trial", "arm", "NLL", "NLL refitted", "ECE", "ECE refitted", "temperature", "seeds"),
        right=(False, False, *([True] * 6)),
        rows=tuple(
            (
                c.trial,
                c.arm + (" (ref.)" if c.arm == report.reference_arm else ""),
                _number(c.nll, ".4f"),
                _number(c.nll_refit, ".4f"),
                formats.percent(c.ece),
                formats.percent(c.ece_refit),
                _number(c.temperature, ".3g"),
                str(c.seeds),
            )
            for c in report.calibration
        ),
    )


def _teachers(report: Report) -> Table:
    return Table(
        title="Teachers",
        caption="Networks trained before those that need them.",
        columns=("teacher", "network", "epochs", "val/accuracy", "state", "learns from"),
        right=(False, False, True, True, False, False),
        rows=tuple(
            (
                t.name,
                t.model or formats.NONE,
                _epochs(t),
                formats.metric("val/accuracy", t.accuracy),
                "trained before" if t.reused else t.state.value if t.state else "not begun",
                _needs(t),
            )
            for t in report.teachers
        ),
    )


def _epochs(teacher: TeacherRow) -> str:
    """Epochs trained of those to be trained: ``6/9``, and ``6/9 of 27`` for a teacher that is stopped early."""
    if teacher.length is None or teacher.schedule is None:
        return str(teacher.epochs)
    done = str(teacher.length) if teacher.reused else f"{teacher.epochs}/{teacher.length}"
    return done + (f" of {teacher.schedule}" if teacher.schedule > teacher.length else "")


def _needs(teacher: TeacherRow) -> str:
    needs = [teacher.learns_from] if teacher.learns_from else []
    needs += [f"added to {teacher.adds_to}"] if teacher.adds_to else []
    return ", ".join(needs) or formats.NONE


def _signals(report: Report) -> Table:
    several = len({s.teacher for s in report.signals}) > 1
    return Table(
        title="What the teacher tells the student",
        caption="Means over the training split, from the teacher's logits f_y of the true class at tau1 and g of the "
        "wrong ones at tau2. DA is the mean probability of a wrong class: how strongly the target is smoothed. DV, "
        "here as a standard deviation, is the spread of these: how clearly the teacher tells the wrong classes apart. "
        "IV is the variance among the wrong classes alone, whatever p_y is: in every sample DV = (1 - p_y)^2 IV. "
        "Flipped: samples whose most probable class the temperatures change.",
        columns=(
            *("trial", "arm", *["teacher"] * several, "tau1 / tau2", "E[f_y]", "std[g]", "p_y"),
            *("DA", "DV (std)", "IV", "flipped"),
        ),
        right=(False, False, *[False] * several, *([True] * 8)),
        rows=tuple(
            (
                s.trial,
                s.arm,
                *[s.teacher or formats.NONE] * several,
                f"{formats.setting(s.tau1)} / {formats.setting(s.tau2)}",
                *(_number(v, ".3g") for v in (s.target_logit, s.wrong_logit_std, s.target_probability)),
                *(_number(v, ".2g") for v in (s.derived_average, s.derived_std, s.inherent_variance)),
                formats.percent(s.flip_rate),
            )
            for s in report.signals
        ),
    )


def _number(value: float | None, form: str) -> str:
    return formats.NONE if value is None else format(value, form)


def _top(report: Report) -> Table:
    full = report.view.facts.epochs
    return Table(
        title="Top ten of the search",
        caption=f"By {report.metric} at the last epoch, one line a trial. Trials trained to the end ({full} epochs) "
        "come first; the value of a stopped trial belongs to an earlier epoch and does not compare.",
        columns=("trial", "arm", "settings", report.metric, "epochs", "state"),
        right=(False, False, False, True, True, False),
        rows=tuple(
            (
                t.trial,
                t.arm,
                formats.settings(t.settings),
                formats.metric(report.metric, t.value),
                str(t.epochs),
                t.state.value,
            )
            for t in report.top
        ),
    )


def _seeds(candidate: Candidate) -> str:
    parts = [f"{candidate.ended} of {candidate.seeds}"]
    parts += [f"{candidate.diverged} diverged"] if candidate.diverged else []
    parts += [f"{candidate.failed} failed"] if candidate.failed else []
    return ", ".join(parts)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
