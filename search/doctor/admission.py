"""Admission: what a worker on a cluster makes sure of before it trains, since nodes join while a study runs.

A driver has all nodes looked at before a study starts. Of one that comes later its first worker finds out whether it
is fit; where it is not, nothing is trained there, and the driver leaves the node out from then on.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from results.places import Place, place, publish
from search.doctor import software, study
from search.doctor.check import State
from search.doctor.nodes import reads
from search.doctor.root import FILE
from search.errors import ThermotuneError

Terms = Mapping[str, Any]  # JSON

_UNFIT = re.compile(r"NodeUnfit: node (\w+) must not be used: (.+)")
_admitted: set[str] = set()


class NodeUnfit(ThermotuneError):
    """The machine of a worker must not train for a study; the message says which it is, and why, in a line."""


@contextlib.contextmanager
def terms_of(folder: Place, dataset: str) -> Iterator[dict[str, Any]]:
    """What workers must find on their machines, in JSON types; holds as long as the block lasts.

    Args:
        folder: Of the study; a file in it says whether a machine shares it.
        dataset: That the study needs.

    Raises:
        OSError: The folder cannot be written.
    """
    content = secrets.token_hex(16)
    publish({folder / FILE: content.encode()})
    try:
        yield {
            "folder": str(folder),
            "content": content,
            "versions": software.versions(),
            "data": {dataset: study.digest_of(dataset)},
        }
    finally:
        with contextlib.suppress(OSError):  # the next session writes its own
            (folder / FILE).unlink()


def admit(terms: Terms | None) -> None:
    """Looks at this machine, once for the terms of a session; runs in a worker.

    A root that gives an error may be away for a while, for which the trial itself knows to wait.

    Args:
        terms: As ``terms_of`` gives them; None where there are none.

    Raises:
        NodeUnfit: It lacks something.
    """
    if terms is None or terms["content"] in _admitted:
        return
    found = list(software.same(software.versions(), terms["versions"]))
    found += [study.data(name, digest, on_node=True) for name, digest in terms["data"].items()]
    with contextlib.suppress(OSError):
        found.append(reads(place(terms["folder"]), terms["content"].encode()))
    if why := ". ".join(check.said for check in found if check.state is State.FAILED):
        import ray

        raise NodeUnfit(f"node {ray.get_runtime_context().get_node_id()} must not be used: {why}")
    _admitted.add(terms["content"])


def unfit_node(error: str) -> tuple[str, str] | None:
    """The node that must not be used, and why, by the text of an error of its worker; None if it is of another kind."""
    said = _UNFIT.search(error)
    return (said[1], said[2].strip()) if said else None
