"""What a running study shows: on a terminal, as lines, and through the log of a job."""

from search.progress.display import Display
from search.progress.job_log import JobLog
from search.progress.progress import Progress, Shown
from search.progress.snapshot import Snapshot

__all__ = ["Display", "JobLog", "Progress", "Shown", "Snapshot"]
