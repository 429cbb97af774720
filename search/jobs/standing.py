"""Where the jobs of a cluster stand, as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from results import formats
from results.errors import ResultsError
from results.facts import find_study
from results.places import place
from results.report import Format, render_status, status
from results.report.model import Table
from results.report.output import render_short
from search.jobs.job import Job
from search.jobs.log import last_phase, last_snapshot
from search.jobs.server import JobServer
from search.terminal import Look, command_prefix


def render_jobs(jobs: Sequence[Job], url: str, form: Format, look: Look) -> str:
    """All jobs of studies, newest first.

    Args:
        jobs: As the server listed them.
        url: Of the server.
        form: ``table``, ``json`` or ``markdown``.
        look: Of the terminal.
    """
    newest = list(reversed(jobs))
    if form is Format.JSON:
        return json.dumps([asdict(job) for job in newest], indent=2, default=datetime.isoformat) + "\n"
    title = formats.count(len(newest), "job") if newest else "No jobs of studies yet"
    rows = tuple((job.id, job.state, _as_text(job.began), _took(job), job.kind, job.root) for job in newest)
    columns = ("job", "state", "began (UTC)", "took", "command", "root")
    table = Table(title=f"{title} at {url}", caption="", columns=columns, right=(False,) * len(columns), rows=rows)
    return render_short([], [table], (), form, look["width"], look["color"])


def sentence(job: Job) -> str:
    """Where a job stands, in one line."""
    code = "" if job.exit_code is None else f", exit code {job.exit_code}"
    began = f" since {_as_text(job.began)} UTC" if job.is_active else f" after {_took(job)}{code}"
    return f"Job {job.id}: {job.state}{began}; {job.kind} with root {job.root}"


def render_study(server: JobServer, job: Job, form: Format, look: Look) -> str:
    """Where a study stands, by its records; by the log of its job where the records cannot be read from here."""
    root = place(job.root)
    try:
        return render_status(status(find_study(root, job.study), command=command_prefix(root)), form, **look)
    except (ResultsError, OSError) as error:
        log = server.log(job.id)
        shot, phase = last_snapshot(log), last_phase(log)
        if shot is None and not job.is_active:
            raise
        if form is Format.JSON:
            return json.dumps({"study": job.study, "phase": phase} if shot is None else shot.to_json(), indent=2) + "\n"
        why = (str(error).splitlines() or [""])[0].partition(". ")[0]  # what to do is of no use to who has a job
        stands = phase if shot is None else shot.line
        return f"{job.study}: {stands}\nThis is by the job's log: the records cannot be read from here ({why})\n"


def _took(job: Job) -> str:
    if job.began is None:
        return formats.NONE
    return formats.duration(((job.ended or datetime.now(UTC)) - job.began).total_seconds())


def _as_text(moment: datetime | None) -> str:
    return formats.NONE if moment is None else f"{moment:%Y-%m-%d %H:%M}"
