"""What can go wrong for a user of the results; every message says rule, value, place and what to do."""

from __future__ import annotations


class ResultsError(Exception):
    """A problem that the user can solve; the command line shows its message without a traceback."""


class StudyNotFound(ResultsError):
    """There is no study of that name in the root."""


class RootUnreadable(ResultsError):
    """The folder of all studies is none, or cannot be read."""


class RootUnsuitable(ResultsError):
    """The file system of the root lacks what one driver at a time needs."""


class StudyUnreadable(ResultsError):
    """The study's ``study.yaml`` is missing facts or cannot be read."""


class RecordsUnreadable(ResultsError):
    """A file among the records is damaged, foreign, or written by a newer version."""


class Held(ResultsError):
    """Another driver works on the study."""


class TrackingUnavailable(ResultsError):
    """The MLflow server or store does not answer."""
