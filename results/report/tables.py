"""The tables of a report as text cells, shared by the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence

from results import formats
from results.report.confirm_tables import arms_table, calibration_table, candidates_table, standings_table
from results.report.model import ArmCount, Report, Table, TeacherRow, TimeUse
from results.report.search_tables import amended_table, audit_tables, pareto_table, stability_table
from results.schema import TrialState

__all__ = ["Table", "arm_counts", "facts", "tables"]


def tables(report: Report) -> tuple[Table, ...]:
    """The tables that a report has rows for."""
    made = (
        candidates_table(report),
        standings_table(report),
        arms_table(report),
        calibration_table(report),
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


def main_tables(report: Report) -> tuple[Table, ...]:
    """The two that say most: the candidates on fresh seeds, and what became of all trials."""
    return tuple(table for table in (candidates_table(report), arm_counts(report.counts)) if table.rows)


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
        ("restarts", _restarts(time)),
        *_repeated(report),
        *(("budget", str(s)) for s in report.spent),
        ("test split opened", "not yet" if not report.test_openings else _times(report.test_openings)),
    ]
    return tuple(rows)


def _restarts(time: TimeUse) -> str:
    """How many, and how often it was a worker or a node; else a driver was killed or stopped."""
    restarts = f"{time.restarts} in {formats.count(time.restarted_trials, 'trial')}" if time.restarts else "none"
    causes = [f"{formats.count(time.crashes, 'worker')} crashed"] if time.crashes else []
    causes += [f"{formats.count(time.moves, 'time')} a trial lost its node, and moved"] if time.moves else []
    return "; ".join([restarts, *causes])


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
                *(formats.number(v, ".3g") for v in (s.target_logit, s.wrong_logit_std, s.target_probability)),
                *(formats.number(v, ".2g") for v in (s.derived_average, s.derived_std, s.inherent_variance)),
                formats.percent(s.flip_rate),
            )
            for s in report.signals
        ),
    )


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


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
