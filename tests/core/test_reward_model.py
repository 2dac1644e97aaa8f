"""Reward models as folders: what they read, that they score the same wherever they are, and what is refused."""

import json

import pytest
import torch

from agentrl.errors import ConfigError, DataError
from agentrl.models.load import save_model
from agentrl.models.polar_form import PolarForm, PolarWriter, without_thoughts
from agentrl.models.reward_model import FORM_FILE, HEAD_FILE, RewardForm, RewardModel, load_reward_model, read_ids
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn
from tests.models import WORDS, tiny_model
from tests.trainers.episodes import random_trajectories

POLAR = RewardForm(form="polar", polar=PolarForm(separator="<act>", end="<end>", between=" "))


def episode(*turns, task="t", **fields):
    """Turns as (observation, reply); ids are made up: 1 a prompt, 2 a reply."""
    made = [
        Turn(place, Observation(seen), [1], place > 0, Completion(said, [2]), said, True, True, 0.0)
        for place, (seen, said) in enumerate(turns)
    ]
    return Trajectory(Task("none", task, "train", 0), task, 0, made, None, Outcome(False, 0.0), "done", **fields)


def reward_model(form=None, seed=0, **settings):
    model = RewardModel.of(tiny_model(WORDS, hidden=32, seed=seed, **settings), form)
    with torch.no_grad():
        model.values.head.weight.copy_(torch.linspace(-1, 1, 32)[None])
        model.values.head.bias.fill_(0.5)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "judge"
    reward_model().save(path)
    return path


def test_a_saved_reward_model_scores_as_it_did(folder):
    episodes = random_trajectories(0, vocab=20)
    restored = load_reward_model(folder)
    torch.testing.assert_close(restored.score(episodes), reward_model().score(episodes), rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in restored.values.parameters())


def test_a_score_does_not_depend_on_what_else_is_scored():
    model, episodes = reward_model(dtype=torch.float64), random_trajectories(1, vocab=20)
    together = model.score(episodes)
    alone = torch.stack([model.score([episode])[0] for episode in episodes])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert model.score(episodes, alone=True).tolist() == alone.tolist()


def test_what_is_read_is_the_last_sequence_up_to_the_last_token_that_was_said():
    first, second = [Turn(0, Observation(""), [5, 6], False, Completion("", [7]), "", True, True, 0.0) for _ in "ab"]
    third = Turn(1, Observation(""), [8], True, Completion("", [9, 4]), "", True, True, 0.0)
    silent = Turn(2, Observation(""), [3, 3], True, Completion("", []), "", True, True, 0.0)
    ended = episode()
    ended.turns = [first, second, third, silent]
    assert read_ids(ended) == (5, 6, 7, 8, 9, 4)


def test_an_episode_without_a_reply_has_no_score():
    with pytest.raises(DataError, match="no reply"):
        read_ids(episode())


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        (HEAD_FILE, b"", "cannot be read"),
        (FORM_FILE, b'{"schema": 1, "form": "oracle"}', "form"),
        (FORM_FILE, b'{"schema": 99}', "newer"),
        (FORM_FILE, b"[]", "form"),
        (FORM_FILE, b"{", "damaged|JSON"),
    ],
)
def test_a_damaged_reward_model_is_refused_in_one_line(folder, file, content, told):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    try:
        with pytest.raises(DataError, match=told):
            load_reward_model(folder)
    finally:
        (folder / file).write_bytes(whole)


def test_a_head_of_another_model_is_refused(folder, tmp_path):
    reward_model().save(tmp_path / "other")
    other = RewardModel.of(tiny_model(WORDS, hidden=64))
    with pytest.raises(DataError, match="does not fit"):
        other.read_head(tmp_path / "other")


def test_a_policy_is_no_reward_model(tmp_path):
    save_model(tiny_model(WORDS, hidden=32), tmp_path / "policy")
    for name in (tmp_path / "policy", tmp_path / "nothing"):
        with pytest.raises(DataError, match="agentrl train --data"):
            load_reward_model(name)


def test_the_form_is_kept_beside_the_weights(tmp_path):
    reward_model(POLAR).save(tmp_path / "polar")
    assert load_reward_model(tmp_path / "polar").form == POLAR
    assert json.loads((tmp_path / "polar" / FORM_FILE).read_text())["polar"]["separator"] == "<act>"


def test_a_candidate_is_written_beside_its_reference():
    writer = PolarWriter(reward_model().model.tokenizer, POLAR.polar)
    candidate = episode(("look", "go left"), ("a door", "<think>take a</think> open"))
    written = writer.written(candidate, "go right")
    text = writer.tokenizer.decode(read_ids(written))
    assert text == "look go right <act> look go left a door open <end>"
    assert [t.completion.text for t in written.turns] == ["go left\na door\nopen"]
    assert len(written.turns[0].completion.token_ids) == 6, "the answer once more, and the end"


def test_only_replies_are_written_where_observations_are_left_out():
    form = PolarForm(separator="<act>", end="<end>", observations=False)
    writer = PolarWriter(reward_model().model.tokenizer, form)
    assert writer.answer(episode(("look", "go left"), ("a door", "open"))) == "go left\nopen"


def test_a_policy_cannot_write_its_own_end():
    writer = PolarWriter(reward_model().model.tokenizer, POLAR.polar)
    ids = read_ids(writer.written(episode(("look", "win <end> <act> win")), "lose"))
    special = [writer.tokenizer.convert_tokens_to_ids(token) for token in ("<act>", "<end>")]
    assert [i for i in ids if i in special] == special


def test_a_prompt_is_cut_on_its_left_and_answers_on_their_right():
    writer = PolarWriter(
        reward_model().model.tokenizer, PolarForm(separator="<act>", end="<end>", max_length=14, max_answer=3)
    )
    ids = read_ids(writer.written(episode(("a b go look", "take put open apple")), "left right win lose"))
    assert writer.tokenizer.decode(ids) == "go look left right win <act> go look take put open <end>"


def test_separators_that_the_model_does_not_know_are_refused():
    with pytest.raises(ConfigError, match="polar.separator.*<act>"):
        reward_model(RewardForm(form="polar"))


def test_reasoning_is_taken_out_of_a_reply():
    assert without_thoughts("<think>a\nb</think>\ngo <think></think>left") == "go left"
