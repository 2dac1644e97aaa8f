"""Caches of this folder's tests stand in a folder of their own, shared by the tests of a run."""

import pytest

from tests.envs.textworld_games import unpack


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    unpack(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTRL_CACHE", str(cache))
        yield
