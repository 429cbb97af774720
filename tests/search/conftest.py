import pytest


@pytest.fixture
def write(tmp_path):
    """Writes a study file and gives its path."""

    def make(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return make
