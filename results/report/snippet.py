"""A configuration as a study file of its own, ready to copy."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from results.facts import StudyFacts
from results.facts.files import amendments, read_document
from results.query import StudyView, Trial


def study_file(view: StudyView, trial: Trial) -> str:
    """A study file in which nothing is searched: it trains this configuration, and again on the same confirm seeds.

    Args:
        view: The records.
        trial: An explored trial.

    Returns:
        YAML with the whole recipe and the teachers that it needs; numbers are not rounded.
    """
    facts = view.facts
    document: dict[str, object] = {
        "name": f"{facts.name[: 63 - len(trial.trial)]}-{trial.trial}",  # names have at most 64 characters
        "recipe": dict(trial.recipe),
        "space": {},
        "arms": {trial.arm: {}},
        "reference": None,
        "search": {"seed": facts.seed, "metric": facts.metric, "mode": facts.mode},
        "seeds": {"search": facts.search_seeds, "confirm": facts.confirm_seeds},
    }
    needed = list(dict.fromkeys(_teachers(facts, trial)))
    if needed:
        _, path = amendments(view.study_dir)[-1]
        teachers = read_document(path)["teachers"]
        document["teachers"] = {name: teachers[name] for name in needed}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=60)  # a value may go beyond


def _teachers(facts: StudyFacts, trial: Trial) -> Iterator[str]:
    """The teachers that a trial needs, and those that these need."""
    waiting = [trial.setting("loss.teacher"), trial.setting("base")]
    while waiting:
        name = waiting.pop()
        if isinstance(name, str) and name in facts.teachers:
            yield name
            waiting += [facts.teachers[name].learns_from, facts.teachers[name].adds_to]
