"""The live page: what is served to whom, how often the records are read, and what a reader sees change."""

from __future__ import annotations

import http.client
import json
import threading
import time

import pytest

from results.live import LiveServer
from results.lock import StudyLock
from results.report import build
from results.report.latest import Latest
from tests.browser import chromium, shown
from tests.results.synthetic import Study


@pytest.fixture
def study(tmp_path):
    begun = Study(tmp_path, trials=12)
    begun.begin()
    begun.writer.flush()
    return begun


@pytest.fixture
def restless(monkeypatch):
    monkeypatch.setattr("results.report.latest.REST", 0.0)


@pytest.fixture
def serve():
    servers = []

    def start(folder):
        server = LiveServer(folder, port=0)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer, answer.read().decode()


def explore(study, trials):
    for _ in range(trials):
        for arm in ("search", "baseline"):
            study.run(study.propose(arm), arm)
    study.writer.flush()


def test_an_answer_is_worked_out_anew_only_when_records_came(study):
    made = []
    latest = Latest(study.folder, lambda: made.append(1) or len(made), look_every_s=0)
    assert [latest.get().answer for _ in range(3)] == [1, 1, 1]
    explore(study, 1)
    assert [latest.get().answer for _ in range(3)] == [2, 2, 2]
    study.extend(20)
    assert latest.get().number == 3


def test_what_takes_long_to_work_out_is_worked_out_seldom(study):
    made = []
    latest = Latest(study.folder, lambda: time.sleep(0.2) or made.append(1), look_every_s=0)
    latest.get()
    explore(study, 1)
    latest.get()
    assert len(made) == 1
    time.sleep(1.1)
    latest.get()
    assert len(made) == 2


def test_the_records_are_looked_at_only_now_and_then(study):
    latest = Latest(study.folder, lambda: time.monotonic(), look_every_s=60)
    first = latest.get()
    explore(study, 1)
    assert latest.get() == first


def test_a_driver_that_comes_or_dies_is_a_change(study, restless):
    latest = Latest(study.folder, lambda: build(study.folder).state, look_every_s=0)
    states = [latest.get().answer]
    with StudyLock(study.folder):
        states.append(latest.get().answer)
    states.append(latest.get().answer)
    assert states == ["INTERRUPTED", "RUNNING", "INTERRUPTED"]


def test_many_readers_at_once_cost_one_reading(study):
    made = []

    def make():
        time.sleep(0.1)
        made.append(threading.get_ident())
        return "page"

    latest = Latest(study.folder, make)
    readers = [threading.Thread(target=latest.get) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(made) == 1


def test_an_answer_that_failed_is_tried_again(study):
    answers = iter([OSError("gone"), "back"])

    def make():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    latest = Latest(study.folder, make)
    with pytest.raises(OSError, match="gone"):
        latest.get()
    assert latest.get().answer == "back"


def test_the_page_is_there_before_the_first_trial(study, serve):
    answer, page = ask(serve(study.folder))
    assert answer.status == 200
    assert "No trial has been trained to the end yet" in page
    assert 'id="live"' in page


def test_a_study_that_nobody_has_begun_has_a_page(tmp_path, serve):
    Study(tmp_path, trials=12)
    answer, page = ask(serve(tmp_path / "digits-beta"))
    assert (answer.status, ">NEW<" in page) == (200, True)


def test_what_has_not_changed_is_not_sent_again(study, serve, restless):
    server = serve(study.folder)
    server.latest._look_every_s = 0
    first, _ = ask(server, "/page.json")
    tag = first.headers["ETag"]
    again, body = ask(server, "/page.json", If_None_Match=tag)
    assert (again.status, body) == (304, "")
    explore(study, 1)
    changed, body = ask(server, "/page.json", If_None_Match=tag)
    assert (changed.status, changed.headers["ETag"] != tag) == (200, True)
    assert "2 of 24 trials explored" in json.loads(body)["head"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_from_elsewhere_that_takes_this_address_is_refused(study, serve, host):
    answer, body = ask(serve(study.folder), Host=host)
    assert answer.status == 403
    assert "digits-beta" not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4000", "127.0.0.1:1"])
def test_this_machine_may_call_itself_by_its_names_also_through_a_tunnel(study, serve, host):
    assert ask(serve(study.folder), "/page.json", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "path", ["/study.yaml", "/../study.yaml", "//etc/passwd", "/%2e%2e/study.yaml", "/page.json/../x", "/records/"]
)
def test_no_file_is_served(study, serve, path):
    answer, body = ask(serve(study.folder), path)
    assert (answer.status, body) == (404, "there is only / here")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_but_reading_is_possible(study, serve, method):
    assert ask(serve(study.folder), method=method)[0].status == 501


def test_the_page_is_served_here_only_and_may_not_be_framed_or_kept(study, serve):
    server = serve(study.folder)
    assert server.server_address[0] == "127.0.0.1"
    headers = ask(server, "/page.json")[0].headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_study_that_cannot_be_read_is_said_to_be_so(study, serve):
    server = serve(study.folder)
    (study.folder / "study.yaml").write_text("- no mapping")
    answer, body = ask(server, "/page.json")
    assert answer.status == 503
    assert "study.yaml" in body


@pytest.mark.slow
def test_an_open_page_follows_the_study_and_keeps_what_the_reader_does(study, serve):
    explore(study, 6)
    server = serve(study.folder)
    with chromium() as browser, shown(browser, server.url) as found:
        page = found.page
        found.wait_until_drawn()
        curves = page.locator("#plot-curves")
        curves.scroll_into_view_if_needed()
        area = curves.locator(".nsewdrag").first.bounding_box()
        page.mouse.move(area["x"] + 50, area["y"] + 50)
        page.mouse.down()
        page.mouse.move(area["x"] + 250, area["y"] + 52, steps=4)
        page.mouse.up()
        zoomed = found.wait_for(
            "document.getElementById('plot-curves').layout.xaxis.range?.[1] < 20 "
            "&& document.getElementById('plot-curves').layout.xaxis.range"
        )
        assert page.locator("#live-text").text_content().startswith("Live, updated")
        page.evaluate("document.getElementById('figure-curves').scrollIntoView()")
        page.locator("#figure-curves").focus()
        top = "document.getElementById('figure-curves').getBoundingClientRect().top"
        before = page.evaluate(top)
        marks = page.locator("#plot-temperature .point").count()

        explore(study, 6)
        study.confirm()
        study.end()
        page.wait_for_selector("h1:has-text('COMPLETED')")
        page.wait_for_selector("#plot-seeds .main-svg", state="attached")
        found.wait_until_drawn()
        assert page.locator("#plot-temperature .point").count() > marks
        assert "completed" in page.title()
        assert page.evaluate("document.getElementById('plot-curves').layout.xaxis.range") == zoomed
        assert abs(page.evaluate(top) - before) < 30
        assert page.evaluate("document.activeElement.id") == "figure-curves"
        page.wait_for_function("document.getElementById('live-text').textContent === 'The study is complete'")
        assert page.locator("nav a[aria-current]").get_attribute("href") == "#figure-curves"
        assert found.complaints == []

        server.shutdown()
        server.server_close()
        page.wait_for_selector("#live.gone")
        assert "No answer from thermotune watch since" in page.locator("#live-text").text_content()
        assert page.locator("#said").text_content() == "The page is not live any more."
