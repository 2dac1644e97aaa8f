"""Episodes on the disk as they end: what a kill leaves is read, and what it cut is played again."""

import asyncio

import pytest

import agentrl
from agentrl.errors import DataError
from agentrl.eval.played import PLAYED, Played, Read, in_order, key_of, read_played
from agentrl.records import trajectory_to_json
from tests.core.counter_world import TASKS, Counter, Says


def written(folder, trajectories):
    async def write():
        played = Played(folder)
        for trajectory in trajectories:
            played.add(trajectory, at=2.5)
        await played.synced()
        played.close()

    asyncio.run(write())


@pytest.fixture(scope="module")
def episodes():
    return agentrl.evaluate(world=Counter, tasks=TASKS, policy=Says()).trajectories


def test_what_was_added_is_read_again(tmp_path, episodes):
    written(tmp_path, episodes)
    read = read_played(tmp_path)
    found = read.episodes
    assert read.damaged == 0 and read.seconds == 2.5 and list(found) == [key_of(episode) for episode in episodes]
    assert [trajectory_to_json(t) for t in found.values()] == [trajectory_to_json(t) for t in episodes]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_a_kill_has_cut_is_dropped_and_the_file_goes_on(tmp_path, episodes, cut):
    written(tmp_path, episodes[:2])
    file = tmp_path / PLAYED
    file.write_bytes(file.read_bytes()[:-cut])
    read = read_played(tmp_path, repair=True)
    assert read.damaged == 1 and list(read.episodes) == [key_of(episodes[0])]
    written(tmp_path, episodes[2:3])
    assert list(read_played(tmp_path).episodes) == [key_of(episodes[0]), key_of(episodes[2])]


def test_of_two_lines_for_an_episode_the_later_holds(tmp_path, episodes):
    written(tmp_path, [*episodes[:3], episodes[0]])
    found = read_played(tmp_path).episodes
    order = {key_of(episode): place for place, episode in enumerate(episodes)}
    assert [t.task.id for t in in_order(found, order)] == [t.task.id for t in episodes[:3]]


def test_without_a_file_nothing_was_played_and_a_newer_one_is_refused(tmp_path):
    assert read_played(tmp_path) == Read({})
    (tmp_path / PLAYED).write_text('{"schema": 99}\n')
    with pytest.raises(DataError, match="update it"):
        read_played(tmp_path)
