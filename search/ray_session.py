"""Ray for the time of a study: one of our own on this machine, or a running cluster that this machine belongs to.

Both are quiet unless asked, leave signals to us, and are gone when the study ends: our own Ray stops, a cluster is only
left. Ray ends the trials and takes back what they held when their driver leaves, or dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from search.address import CLUSTER_VARIABLE, Cluster
from search.capacity import Node
from search.errors import ThermotuneError, UsageError
from search.jobs import token
from search.jobs.package import pack
from search.jobs.variables import sent
from search.progress import Progress
from search.stop import Stop

OBJECT_STORE_BYTES = 128 * 2**20
"""Little goes through Ray's object store: data sets are memory-mapped files."""
STOP_S = 15.0
"""Ray gets so long to stop; seconds."""
TRIES = 3
"""Ray gives up starting after 30 s, which a busy machine may need."""
ANSWER_S = 10.0
"""The head of a cluster must answer within so long; seconds."""

_IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for a job, whose runtime environment its workers get
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: no output of Ray Tune's own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning where a trial asks for no GPU
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # errors are kept in the records
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",  # what a study waits for is said by the display
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": "1000000000",
}
_ENGINE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker makes a virtual environment of its own under uv run
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the records are ours
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000000",  # the searcher knows how many trials to ask for
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Ray Tune's own snapshots are of no use here
}


@contextlib.contextmanager
def local_ray(machine: Node, progress: Progress, stop: Stop, *, verbose: bool) -> Iterator[None]:
    """A Ray of our own on this machine.

    Args:
        machine: How many cores and GPUs trials may use.
        progress: Says that it starts.
        stop: Takes the signals back that Ray takes.
        verbose: Let Ray say what it says.

    Raises:
        ThermotuneError: It does not start.
        Interrupted: A signal came meanwhile.
    """
    progress.phase("starting Ray")
    _prepare(verbose=verbose)
    if os.environ.setdefault(token.MODE, "token") == "token":
        os.environ.setdefault(token.VALUE, secrets.token_hex(32))  # else Ray writes one into the home folder
    with _connected(stop):
        _start(machine, stop, verbose=verbose)
        yield


@contextlib.contextmanager
def joined_ray(cluster: Cluster, progress: Progress, stop: Stop, *, verbose: bool) -> Iterator[None]:
    """A running cluster; its nodes get our code and the variables of the environment that storage and tracker need.

    Args:
        cluster: Where it is.
        progress: Says that it is being joined.
        stop: Takes the signals back that Ray takes.
        verbose: Let Ray and the trials' processes say what they say.

    Raises:
        UsageError: There is no cluster at the address, or it does not know our token.
        ThermotuneError: It runs another version of Ray or Python, or cannot be joined for another reason.
        Interrupted: A signal came meanwhile.
    """
    progress.phase("joining the cluster")
    _prepare(verbose=verbose)
    address = reach(cluster)
    with _connected(stop):
        _join(address, progress, stop, verbose=verbose)
        yield


def reach(cluster: Cluster) -> str:
    """Host and port of a head that answers and accepts us; ray.init itself takes minutes to say what is wrong.

    Args:
        cluster: Where it is.

    Raises:
        UsageError: There is no cluster at the address, or it does not know our token.
        ThermotuneError: It runs another version of Ray.
    """
    os.environ.update(_ENGINE)  # this and the token before Ray is imported, which keeps them
    if (found := token.token()) is not None:
        os.environ.update({token.MODE: "token", token.VALUE: found})
    import grpc  # type: ignore[import-untyped]
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    address = _address(cluster)
    try:
        with init_grpc_channel(address) as channel:
            answer = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=ANSWER_S)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            shown = "the one found here is another" if found else "there is none here"
            raise UsageError(
                f"the cluster at {address} must be shown its token, but {shown}. Put the cluster's token into "
                f"{token.VALUE}, or into a file that {token.FILE} names"
            ) from None
        raise UsageError(
            f"--address must be that of a running Ray cluster, but {address} does not answer ({error.details()}). "
            "On the head, ray start prints it: host and port, usually 6379"
        ) from None
    if answer.ray_version != (ours := metadata.version("ray")):
        raise ThermotuneError(
            f"the cluster at {address} must run the Ray of this machine, {ours}, but it runs {answer.ray_version}. "
            "Install the same version on both"
        )
    return address


def _address(cluster: Cluster) -> str:
    if cluster.address != "auto":
        return cluster.address
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError as error:
        raise UsageError(
            f"--address auto must be used on a machine of a Ray cluster, but there is none, or several: {error}. Name "
            f"the head, for example --address head:6379, or set {CLUSTER_VARIABLE}"
        ) from None


def _prepare(*, verbose: bool) -> None:
    os.environ.update(_ENGINE)
    os.environ.update({} if verbose else _QUIET)


@contextlib.contextmanager
def _connected(stop: Stop) -> Iterator[None]:
    """Disconnects from Ray in the end, and stops it where it is our own."""
    import ray

    try:
        yield
    finally:
        stopping = threading.Thread(target=ray.shutdown, daemon=True)
        stopping.start()
        stopping.join(STOP_S)


def _initialise(stop: Stop, *, verbose: bool, **arguments: Any) -> None:  # Any: of ray.init
    import ray
    from ray._private import worker

    if not verbose:
        worker.print_to_stdstream = lambda *_, **__: None  # news of the cluster: we tell it, and stdout is for results
    try:
        ray.init(
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            **arguments,
        )
    except SystemExit:  # Ray's own answer to a SIGTERM while it starts
        stop.request(signal.SIGTERM)
    finally:
        stop.listen()  # Ray puts a handler of its own in place
    stop.check()


def _start(machine: Node, stop: Stop, *, verbose: bool) -> None:
    import ray

    for tries_left in reversed(range(TRIES)):
        try:
            _initialise(
                stop,
                verbose=verbose,
                address="local",  # a bare init joins any cluster that it finds on the machine
                num_cpus=int(machine.cpus),
                num_gpus=int(machine.gpus),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:  # Ray raises errors of many kinds here
            ray.shutdown()
            if tries_left == 0:
                raise ThermotuneError(
                    f"Ray must start on this machine, and {TRIES} tries failed: {error}. "
                    "Its logs are in the folder ray of the system's folder for temporary files"
                ) from error


def _join(address: str, progress: Progress, stop: Stop, *, verbose: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="thermotune-") as folder:
        environment = None if os.environ.get(_IN_JOB) else _environment(Path(folder), progress)
        try:
            _initialise(stop, verbose=verbose, address=address, runtime_env=environment)
        except Exception as error:  # Ray raises errors of many kinds here
            raise ThermotuneError(f"the cluster at {address} cannot be joined: {error}") from error


def _environment(folder: Path, progress: Progress) -> dict[str, Any]:  # Any: a runtime environment of Ray
    """What workers need that have nothing but thermotune's dependencies; in a job they have it already."""
    file = folder / "thermotune.zip"
    file.write_bytes(pack().content)
    return {"working_dir": str(file), "env_vars": sent(progress.note)}
