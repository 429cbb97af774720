"""The best-config report: what a study found, how sure that is, what it cost and what to do next."""

from results.report.build import build
from results.report.model import Report
from results.report.output import Format, render, to_json, write_files
from results.report.status import (
    DamagedStudy,
    StudyStatus,
    render_best,
    render_status,
    render_statuses,
    status,
    statuses,
)

__all__ = [
    "DamagedStudy",
    "Format",
    "Report",
    "StudyStatus",
    "build",
    "render",
    "render_best",
    "render_status",
    "render_statuses",
    "status",
    "statuses",
    "to_json",
    "write_files",
]
