"""What a user can get wrong. The command line shows these as messages, never as tracebacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_RESUMABLE = 75
"""Exit code of an interrupted study; a supervisor may resume it."""


class ThermotuneError(Exception):
    """Base of all errors that are shown to the user; ``exit_code`` is what the command ends with."""

    exit_code = 1


class UsageError(ThermotuneError):
    """The command line asks for something impossible."""

    exit_code = 2


class StudyBlocked(ThermotuneError):
    """A study cannot go on, and resuming it alone would not help."""


class StoreAway(ThermotuneError):
    """The object store of a study does not answer any more; once it does, the study can be resumed."""

    exit_code = EXIT_RESUMABLE


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a study file.

    Attributes:
        where: The file and the dotted key.
        problem: The rule and the value that breaks it.
        remedy: What to do.
    """

    where: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" + (f". {self.remedy}" if self.remedy else "")


class StudyFileError(ThermotuneError):
    """A study file is invalid; carries all its mistakes."""

    exit_code = 4

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n".join([f"the study is not valid: {count}", *(f"  {m}" for m in self.mistakes)]))
