"""A study as a job of a real cluster, seen from a client with an environment of its own."""

import asyncio
import contextlib
import json
import signal
import threading
import time
from urllib.parse import urlparse

import pytest

from results.environment import collect
from tests.cluster import ray_cluster
from tests.search.commands import Driver, rows_of, thermotune
from tests.search.crashes import assert_whole, begun, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CANARY = "canary-4711"
STUDY = """
name: client
recipe: {model: mlp-1024-1024, batch_size: 16, epochs: 9}
search: {trials: 8}
baseline: null
stopping: {name: asha, grace_epochs: 3}
seeds: {confirm: 2}
confirm: {top: 1}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with ray_cluster(tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Of the user, with a study file; the cluster's processes have another one."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("shared") / "runs"


@pytest.fixture
def user(cluster, home, root):
    """Runs a command of the user to its end."""

    def run(*arguments, **variables):
        known = {"RAY_AUTH_TOKEN": cluster.token, "RAY_API_SERVER_ADDRESS": cluster.jobs}
        return thermotune(root, *arguments, home=home, **{**known, **variables})

    return run


class Line:
    """A connection to the job server that can be cut."""

    def __init__(self, url):
        self._there = urlparse(url)
        self._open = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self, seconds):
        """Breaks all connections, and takes no new ones for a while."""
        self._loop.call_soon_threadsafe(self._close)
        time.sleep(seconds)
        asyncio.run_coroutine_threadsafe(self._listen(self.port), self._loop).result()

    def close(self):
        self._loop.call_soon_threadsafe(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready):
        self._loop.run_until_complete(self._listen(0))
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    async def _listen(self, port):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    def _close(self):
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        there, back = await asyncio.open_connection(self._there.hostname, self._there.port)
        self._open |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        self._open -= {writer, back}

    async def _copy(self, reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()


def test_a_study_is_sent_detached_from_stopped_and_resumed(cluster, home, root, user):
    folder = root / "client"
    known = {"RAY_AUTH_TOKEN": cluster.token, "RAY_API_SERVER_ADDRESS": cluster.jobs, "AWS_SECRET_ACCESS_KEY": CANARY}
    attached = Driver(root, "submit", str(home / "mine.yaml"), home=home, **known)
    assert attached.wait_for(lambda: trained(folder) and "/10 trials" in attached.log.read_text())

    second = user("submit", "mine.yaml")
    assert second.returncode == 2
    assert "job client-1 of client is RUNNING" in second.stderr

    assert attached.kill(signal.SIGINT) == 130
    said = attached.log.read_text()
    for text in (
        "Started job client-1",
        "go along: AWS_SECRET_ACCESS_KEY",
        "exploring",
        "/10 trials",
        "Detached.",
    ):
        assert text in said
    assert '"thermotune"' not in said

    again = Driver(root, "logs", "client", "-f", home=home, **known)
    assert again.wait_for(lambda: "exploring" in again.log.read_text())
    stopped = user("stop", "client")
    assert stopped.returncode == 0, stopped.stderr
    assert "client is stopped, and everything is saved" in stopped.stderr
    assert again.process.wait(timeout=120) == 75
    assert not (folder / "lock").exists()
    status = user("status", "client")
    assert "Job client-1: STOPPED" in status.stderr
    assert "client: INTERRUPTED" in status.stdout

    line = Line(cluster.jobs)
    resumed = Driver(root, "resume", "client", home=home, **{**known, "RAY_API_SERVER_ADDRESS": line.url})
    assert resumed.wait_for(lambda: begun(folder, "s0002")), resumed.log.read_text()
    line.cut(3.0)
    assert resumed.process.wait(timeout=240) == 0, resumed.log.read_text()
    line.close()
    said = resumed.log.read_text()
    assert "The connection to the cluster is lost" in said
    assert "The cluster answers again" in said
    assert said.count("joining the cluster") == 1
    assert "client  COMPLETED" in said
    assert_whole(rows_of(folder), epochs=9)

    recorded, here = json.loads((folder / "environment.json").read_text()), collect()
    assert recorded["thermotune"]["commit"] == here["thermotune"]["commit"] is not None
    assert recorded["versions"]["thermotune"] == here["versions"]["thermotune"]
    logs = user("logs", "client")
    assert "client  COMPLETED" in logs.stdout
    for text in (logs.stdout, logs.stderr, said, *(p.read_bytes().decode("latin1") for p in files_below(root))):
        assert CANARY not in text


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_wait_gives_the_id_alone_on_stdout_and_logs_ends_as_the_driver_did(user):
    sent = user("submit", "mine.yaml", "--no-wait")
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == "client-3\n"
    assert "logs client -f --address" in sent.stderr
    followed = user("logs", "client", "-f")
    assert followed.returncode == 2
    assert "client exists in" in followed.stderr
    assert user("status").stdout.count("client-") == 3


@pytest.mark.parametrize(
    ("token", "words"), [("", "wants a token, and none was found"), ("wrong" * 12, "does not accept the token")]
)
def test_a_token_that_is_missing_or_wrong_is_said(user, token, words):
    done = user("submit", "mine.yaml", RAY_AUTH_TOKEN=token)
    assert done.returncode == 2
    assert words in done.stderr
    assert "wrongwrong" not in done.stderr
