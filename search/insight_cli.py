"""The commands ``thermotune explain``, ``replay``, ``compare`` and ``train``: what records say, and if they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.options import ROOT, RootOption, StudyArgument, TextFormatOption
from search.terminal import command_prefix, look

EXPLAIN_EPILOG = "Examples: thermotune explain digits-beta | thermotune explain digits-beta t0042"
REPLAY_EPILOG = "Example: thermotune replay digits-beta"
TRAIN_EPILOG = "Example: thermotune train digits-beta t0042 --seed 7 --save model.pt"
COMPARE_EPILOG = "Example: thermotune compare digits-beta digits-alpha --format markdown"

TrialArgument = Annotated[
    str | None, typer.Argument(metavar="[TRIAL]", help="Name of a trial, for example t0042; the study if left out.")
]
StudiesArgument = Annotated[list[str], typer.Argument(metavar="STUDY...", help="Two studies of the root or more.")]


def explain(
    study: StudyArgument, trial: TrialArgument = None, root: RootOption = ROOT, form: TextFormatOption = "table"
) -> None:
    """Say from the records why a trial was chosen, stopped or confirmed, or what a study does and waits for."""
    from results.facts import find_study
    from results.report import Format
    from search.explain import explain_study, explain_trial
    from search.explanation import render_explanation

    folder = find_study(root, study)
    found = explain_study(folder, command=command_prefix(root)) if trial is None else explain_trial(folder, trial)
    typer.echo(render_explanation(found, Format(form), **look()), nl=False)


def replay(study: StudyArgument, root: RootOption = ROOT, form: TextFormatOption = "table") -> None:
    """Make every choice of a study again from the records before it, and compare. Ends with 1 if one differs."""
    from results.facts import find_study
    from results.report import Format
    from search.replay import render_replay
    from search.replay import replay as again

    found = again(find_study(root, study))
    typer.echo(render_replay(found, Format(form), **look()), nl=False)
    if found.differences:
        raise typer.Exit(1)


def compare(studies: StudiesArgument, root: RootOption = ROOT, form: TextFormatOption = "table") -> None:
    """Set studies side by side: what each found, and by how much its best differs from that of the first."""
    from results.facts import find_study
    from results.report import Format, compare_studies, render_comparison

    found = compare_studies([find_study(root, name) for name in studies], command=command_prefix(root))
    typer.echo(render_comparison(found, Format(form), **look()), nl=False)


def train(
    study: StudyArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Name of a trial, for example t0042.")],
    root: RootOption = ROOT,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; the trial's own if left out.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the trained model's state_dict here.")] = None,
) -> None:
    """Train one recorded trial again, here and without Ray, and compare with what the records say."""
    from results.facts import find_study
    from search.retrain import retrain

    for line in retrain(find_study(root, study), trial, seed=seed, save=save):
        typer.echo(line)
