"""A cluster that this process has joined: what the doctor looks at on its machines, and what a study insists on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from results.formats import count
from results.places import Place, reason
from search.capacity import Node, lack, parts, slots
from search.doctor.check import Check, State, failed, in_time, ok, warning
from search.doctor.nodes import ANSWER, Meanwhile, look_at
from search.doctor.tracking import ANSWER_S, reachable
from search.doctor.writing import together
from search.errors import ThermotuneError
from search.nodes import listing
from search.settings import Resources
from search.study import Study
from search.terminal import SERVER_VARIABLE, resume_command


class ClusterUnfit(ThermotuneError):
    """Machines of the cluster lack what a study needs.

    Attributes:
        checks: Those that failed.
    """

    def __init__(self, checks: Sequence[Check], then: str) -> None:
        """Says all that is wrong at once.

        Args:
            checks: Those that failed.
            then: The command with which to continue when they pass.
        """
        self.checks = tuple(checks)
        lines = [f"  {check.node}: {check.said}" for check in together(self.checks)]
        super().__init__("\n".join(["the cluster is not ready for the study", *lines, f"Once this is mended: {then}"]))


def look_at_cluster(root: Place, study: Study | None, meanwhile: Meanwhile) -> list[Check]:
    """Looks at every machine of the cluster.

    Args:
        root: Folder of all studies.
        study: Whose needs are looked at too; None for no study in particular.
        meanwhile: As in ``look_at``.
    """
    nodes = list(listing().staying.values())
    wanted = () if study is None else (fit(nodes, study.resources),)
    try:
        return [*wanted, *look_at(nodes, root, _data(study), meanwhile, thorough=True)]
    except OSError as error:
        found = f"not looked at, because the driver cannot write to {root} ({reason(error)})"
        return [*wanted, failed("nodes", found, "Mend the root first")]


def preflight(study: Study, root: Place, nodes: Iterable[Node], meanwhile: Meanwhile) -> list[str]:
    """Checks, before a study starts, that the machines share its root and have its versions and data.

    Takes a few seconds, for the start of a process on each. Machines on which no trial fits are not asked. MLflow need
    not answer, since its copy is made up for later.

    Args:
        study: About to run.
        root: Folder of all studies.
        nodes: Of the cluster that this process has joined.
        meanwhile: As in ``look_at``.

    Returns:
        What to say about machines that gave no answer, while others did, as they may only be slow, or about to go; and
        about MLflow where it gives none.

    Raises:
        ClusterUnfit: They do not; carries everything that is wrong.
        OSError: The driver cannot write to the root.
    """
    useful = [node for node in nodes if parts(node, study.resources)]
    found = look_at(useful, root, _data(study), meanwhile, thorough=False)
    remarks = judge(found, resume_command(root, study.name, os.environ.get(SERVER_VARIABLE, "auto")))
    for check in in_time("MLflow", reachable, ANSWER_S + 1):
        remarks.append(f"MLflow: {check.found}. The study runs all the same, and its copy is made when MLflow answers")
    return remarks


def judge(found: Sequence[Check], then: str) -> list[str]:
    """What follows from the checks before a study; as ``preflight``.

    Args:
        found: The checks of all machines.
        then: The command that continues the study.
    """
    bad = [check for check in found if check.state is State.FAILED]
    silent = [check for check in bad if check.name == ANSWER]
    if bad != silent or (silent and silent == list(found)):
        raise ClusterUnfit(bad, then)
    return [f"node {check.node} did not answer, and was not looked at" for check in silent]


def fit(nodes: Collection[Node], resources: Resources) -> Check:
    """Whether a trial fits on the machines that are there; more may join."""
    if number := slots(nodes, resources):
        return ok("resources", f"{count(number, 'trial')} at once on {count(len(nodes), 'node')}")
    remedy = "Lower resources in the study file, or add such nodes"
    return warning("resources", f"no trial fits now, and a study would be {lack(nodes, resources)}", remedy)


def _data(study: Study | None) -> list[str]:
    return [] if study is None else [study.recipe.dataset]
