from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("trainables", deadline=None)  # the first call of a kernel may take long
settings.load_profile("trainables")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with real data are skipped, and say so, where these are not."""
    if not os.environ.get("THERMOTUNE_TEST_DATA"):
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason="THERMOTUNE_TEST_DATA is not set"))


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Packs go to a folder of this test run, never to the user's cache."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "THERMOTUNE_DATA", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
