"""What a study set out to do, as its resolved ``study.yaml`` says it, and where the studies of a root are."""

from results.facts.changes import Change, changes
from results.facts.files import amendments, find_study, study_dirs
from results.facts.model import Budget, DataFacts, StudyFacts, TeacherFacts
from results.facts.reading import load_facts

__all__ = [
    "Budget",
    "Change",
    "DataFacts",
    "StudyFacts",
    "TeacherFacts",
    "amendments",
    "changes",
    "find_study",
    "load_facts",
    "study_dirs",
]
