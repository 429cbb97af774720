"""Questions to a study's records: DuckDB views over a snapshot of them, and typed answers for reports and mirrors."""

from results.query.answers import Amendment, EpochMean, Repeat, Rung, Session, Spent, Trial
from results.query.view import StudyView

__all__ = ["Amendment", "EpochMean", "Repeat", "Rung", "Session", "Spent", "StudyView", "Trial"]
