"""Trajectories survive the way through a file: to the bit where the trainer computes with them."""

import dataclasses
import gzip
import math
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.errors import DataError
from agentrl.records import (
    hash_of,
    load_image,
    read_trajectories,
    trajectory_from_json,
    trajectory_to_json,
    write_trajectories,
)
from agentrl.types import ENDS, SCHEMA_VERSION, Completion, Observation, Outcome, Task, Trajectory, Turn
from tests.core.worlds import PNG

texts = st.text(max_size=20)
ids = st.lists(st.integers(0, 2**31 - 1), max_size=6)
names = st.none() | st.lists(texts, max_size=3).map(tuple)
finite = st.floats(allow_nan=False, allow_infinity=False)
observations = st.builds(Observation, texts, admissible=names, visited=names)


@st.composite
def completions(draw):
    token_ids = draw(ids)
    size = len(token_ids)
    one_each = lambda values: st.lists(values, min_size=size, max_size=size)  # noqa: E731
    return Completion(
        draw(texts),
        token_ids,
        draw(st.none() | one_each(st.floats(max_value=0, allow_nan=False))),
        draw(st.sampled_from(["stop", "length"])),
        draw(st.just([]) | one_each(st.integers(0, 9))),
        draw(st.none() | one_each(ids)),
        draw(st.integers(0, 9)),
        draw(st.integers(0, 9)),
        draw(st.none() | finite),
    )


@st.composite
def trajectories(draw):
    turns = [
        Turn(
            position,
            draw(observations),
            draw(ids),
            draw(st.booleans()),
            draw(completions()),
            draw(texts),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(finite),
            draw(st.sampled_from(["act", "summarise"])),
            draw(st.none() | texts),
            draw(st.lists(texts, max_size=2).map(tuple)),
            draw(st.dictionaries(st.sampled_from(["policy", "world"]), st.sampled_from([0.0, 0.25]))),
            draw(st.booleans()),
        )
        for position in range(draw(st.integers(0, 3)))
    ]
    return Trajectory(
        Task("guess", draw(texts), "train", draw(st.integers(0, 2**63)), draw(texts), draw(st.none() | finite)),
        draw(texts),
        draw(st.integers(0, 99)),
        turns,
        draw(st.none() | observations),
        Outcome(draw(st.booleans()), draw(finite)),
        draw(st.sampled_from(sorted(ENDS))),
        draw(st.none() | texts),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(["sampled", "demonstration", "logged", "api"])),
        draw(texts),
        greedy=draw(st.booleans()),
    )


def bits(values):
    return None if values is None else [struct.pack("<d", value) for value in values]


@settings(max_examples=40, deadline=None)
@given(st.lists(trajectories(), max_size=3))
def test_what_is_written_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("records") / "step.jsonl.gz"
    write_trajectories(path, written)
    found = read_trajectories(path)
    assert found == written
    for before, after in zip(written, found, strict=True):
        for turn, other in zip(before.turns, after.turns, strict=True):
            assert bits(turn.completion.logprobs) == bits(other.completion.logprobs)


@settings(max_examples=40, deadline=None)
@given(trajectories())
def test_reading_and_writing_again_changes_nothing(trajectory):
    record = trajectory_to_json(trajectory)
    assert trajectory_to_json(trajectory_from_json(record)) == record


def one(**changes):
    turn = Turn(0, Observation("here"), [1, 2], False, Completion("go", [3, 0]), "go", True, True, 0.0)
    task = Task("guess", "a", "train", 7)
    whole = Trajectory(task, "g", 0, [turn], None, Outcome(True, 1.0), "done")
    return dataclasses.replace(whole, **changes)


def test_log_probs_that_are_no_finite_numbers_survive():
    turn = dataclasses.replace(one().turns[0], completion=Completion("go", [3, 0], [-math.inf, math.nan]))
    found = trajectory_from_json(trajectory_to_json(one(turns=[turn]))).turns[0].completion.logprobs
    assert found[0] == -math.inf and math.isnan(found[1])


@dataclass(frozen=True)
class Game:
    number: int
    things: tuple[str, ...]


def test_a_tasks_data_come_back_as_plain_dictionaries(tmp_path):
    task = Task("guess", "a", "train", 7, data=Game(3, ("cup", "mug")))
    write_trajectories(tmp_path / "step.jsonl.gz", [one(task=task)])
    (found,) = read_trajectories(tmp_path / "step.jsonl.gz")
    assert found.task.data == {"number": 3, "things": ["cup", "mug"]}


def test_images_are_files_named_by_their_content(tmp_path):
    path = tmp_path / "trajectories" / "step-000001.jsonl.gz"
    shown = one(final_observation=Observation("there", images=(PNG, PNG + b"x")))
    write_trajectories(path, [shown, shown])
    assert sorted(p.stem for p in (tmp_path / "images").iterdir()) == sorted([hash_of(PNG), hash_of(PNG + b"x")])
    assert read_trajectories(path) == [shown, shown]
    assert read_trajectories(path, with_images=False)[0].final_observation.images == ()
    (tmp_path / "images" / f"{hash_of(PNG)}.png").write_bytes(b"other")
    with pytest.raises(DataError, match="its content is not what it is named for"):
        read_trajectories(path)
    (tmp_path / "images" / f"{hash_of(PNG)}.png").unlink()
    with pytest.raises(DataError, match="cannot read"):
        read_trajectories(path)


@pytest.mark.parametrize("name", ["../../secret", "a" * 63, ""])
def test_an_image_outside_its_folder_is_refused(name, tmp_path):
    record = trajectory_to_json(one())
    record["final_observation"] = {"text": "", "images": [name]}
    with pytest.raises(DataError, match="is no name of an image"):
        trajectory_from_json(record, lambda name: load_image(tmp_path, name))


def test_a_newer_schema_is_refused():
    record = {**trajectory_to_json(one()), "schema": SCHEMA_VERSION + 1}
    with pytest.raises(DataError, match=f"has schema {SCHEMA_VERSION + 1}; this agentrl reads up to {SCHEMA_VERSION}"):
        trajectory_from_json(record)


@pytest.mark.parametrize("key", ["task", "turns", "outcome", "ended"])
def test_a_record_that_lacks_something_is_refused(key):
    record = trajectory_to_json(one())
    del record[key]
    with pytest.raises(DataError, match="a trajectory is damaged"):
        trajectory_from_json(record)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "step.jsonl.gz"
    with pytest.raises(DataError, match="there is no file"):
        read_trajectories(path)
    write_trajectories(path, [one()])
    whole = path.read_bytes()
    for damaged in (whole[:-12], b"", whole[:20] + b"\x00\x00" + whole[22:], b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            read_trajectories(path)
    path.write_bytes(gzip.compress(b"[1]\n"))
    with pytest.raises(DataError, match="line 1 is no trajectory"):
        read_trajectories(path)


def test_the_same_trajectories_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_trajectories(tmp_path / name, [one()])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
