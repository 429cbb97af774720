"""Is everything there that a study needs? Looks at this machine, at those of a cluster, and at its job server."""

from search.doctor.check import Check, State
from search.doctor.writing import write

__all__ = ["Check", "State", "write"]
