import pytest

from tests.tasks.saved_model import make_config, save_model


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of a run that ended with a model; a test file may leave results there."""
    path = tmp_path_factory.mktemp("run")
    save_model(make_config(), path)
    return path
