"""Questions to the records: DuckDB views over a snapshot of them, and typed answers for reports and mirrors."""

from results.query.answers import Amendment, EpochMean, Repeat, Rung, Session, Spent, Trial
from results.query.columns import VIEWS, Column, describe
from results.query.database import Database, QueryError
from results.query.view import StudyView

__all__ = [
    "VIEWS",
    "Amendment",
    "Column",
    "Database",
    "EpochMean",
    "QueryError",
    "Repeat",
    "Rung",
    "Session",
    "Spent",
    "StudyView",
    "Trial",
    "describe",
]
