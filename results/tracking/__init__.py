"""The copy in MLflow: what it should hold, bringing it there, and whether it is there.

The records are the original; everything here may be lost and made again.
"""

from results.tracking.check import CheckResult, check
from results.tracking.mirror import SyncResult
from results.tracking.process import follow, sync
from results.tracking.registry import ModelVersion, register_network, registered
from results.tracking.tracker import Tracker, default_uri, is_server

__all__ = [
    "CheckResult",
    "ModelVersion",
    "SyncResult",
    "Tracker",
    "check",
    "default_uri",
    "follow",
    "is_server",
    "register_network",
    "registered",
    "sync",
]
