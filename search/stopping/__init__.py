"""Stopping rules: whether a trial that reached a rung goes on, ends or waits there. Pure: no Ray, no clock."""

from search.stopping.audit import is_audited
from search.stopping.decision import Decision
from search.stopping.rule import Rule, rule_of
from search.stopping.rung import Rung

__all__ = ["Decision", "Rule", "Rung", "is_audited", "rule_of"]
