"""The job server of a Ray cluster: its HTTP interface, and what to do where it does not answer as it should.

This speaks HTTP itself, because Ray's own client costs an import of Ray (2 s) for every look at a job, and waits
without end for a server that does not answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from search.errors import EXIT_RESUMABLE, ThermotuneError, UsageError
from search.jobs.job import Job
from search.jobs.token import DEFAULT_FILE, FILE, VALUE, token

TIMEOUT_S = 20.0
HEARTBEAT_S = 15.0
"""A log that is being read is lost if the server does not answer for so long."""
HEAD_START_S = 30.0
"""The server of a head that was just started takes no jobs for a while; seconds."""
_NOT_YET = "No available agent to submit job"
_BUSY = (502, 503, 504)


class ServerAway(ThermotuneError):
    """The job server does not answer, or not now; it may later."""


class JobUnknown(ThermotuneError):
    """The cluster knows no such job any more; what was recorded can be resumed."""

    exit_code = EXIT_RESUMABLE


class _NotFound(UsageError):
    """There is nothing of this name at the server; what has to be there is missing where another server answers."""


class _NoRedirects(HTTPRedirectHandler):
    """A job server sends nobody elsewhere, and the token is for this server alone."""

    def redirect_request(self, *_: object) -> None:
        """Leaves the answer as it is, which is an error then."""


class ServerRefused(ThermotuneError):
    """The job server failed at what it was asked for.

    Attributes:
        text: All that it said.
    """

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


class JobServer:
    """Talks to a job server.

    Args:
        url: For example ``http://head:8265``.

    Raises:
        UsageError: The token cannot be read, or there is a password in the address.
    """

    def __init__(self, url: str) -> None:
        if "@" in url:  # it would be repeated in messages
            raise UsageError(
                f"the address of a job server must hold no name or password, got ...@{url.rpartition('@')[2]}. Who may "
                f"use the cluster is proved by a token; put it into {VALUE}"
            )
        self.url = url
        self._token = token()
        self._opener = build_opener(_NoRedirects)

    def ray_version(self) -> str:
        """The version of Ray that the cluster runs.

        Raises:
            ServerAway: Nothing answers.
            UsageError: What answers is no job server, or does not accept the token.
        """
        try:
            version = self._json("GET", "/api/version")["ray_version"]
        except (KeyError, TypeError) as error:
            raise self._foreign() from error
        return str(version)

    def jobs(self) -> list[Job]:
        """All jobs of studies that the cluster knows, oldest first.

        Raises:
            ServerAway: Nothing answers.
            UsageError: What answers is no job server, or does not accept the token.
        """
        found = self._json("GET", "/api/jobs/")
        if not isinstance(found, list) or not all(isinstance(job, dict) for job in found):
            raise self._foreign()
        jobs = [job for job in map(Job.from_json, found) if job is not None]
        return sorted(jobs, key=lambda job: job.began or datetime.max.replace(tzinfo=UTC))

    def job(self, name: str) -> Job:
        """The present state of a job.

        Raises:
            JobUnknown: There is none of this id.
            ServerAway: Nothing answers.
        """
        job = Job.from_json(self._of_job(name))
        if job is None:
            raise JobUnknown(f"job {name} at {self.url} must be one of thermotune, but it is not")
        return job

    def upload(self, uri: str, content: bytes) -> None:
        """Puts a package where the nodes of the cluster find it, unless it is there.

        Args:
            uri: ``gcs://`` and a name that says the content.
            content: A zip file.
        """
        path = f"/api/packages/{quote(uri.replace('://', '/', 1))}"
        try:
            self._read("GET", path)  # Ray keeps it for some minutes from now on, until a job uses it
        except _NotFound:
            self._read("PUT", path, content)

    def submit(
        self, name: str, entrypoint: str, *, package: str, variables: dict[str, str], metadata: dict[str, str]
    ) -> None:
        """Starts a job on the head of the cluster.

        Args:
            name: Its submission id.
            entrypoint: A line for the shell, run in the unpacked package.
            package: URI of the package, for the driver and all workers.
            variables: Environment of the driver and all workers.
            metadata: To find it by.

        Raises:
            FileExistsError: There is a job of this id.
        """
        environment = {"working_dir": package, "env_vars": variables}
        body = {"submission_id": name, "entrypoint": entrypoint, "runtime_env": environment, "metadata": metadata}
        deadline = time.monotonic() + HEAD_START_S
        while True:
            try:
                self._json("POST", "/api/jobs/", body)
                return
            except ServerRefused as error:
                if f"{name} already exists" in error.text:
                    raise FileExistsError(name) from error
                if _NOT_YET not in error.text or time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    def stop(self, name: str) -> None:
        """Asks for a job's end; returns at once."""
        self._read("POST", f"/api/jobs/{quote(name)}/stop")

    def log(self, name: str) -> str:
        """All that a job has written so far.

        Raises:
            JobUnknown: There is no such job.
            ServerAway: Nothing answers.
            ServerRefused: The log cannot be read.
        """
        return str(self._of_job(name, "/logs").get("logs") or "")

    async def tail(self, name: str) -> AsyncIterator[str]:
        """What a job writes, from its first line until it has ended; pieces need not end with a line.

        Raises:
            ServerAway: The connection broke, or there is none. It may also end without a word before the job does.
        """
        import aiohttp

        url = f"{self.url}/api/jobs/{quote(name)}/logs/tail"
        with self._explained():
            try:
                async with aiohttp.ClientSession(headers=self._headers, trust_env=True) as session:
                    async with asyncio.timeout(TIMEOUT_S):  # a proxy may swallow it
                        stream = await session.ws_connect(url, heartbeat=HEARTBEAT_S, max_msg_size=0)
                    async for piece in stream:
                        if piece.type is aiohttp.WSMsgType.TEXT:
                            yield piece.data
                        else:
                            break
            except aiohttp.ClientError as error:
                raise ServerAway(f"the job server at {self.url} does not answer any more ({error})") from error

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _of_job(self, name: str, path: str = "") -> dict[str, Any]:  # Any: JSON
        try:
            found = self._json("GET", f"/api/jobs/{quote(name)}{path}")
        except _NotFound as error:
            raise JobUnknown(
                f"the cluster at {self.url} must know job {name}, but it does not: its head was started anew since, or "
                "the job was deleted"
            ) from error
        if not isinstance(found, dict):
            raise self._foreign()
        return found

    def _json(self, method: str, path: str, body: object = None) -> Any:  # Any: JSON
        content = self._read(method, path, None if body is None else json.dumps(body).encode())
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._foreign() from error

    def _read(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {**self._headers, "Content-Type": "application/json", "User-Agent": "thermotune"}
        request = Request(self.url + path, data=body, method=method, headers=headers)
        with self._explained(), self._opener.open(request, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what can go wrong on the way into what a user can do."""
        try:
            yield
        except HTTPError as error:
            raise self._refusal(error.code, error.read().decode(errors="replace")) from error
        except (URLError, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise UsageError(
                    f"the certificate of {self.url} must be one that this machine trusts, but it is not "
                    f"({reason.verify_message}). If it is your own, name its authority's file in SSL_CERT_FILE"
                ) from error
            if isinstance(reason, ssl.SSLError):
                raise self._foreign() from error
            raise ServerAway(
                f"no job server answers at {self.url} ({getattr(reason, 'strerror', None) or reason}). Is the cluster "
                "up, its dashboard reachable from here (ray start --head --dashboard-host=...), and the port right? "
                "Ray's own is 8265. Through a gateway: ssh -L 8265:localhost:8265 GATEWAY, then http://localhost:8265"
            ) from error
        except HTTPException as error:
            raise self._foreign() from error

    def _refusal(self, code: int, text: str) -> ThermotuneError:
        said = (text.strip().splitlines() or [""])[-1]
        if code == 401:
            if self._token is None:
                return UsageError(
                    f"the cluster at {self.url} wants a token, and none was found. Put it into {VALUE}, or into a "
                    f"file that {FILE} names, or into ~/{DEFAULT_FILE}. On the head: ray get-auth-token"
                )
            return UsageError(f"the cluster at {self.url} wants another proof than a token: {said}")
        if code == 403:
            return UsageError(
                f"the cluster at {self.url} does not accept the token that was found here ({VALUE}, {FILE} or "
                f"~/{DEFAULT_FILE}). Get the right one: on the head, ray get-auth-token"
            )
        if code == 404:
            return _NotFound(str(self._foreign()))
        if code in range(300, 400):
            return self._foreign()
        if code in _BUSY:
            return ServerAway(f"the job server at {self.url} is not ready ({code})")
        return ServerRefused(f"the job server at {self.url} could not do what was asked ({code}): {said}", text)

    def _foreign(self) -> UsageError:
        return UsageError(
            f"a job server of Ray must answer at {self.url}, but something else does. Give the address of the "
            "dashboard (port 8265, unless it was set otherwise), with https:// if it is encrypted"
        )
