"""Where a study runs: on this machine, on the Ray cluster that this machine belongs to, or through a job server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated

import typer

from search.errors import UsageError

JOB_SERVER_VARIABLE = "RAY_API_SERVER_ADDRESS"
CLUSTER_VARIABLE = "RAY_ADDRESS"
LOCAL = "local"

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="A cluster's job server, http://HEAD:8265; or auto, or HEAD:6379, for a driver on a machine of the "
        f"cluster; or local. If left out: {JOB_SERVER_VARIABLE}, then {CLUSTER_VARIABLE}, else local.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Here:
    """A Ray of our own on this machine."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster that this machine belongs to.

    Attributes:
        address: ``auto``, or host and port of the head, as ``ray.init`` takes it.
    """

    address: str


@dataclass(frozen=True, slots=True)
class JobServer:
    """A cluster that is reached through its job server.

    Attributes:
        url: For example ``http://head:8265``.
    """

    url: str


Address = Here | Cluster | JobServer


def address_of(option: str | None) -> Address:
    """What a user means.

    Args:
        option: The value of ``--address``; None where it was left out, and the environment decides.

    Raises:
        UsageError: It is none of the forms.

    Example:
        >>> address_of("http://head:8265/")
        JobServer(url='http://head:8265')
        >>> address_of("head:6379")
        Cluster(address='head:6379')
    """
    named = {"--address": option, **{v: os.environ.get(v) for v in (JOB_SERVER_VARIABLE, CLUSTER_VARIABLE)}}
    source, text = next(((s, t.strip()) for s, t in named.items() if t and t.strip()), ("", LOCAL))
    if text == LOCAL:
        return Here()
    if re.fullmatch(r"https?://[^/\s]+/*", text):
        return JobServer(text.rstrip("/"))
    if re.fullmatch(r"[^/@\s]+:8265", text):
        raise UsageError(
            f"{source} must be a URL where it is a job server, got {text!r}. Did you mean http://{text}? A driver on a "
            "machine of the cluster needs the other port of the head, usually 6379"
        )
    if text == "auto" or re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}", text):
        return Cluster(text)
    from results.environment import mask

    shown = mask(f"...@{text.rpartition('@')[2]}" if "@" in text else text)
    raise UsageError(
        f"{source} must be a job server such as http://head:8265, or auto or head:6379 on a machine of the cluster, or "
        f"local, got {shown!r}" + (". Ray's client protocol is not used here" if text.startswith("ray://") else "")
    )
