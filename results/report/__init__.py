"""The best-config report: what a study found, how sure that is, what it cost and what to do next."""

from results.report.answer import render_answer, render_schema
from results.report.build import build
from results.report.comparison import ComparedStudy, StudiesComparison, StudyDifference, compare_studies
from results.report.model import Report
from results.report.output import Format, render, render_summary, to_json, write_files
from results.report.side_by_side import render_comparison
from results.report.status import StudyStatus, render_best, render_status, status
from results.report.studies import DamagedStudy, ForeignFolder, StudyLine, render_statuses, statuses
from results.report.theory import TheoryReport, render_theory, theory

__all__ = [
    "ComparedStudy",
    "DamagedStudy",
    "ForeignFolder",
    "Format",
    "Report",
    "StudiesComparison",
    "StudyDifference",
    "StudyLine",
    "StudyStatus",
    "TheoryReport",
    "build",
    "compare_studies",
    "render",
    "render_answer",
    "render_best",
    "render_comparison",
    "render_schema",
    "render_status",
    "render_statuses",
    "render_summary",
    "render_theory",
    "status",
    "statuses",
    "theory",
    "to_json",
    "write_files",
]
