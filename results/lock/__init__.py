"""One driver at a time: who holds a study, here or on an object store."""

from results.lock.identity import Holder
from results.lock.study_lock import StudyLock, holder

__all__ = ["Holder", "StudyLock", "holder"]
