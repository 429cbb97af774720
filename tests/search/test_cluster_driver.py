"""A study's driver on a real cluster: a head without cores, nodes that are killed, come, fit or not, and go."""

import json
import re
import time

import pytest

from results.places import place
from results.schema import SessionRow, StudyState, TrialRow, TrialState
from search.history import History
from tests.cluster import ray_cluster
from tests.search.commands import Driver, rows_of, thermotune
from tests.search.crashes import assert_whole, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = "{name: NAME, recipe: {epochs: 3, batch_size: 16}, search: {trials: 4}, baseline: null, seeds: {confirm: 2}, "
LONG = (
    "{name: NAME, recipe: {model: mlp-256-256, epochs: 150, batch_size: 8}, search: {trials: 4}, baseline: null, "
    "seeds: {confirm: 2}, confirm: {top: 1}, stopping: {grace_epochs: 75}, "
)


CANARY = "canary-5f1c8a7e"
"""A secret: moto takes any."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Its nodes know no store. The second does not see where the driver's machine keeps what is needed there alone."""
    home = tmp_path_factory.mktemp("cluster")
    hidden = home / ".cache" / "thermotune"
    hidden.mkdir(parents=True)
    without_store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_SECRET_ACCESS_KEY": "none"}
    with ray_cluster(home, head_cpus=0, **without_store) as made:
        made.add_node("--labels=zone=a")
        made.add_node("--labels=zone=b", prefix=without(hidden))
        yield made


def without(folder):
    """Begins a command that finds a folder empty, as on a machine that does not share it."""
    return ("unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs {folder} && exec "$0" "$@"')


@pytest.fixture
def start(cluster, write):
    """Starts the driver of a study of the given text in the background; gives it with the study's folder."""

    def submit(name, text, root=None):
        root = root or cluster.home / "runs"
        file, variables = write(text.replace("NAME", name)), {**cluster.credentials, "AWS_SECRET_ACCESS_KEY": CANARY}
        driver = Driver(root, "submit", file, "--address", cluster.address, home=cluster.home, **variables)
        return driver, root / name

    return submit


def workers(cluster):
    """The workers of trials, of all studies so far."""
    return [actor for actor in cluster.listed("actors") if actor["class_name"] == "PlacedStudyTrial"]


def homes(cluster, *, but=()):
    """The nodes on which workers have run, but for some that were there before."""
    known = {actor["actor_id"] for actor in but}
    return {actor["node_id"] for actor in workers(cluster) if actor["actor_id"] not in known and actor["node_id"]}


def said(driver, pattern):
    return lambda: re.search(pattern, driver.log.read_text()) is not None


def running(folder):
    return [t for t in History.fold(rows_of(folder)).trials.values() if t.state is TrialState.RUNNING]


def test_a_wrong_token_is_said_and_leaves_nothing_behind(cluster, write):
    file, root = write(SMALL.replace("NAME", "refused") + "}"), cluster.home / "runs"
    credentials = {**cluster.credentials, "RAY_AUTH_TOKEN": "f" * 64}
    done = thermotune(root, "submit", file, "--address", cluster.address, home=cluster.home, **credentials)
    assert done.returncode == 2
    assert "must be shown its token, but the one found here is another" in done.stderr
    assert not root.exists()


def test_trials_run_on_all_nodes_and_need_of_the_drivers_machine_but_the_way_to_the_store(cluster, start, bucket):
    driver, folder = start("spread", SMALL + "}", root=place(f"s3://{bucket}/cluster"))
    assert driver.process.wait(timeout=180) == 0, driver.log.read_text()
    rows = rows_of(folder)
    assert_whole(rows, epochs=3)
    assert len(homes(cluster)) == 2
    begun = next(row for row in rows if isinstance(row, SessionRow))
    assert begun.slots == 4
    assert sorted(node["cpus"] for node in json.loads(begun.environment)["cluster"]["nodes"]) == [0, 2, 2]
    log = driver.log.read_text()
    assert not re.search(r"raylet|autoscaler|\bINFO\b|\bWARNING\b|_client\.cc", log), log
    assert re.search(r"From your environment, these go along: .*AWS_SECRET_ACCESS_KEY", log)
    assert CANARY not in log
    assert not any(CANARY.encode() in (folder / name).read_bytes() for name in ("study.yaml", "environment.json"))


def test_packed_trials_share_a_node_and_a_driver_that_is_killed_leaves_none_of_them(cluster, start):
    before = workers(cluster)
    driver, folder = start("packed", LONG + "resources: {placement: pack, max_concurrent: 2}}")
    assert driver.wait_for(lambda: len(running(folder)) == 2 and trained(folder), timeout_s=240)
    assert len(homes(cluster, but=before)) == 1
    driver.kill()
    end = time.monotonic() + 60
    while any(actor["state"] != "DEAD" for actor in workers(cluster)):
        assert time.monotonic() < end, "workers outlive their driver"
        time.sleep(0.5)


def test_nodes_are_lost_taken_away_and_unfit_and_the_study_waits_for_others_and_goes_on(cluster, start):
    driver, folder = start("moved", LONG + 'resources: {labels: {zone: "in(a, b)"}}}')
    assert driver.wait_for(lambda: len(running(folder)) == 4 and trained(folder), timeout_s=240)
    cluster.kill_node(2)
    cluster.drain(next(node["node_id"] for node in cluster.listed("nodes") if node["labels"].get("zone") == "a"), 60)
    assert driver.wait_for(said(driver, r"Node \S+ \(\w+\) will be taken away in [3-6]\d s with 2 trials, which go on"))
    assert driver.wait_for(said(driver, r"Node \S+ \(\w+\) was lost with 2 trials, which go on elsewhere; 0 trials"))
    assert driver.wait_for(said(driver, r"waiting for a node with 1 CPU and the label zone=in\(a,b\); there (is|are) "))
    cluster.add_node("--labels=zone=b", prefix=without(folder.parent))
    unfit = rf"Node \S+ \(\w+\) is left out.*; 0 trials at once now. {folder.parent} is another folder on this machine"
    assert driver.wait_for(said(driver, unfit))
    cluster.add_node("--labels=zone=b", cpus=4)
    assert driver.wait_for(said(driver, r"Node \S+( \(\w+\))? joined; 4 trials at once now"))
    assert driver.process.wait(timeout=240) == 0, driver.log.read_text()
    rows = rows_of(folder)
    history = assert_whole(rows, epochs=150)
    assert {trial.crashes for trial in history.trials.values()} == {0}
    reasons = [row.reason or "" for row in rows if isinstance(row, TrialRow) and row.state == TrialState.PENDING]
    assert sum("was lost" in reason or "could not be reached" in reason for reason in reasons) == 2
    assert sum("will be taken away" in reason for reason in reasons) == 2
    events = [r.reason for r in rows if isinstance(r, SessionRow) and r.state == StudyState.RUNNING and r.reason]
    assert len(events) == 5
    left_out = [reason for reason in reasons if reason == "its node is unfit for the study, and left out"]
    assert 1 <= len(left_out) <= 4
