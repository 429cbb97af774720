"""Parts of a study file in words: dimensions, derived values, samplers and stopping rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any  # YAML, as a study file holds it

from results.facts.files import flat

_KINDS = {"int": "integer", "log_int": "log integer"}
_TIMES = {1: "once", 2: "twice"}


def range_in_words(spec: object) -> str:
    """A dimension in one line: ``log 0.01 .. 10, times loss.beta ** -1, when loss.name is tempered``."""
    if not isinstance(spec, Mapping):
        return str(spec)
    words = []
    for key, value in spec.items():
        if isinstance(value, list):
            is_range = len(value) == 2 and key not in ("choice", "grid")
            words.append(f"{_KINDS.get(key, key)} {(' .. ' if is_range else ', ').join(map(str, value))}")
        elif key != "when" and value is not None:
            words.append(f"{key} {value}")
    return ", ".join([*words, *_conditions(spec)])


def rule_in_words(spec: Mapping[str, Any]) -> str:
    """A derived value in one line: ``0.0005 * loss.beta``, in older studies ``0.0005 times loss.beta ** 1``."""
    if "equals" in spec:
        return ", ".join([str(spec["equals"]), *_conditions(spec)])
    return f"{spec['fixed']} times {spec['times']}" if spec.get("times") else str(spec["fixed"])


def sampler_in_words(spec: str | Mapping[str, Any]) -> str:
    """A sampler in words; older studies give its name alone."""
    if isinstance(spec, str):
        return spec
    words = [str(spec["name"])]
    words += ["multivariate"] if spec.get("multivariate") else []
    words += [f"population {spec['population']}"] if spec.get("population") else []
    words += [f"refined {_TIMES.get(rounds, f'{rounds} times')}"] if (rounds := spec.get("refine")) else []
    return ", ".join(words)


def stopping_in_words(rule: Mapping[str, Any]) -> str:
    """A stopping rule in words."""
    words = [f"{rule['name']} (promotion)" if rule.get("form") == "promotion" else str(rule["name"])]
    words += [f"grace {rule['grace_epochs']}"] if rule.get("grace_epochs") else []
    words += [f"factor {rule['reduction_factor']:g}"] if rule.get("reduction_factor") else []
    words += [f"{rule['brackets']} brackets"] if rule.get("brackets") else []
    words += [f"every {rule['interval_epochs']} epochs"] if rule.get("interval_epochs", 1) > 1 else []
    words += [f"from {rule['min_trials']} trials on"] if rule.get("min_trials") else []
    words += [f"audit of {100 * rule['audit']:g} %"] if rule.get("audit") else []
    return ", ".join(words)


def _conditions(spec: Mapping[str, Any]) -> list[str]:
    """When a conditional value is there: ``when loss.name is tempered or tampered``."""
    wanted = {
        path: " or ".join(map(str, values)) if isinstance(values, list) else str(values)
        for path, values in flat(spec.get("when") or {})
    }
    return [f"when {' and '.join(f'{path} is {values}' for path, values in wanted.items())}"] if wanted else []
