"""Being attached to a job through servers and proxies that fail; a real job server fails so only by chance."""

import asyncio
import io
import threading
import time

import pytest
from aiohttp import web
from rich.console import Console

from search.jobs import following, server
from search.jobs.log import SAVED
from search.jobs.server import JobServer, JobUnknown, ServerRefused
from search.progress import Display

BEGIN = "Running entrypoint for job d-1: exec sh\nfirst\n"
END = f'{{"thermotune": "result"}}\nTHE REPORT\n{{"thermotune": "end of result"}}\n{SAVED}\n'


class Server:
    """Speaks as a job server that has one job, d-1; the attributes say how, and may change."""

    def __init__(self):
        self.state, self.code, self.log = "RUNNING", None, BEGIN
        self.tail = no_websockets
        self.logs_fail = False
        self.looks = 0
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        ready.wait()

    def end(self, rest=END, state="SUCCEEDED", code=0):
        """The job writes its last lines and ends."""
        self.log += rest
        self.state, self.code = state, code

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready):
        app = web.Application()
        app.router.add_get("/api/jobs/d-1", self._job)
        app.router.add_get("/api/jobs/d-1/logs", self._logs)
        app.router.add_get("/api/jobs/d-1/logs/tail", self._tail)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _job(self, _):
        told = {"study": "d", "root": "/r", "kind": "submit"}
        about = {"submission_id": "d-1", "status": self.state, "driver_exit_code": self.code, "metadata": told}
        return web.json_response(about)

    async def _logs(self, _):
        self.looks += 1
        if self.logs_fail:
            return web.Response(status=500, text="Traceback\nUnicodeDecodeError: no UTF-8\n")
        return web.json_response({"logs": self.log})

    async def _tail(self, request):
        return await self.tail(request)


async def no_websockets(_):
    return web.Response(status=400, text="no websockets here")


@pytest.fixture
def there(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.02)
    running = Server()
    yield running
    running.close()


def follow(there):
    screen = io.StringIO()
    with Display(Console(file=screen)) as display:
        job, reader = following.follow(JobServer(there.url), "d-1", display)
    return job, reader, screen.getvalue()


def until(true):
    """For a thread beside the one that is attached."""
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_job_that_has_ended_is_shown_to_its_end_where_no_websocket_works(there):
    there.end(state="FAILED", code=3)
    job, reader, shown = follow(there)
    assert (job.state, following.exit_code(job), reader.saved) == ("FAILED", 3, True)
    assert "first" in shown


def test_where_no_websocket_ever_works_the_log_is_looked_at_for_longer_than_a_server_may_be_away(
    there, monkeypatch, capsys
):
    monkeypatch.setattr(following, "GIVE_UP_S", 0.1)

    def write():
        until(lambda: there.looks > 2)
        there.log += "second\n"
        time.sleep(0.4)
        there.end()

    writing = threading.Thread(target=write)
    writing.start()
    job, _, shown = follow(there)
    writing.join()
    assert job.state == "SUCCEEDED"
    assert there.looks > 5
    assert [shown.count(line) for line in ("first\n", "second\n", SAVED)] == [1, 1, 1]
    assert "connection to the cluster" not in shown
    assert capsys.readouterr().out == "THE REPORT\n"


@pytest.mark.parametrize("ending", ["quiet", "cut"])
def test_what_a_websocket_left_out_when_it_ended_is_shown_once(there, capsys, ending):
    async def part(request):
        await (socket := web.WebSocketResponse()).prepare(request)
        await socket.send_str(BEGIN + END[:20])
        there.log = BEGIN
        there.end()
        if ending == "cut":
            request.transport.abort()
        return socket  # which closes it

    there.log, there.tail = BEGIN[:10], part
    job, reader, shown = follow(there)
    assert (job.state, reader.saved) == ("SUCCEEDED", True)
    assert shown.count("first") == 1
    assert capsys.readouterr().out == "THE REPORT\n"


def test_a_proxy_that_swallows_websockets_does_not_hold_the_display(there, monkeypatch):
    monkeypatch.setattr(server, "TIMEOUT_S", 0.3)

    async def swallow(_):
        there.end()
        await asyncio.sleep(5.0)
        return web.Response()

    there.tail = swallow
    began = time.monotonic()
    assert follow(there)[0].state == "SUCCEEDED"
    assert time.monotonic() - began < 4.0


def test_a_log_that_cannot_be_read_is_given_up_in_the_end_and_holds_no_ended_job(there, monkeypatch):
    monkeypatch.setattr(following, "GIVE_UP_S", 0.1)
    there.logs_fail = True
    with pytest.raises(ServerRefused, match="no UTF-8"):
        follow(there)
    there.end()
    job, _, shown = follow(there)
    assert job.state == "SUCCEEDED"
    assert "last lines of the log cannot be read" in shown


def test_a_job_that_is_gone_ends_the_command_and_can_be_resumed(there):
    with pytest.raises(JobUnknown, match="its head was started anew") as told:
        following.follow(JobServer(there.url), "d-2", Display(Console(file=io.StringIO())))
    assert told.value.exit_code == 75
