"""What ``--address`` and the environment may say."""

import pytest

from search.address import CLUSTER_VARIABLE, JOB_SERVER_VARIABLE, Cluster, Here, JobServer, address_of
from search.errors import UsageError


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in (JOB_SERVER_VARIABLE, CLUSTER_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (None, Here()),
        ("local", Here()),
        ("http://head:8265/", JobServer("http://head:8265")),
        ("https://rays.example", JobServer("https://rays.example")),
        ("auto", Cluster("auto")),
        ("head:6379", Cluster("head:6379")),
        ("[::1]:6379", Cluster("[::1]:6379")),
    ],
)
def test_an_address_is_known_by_its_form(text, meant):
    assert address_of(text) == meant


def test_the_option_goes_before_the_job_server_and_this_before_the_cluster_of_the_environment(monkeypatch):
    monkeypatch.setenv(CLUSTER_VARIABLE, "head:6379")
    assert address_of(None) == Cluster("head:6379")
    monkeypatch.setenv(JOB_SERVER_VARIABLE, "http://head:8265")
    assert address_of(None) == JobServer("http://head:8265")
    assert address_of("local") == Here()


@pytest.mark.parametrize("text", ["head:8265", "127.0.0.1:8265", "[::1]:8265"])
def test_a_job_server_without_its_scheme_is_asked_about(text):
    with pytest.raises(UsageError) as told:
        address_of(text)
    assert str(told.value).startswith(f"--address must be a URL where it is a job server, got {text!r}. Did you mean ")
    assert f"http://{text}?" in str(told.value)


@pytest.mark.parametrize(
    "text",
    ["http://me:canary@head:8265/x", "ray://me:canary@head:10001", "me:canary@head:6379", "me:can/ary@head:8265"],
)
def test_a_password_is_not_repeated(text):
    with pytest.raises(UsageError, match=r"got '\.\.\.@head:") as told:
        address_of(text)
    assert "ary" not in str(told.value)


def test_what_is_none_of_the_forms_names_where_it_comes_from(monkeypatch):
    monkeypatch.setenv(CLUSTER_VARIABLE, "ray://head:10001")
    with pytest.raises(
        UsageError, match=r"RAY_ADDRESS must be .*, got 'ray://head:10001'. Ray's client protocol is not"
    ):
        address_of(None)
