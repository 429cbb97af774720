"""Reaching a cluster where there is none. With a real one: test_cluster_driver.py."""

import socket

import pytest

from search.address import Cluster
from search.errors import UsageError
from search.ray_session import reach


@pytest.fixture(autouse=True)
def without_token(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_an_address_where_nobody_listens_is_a_mistake_of_the_user():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"{address} does not answer .*Connection refused"):
            reach(Cluster(address))


def test_a_head_that_nobody_knows_is_a_mistake_of_the_user():
    with pytest.raises(UsageError, match=r"nowhere\.invalid:6379 does not answer"):
        reach(Cluster("nowhere.invalid:6379"))
