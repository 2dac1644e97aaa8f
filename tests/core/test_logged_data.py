"""Rows become groups of trajectories, in the ids of one model; and data say which world they are of."""

import json
from pathlib import Path

import pytest
import yaml

import agentrl
from agentrl.api import resolve_layers
from agentrl.briefs import briefs_of
from agentrl.composition import build, world_settings
from agentrl.config import DataConfig
from agentrl.data_world import flag_layers, is_logged
from agentrl.errors import DataError
from agentrl.foreign import drawn
from agentrl.logged_data import data_kind, read_data
from agentrl.logged_groups import num_tokens
from agentrl.memory.full import Full
from agentrl.models.renderer import Renderer
from agentrl.records import trajectory_from_json, trajectory_to_json, write_trajectories
from agentrl.registry import load
from agentrl.types import Observation
from tests.core import chat_templates
from tests.models import word_tokenizer

DATA = Path(__file__).parent / "data"
WORDS = ("sky", "is", "blue", "green", "what", "colour", "why", "light", "so", "be", "brief", "the", "=", "1", "2", "3")


@pytest.fixture(scope="module")
def renderer():
    return Renderer(word_tokenizer(WORDS))


def ids(renderer, text):
    """The ids of words; special tokens are words too."""
    return renderer._tokenizer.convert_tokens_to_ids(text.split())


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def read(folder, renderer, *rows, **options):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_data(path, memory=None, format=None, renderer=renderer, **options)


def sequence(trajectory):
    return [turn.prompt_ids + turn.completion.token_ids for turn in trajectory.turns]


def test_a_pair_is_a_group_of_two_with_the_scores_of_their_order(tmp_path, renderer):
    row = {"prompt": [user("what colour")], "chosen": [says("blue")], "rejected": [says("green")]}
    chosen, rejected = read(tmp_path, renderer, row)
    assert (chosen.group, chosen.rollout, rejected.rollout) == (rejected.group, 0, 1)
    assert [(t.outcome.score, t.outcome.success, t.reward) for t in (chosen, rejected)] == [(1, True, 1), (0, False, 0)]
    assert sequence(chosen) == [ids(renderer, "<bos> what colour <act> blue <end>")]
    assert rejected.turns[0].completion.token_ids == ids(renderer, "green <end>")
    assert chosen.source == "logged" and chosen.turns[0].completion.logprobs is None and chosen.ended == "done"
    assert chosen.task == rejected.task and chosen.task.env == "prompts"
    assert trajectory_from_json(json.loads(json.dumps(trajectory_to_json(chosen)))).turns == chosen.turns


def test_an_answer_of_several_messages_is_a_trajectory_of_several_turns(tmp_path, renderer):
    earlier = [system("be brief"), user("the sky"), says("is blue"), user("why")]
    chosen = [says("light"), user("so"), says("blue light")]
    first, second = read(tmp_path, renderer, {"prompt": earlier, "chosen": chosen, "rejected": [says("so")]})
    assert [turn.completion.text for turn in first.turns] == ["light", "blue light"]
    assert first.turns[0].observation == Observation("why", earlier=(("user", "the sky"), ("assistant", "is blue")))
    assert first.turns[1].observation == Observation("so") and first.turns[1].continues
    assert first.turns[0].prompt_ids == ids(renderer, "<bos> be brief <act> the sky <act> is blue <end> why <act>")
    assert first.turns[1].prompt_ids == ids(renderer, "so <act>")
    assert [turn.reward for turn in first.turns] == [0.0, 1.0] and len(second.turns) == 1
    assert second.turns[0].prompt_ids == first.turns[0].prompt_ids


def test_a_prompt_that_a_side_repeats_is_taken_once(tmp_path, renderer):
    asked, sides = [user("what colour")], {"chosen": [says("blue")], "rejected": [says("green")]}
    whole = {name: [*asked, *said] for name, said in sides.items()}
    plain = read(tmp_path, renderer, {"prompt": asked, **sides})
    for row in ({"prompt": asked, **whole}, {"prompt": "what colour", **whole}, whole):
        assert [sequence(t) for t in read(tmp_path, renderer, row)] == [sequence(t) for t in plain]


def test_raw_texts_are_tokenised_without_a_template_and_end_with_eos(tmp_path, renderer):
    chosen, rejected = read(tmp_path, renderer, {"prompt": "the sky is", "chosen": " blue", "rejected": " green <end>"})
    assert sequence(chosen) == [ids(renderer, "the sky is blue <end>")]
    assert chosen.turns[0].prompt_ids == ids(renderer, "the sky is")
    assert rejected.turns[0].completion.token_ids == ids(renderer, "green <end>")


def test_where_letters_of_prompt_and_reply_become_one_token_the_reply_begins_before_it(tmp_path):
    renderer = Renderer(word_tokenizer((*WORDS, "bluelight", "bluegreen")))
    row = {"prompt": "the sky is blue", "chosen": "light", "rejected": "green"}
    chosen, rejected = read(tmp_path, renderer, row)
    assert chosen.turns[0].prompt_ids == rejected.turns[0].prompt_ids == ids(renderer, "the sky is")
    assert chosen.turns[0].completion.token_ids == ids(renderer, "bluelight <end>")


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "replies"),
    [
        ("the sky is blue", "the sky is green", "the sky is", [" blue", " green"]),
        ("the sky is blue so", "the sky is be so", "the sky is", [" blue so", " be so"]),
        ("the sky\n\nis blue", "the sky\n\nwhy", "the sky", ["\n\nis blue", "\n\nwhy"]),
        ("the sky is blue", "the sky is", None, None),
    ],
)
def test_an_implicit_prompt_ends_with_the_last_word_that_both_share(chosen, rejected, prompt, replies, tmp_path):
    row = {"chosen": chosen, "rejected": rejected}
    if prompt is None:
        with pytest.raises(DataError, match="has an empty 'rejected'"):
            read(tmp_path, None, row)
        return
    found = read(tmp_path, None, row)
    assert [t.turns[0].observation.text for t in found] == [prompt, prompt]
    assert [t.turns[0].completion.text for t in found] == replies
    assert found[0].num_tokens == 0, "without a renderer there are no ids"


def test_the_rows_own_scores_are_those_of_the_outcomes(tmp_path, renderer):
    pair = {"prompt": "1 =", "chosen": " 1", "rejected": " 2"}
    found = read(tmp_path, renderer, {**pair, "score_chosen": 7, "score_rejected": -1.5}, {**pair, "margin": 0.25})
    assert [t.outcome.score for t in found] == [7, -1.5, 0.25, 0]
    ranked = {"prompt": "1 =", "responses": [" 2", " 1", " 3"], "scores": [0.5, 2, 0.5]}
    found = read(tmp_path, renderer, ranked)
    assert [(t.rollout, t.outcome.score, t.outcome.success) for t in found] == [
        (0, 0.5, False),
        (1, 2, True),
        (2, 0.5, False),
    ]
    labelled = [{"prompt": "1 =", "completion": f" {n}", "label": n == 1} for n in (1, 2)]
    found = read(tmp_path, renderer, *labelled)
    assert [t.outcome.score for t in found] == [1, 0] and found[0].group != found[1].group
    assert found[0].task.id == found[1].task.id


def test_a_reference_goes_with_every_answer_of_its_row(tmp_path, renderer):
    row = {
        "prompt": [user("why")],
        "chosen": [says("light")],
        "rejected": [says("so")],
        "reference": [says("blue light")],
    }
    found = read(tmp_path, renderer, row)
    assert [t.reference for t in found] == ["blue light"] * 2 and found[0].task.data.answer == "blue light"


def test_messages_and_texts_are_examples_of_their_own(tmp_path, renderer):
    talk = [user("why"), says("light"), user("so"), says("blue")]
    (found,) = read(tmp_path, renderer, {"messages": talk})
    assert [turn.completion.text for turn in found.turns] == ["light", "blue"]
    (found,) = read(tmp_path, renderer, {"text": "the sky is blue"})
    assert sequence(found) == [ids(renderer, "the sky is blue <end>")]
    assert len(found.turns[0].prompt_ids) == 1, "the first token is what the others follow"


def test_what_is_too_long_is_left_out_or_cut_and_counted(tmp_path, renderer):
    short = {"prompt": "the sky", "chosen": " is blue", "rejected": " is green"}
    long = {"prompt": "the sky", "chosen": " is so so so blue", "rejected": " so is"}
    said: list[str] = []
    found = read(tmp_path, renderer, short, long, settings=DataConfig(max_tokens=5), note=said.append)
    assert len(found) == 2 and said[-1].startswith("data: 1 of 2 rows have more than 5 tokens")
    cutting = DataConfig(max_tokens=5, over_long="cut")
    found = read(tmp_path, renderer, short, long, settings=cutting, note=said.append)
    assert [num_tokens(t) for t in found] == [5, 5, 5, 5] and said[-1].endswith("replies are cut")
    assert found[2].turns[0].completion.token_ids == ids(renderer, "is so so")
    assert found[2].turns[0].completion.finish == "length" and found[2].reward == 1.0
    same = {**long, "rejected": " is so so so green"}
    assert len(read(tmp_path, renderer, short, same, settings=cutting)) == 2, "cut, both sides are the same"
    with pytest.raises(DataError, match=r"none of the 1 rows of .* is as short as data_settings.max_tokens \(2\)"):
        read(tmp_path, renderer, long, settings=DataConfig(max_tokens=2, over_long="cut"))
    assert len(read(tmp_path, renderer, long, settings=DataConfig(max_tokens=0))) == 2


def test_an_episode_is_cut_within_the_turn_that_is_too_long(tmp_path, renderer):
    talk = [user("why"), says("light"), user("so"), says("blue blue blue"), user("so"), says("green")]
    (found,) = read(tmp_path, renderer, {"messages": talk}, settings=DataConfig(max_tokens=9, over_long="cut"))
    assert [turn.completion.token_ids for turn in found.turns] == [
        ids(renderer, "light <end>"),
        ids(renderer, "blue blue"),
    ]
    assert [turn.reward for turn in found.turns] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["hh_pairs", "gsm8k_pairs"])
def test_real_pairs_are_read(name, renderer):
    said = []
    found = read_data(DATA / f"{name}.jsonl", memory=None, format=None, renderer=renderer, note=said.append)
    assert len(found) == 8 and len({t.group for t in found}) == 4
    assert said == [f"data: {DATA / name}.jsonl: 4 rows, preference, messages"]


def test_what_was_rejected_is_not_imitated(tmp_path, renderer):
    pairs = [{"prompt": "1 =", "chosen": f" {n}", "rejected": " 3"} for n in (1, 2)]
    found = read(tmp_path, renderer, *pairs)
    assert {t.turns[0].completion.text for t in drawn(found, 4, seed=0, step=0)} == {" 1", " 2"}
    with pytest.raises(DataError, match="none of the answers is labelled as good"):
        drawn(read(tmp_path, renderer, {"prompt": "1 =", "completion": " 3", "label": False}), 1, seed=0, step=0)


# ---- the world that data are of


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run directory of the smallest world."""
    folder = tmp_path_factory.mktemp("played") / "run"
    agentrl.evaluate(env="guess", policy="expert", episodes=2, out=folder, format="action")
    return folder


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}\n' * 2)
    return str(tmp_path / "pairs.jsonl")


def test_rows_are_of_the_world_of_their_prompts(pairs):
    config = resolve_layers({"data": pairs, "algo": "dpo"})
    assert (config.env, config.env_settings["data"], config.rollout.max_turns) == ("prompts", pairs, 1)
    assert (config.format, config.format_settings, config.memory) == ("action", {"raw": True}, "full")
    talk = resolve_layers({"data": str(DATA / "hh_pairs.jsonl")})
    assert (talk.env, talk.format, talk.format_settings) == ("prompts", "action", {})


def test_what_is_named_goes_before_what_data_say(pairs):
    assert resolve_layers({"data": pairs, "env": "guess"}).env == "guess"
    own = resolve_layers({"data": pairs, "format": "tags", "rollout": {"max_turns": 3}})
    assert (own.env, own.format, own.format_settings, own.rollout.max_turns) == ("prompts", "tags", {}, 3)
    again = resolve_layers({"data": pairs}, {"env": "prompts"})
    assert again == resolve_layers({"data": pairs})


def test_the_episodes_of_a_run_keep_their_world_and_how_it_was_spoken_to(played):
    config = resolve_layers({"data": str(played), "algo": "sft"})
    assert (config.env, config.format, config.memory) == ("guess", "action", "full")
    (file,) = (played / "trajectories").glob("*.jsonl.gz")
    assert resolve_layers({"data": str(file)}).env == "guess"
    assert data_kind(played) == data_kind(file) == "episodes"


def test_exported_episodes_are_read_as_those_of_the_run(played, tmp_path):
    from agentrl.cli.export import export_trajectories
    from agentrl.prompts.action import BareAction

    assert export_trajectories(played, tmp_path / "episodes.jsonl") == 2
    said = []
    found = [
        read_data(source, memory=Full(), format=BareAction(), renderer=None, note=said.append)
        for source in (played, tmp_path / "episodes.jsonl")
    ]
    assert found[0] == found[1] and said[0] == f"data: {played}: 2 episodes"


def test_the_flag_is_what_is_learned_from_or_the_worlds_own(pairs, played, tmp_path):
    assert flag_layers(pairs, [{"algo": "dpo"}])[-1] == {"data": pairs}
    assert flag_layers(pairs, [{"algo": "grpo"}])[0]["env"] == "prompts"
    assert flag_layers(pairs, [{"env": "rlvr"}])[-1] == {"env_settings": {"data": pairs}}
    assert flag_layers("generated", [{}])[-1] == {"env_settings": {"data": "generated"}}
    assert flag_layers(str(played), [{"algo": "grpo"}])[-1] == {"data": str(played)}
    (tmp_path / "games").mkdir()
    assert not is_logged(str(tmp_path / "games")) and is_logged(str(tmp_path)) and is_logged(str(played))


@pytest.mark.parametrize("rows", ["hh_pairs", "raw"])
def test_rows_that_a_run_stored_are_read_as_they_first_were(rows, pairs, tmp_path):
    source = pairs if rows == "raw" else str(DATA / f"{rows}.jsonl")
    config = resolve_layers({"data": source})
    world = load("env", config.env)
    form = build("format", config.format, config.format_settings)
    told = {"memory": Full(), "format": form, "briefs": briefs_of(world, world_settings(world, config.env_settings))}
    renderer = chat_templates.renderer_for("qwen2_5")
    first = read_data(source, renderer=renderer, **told)
    write_trajectories(tmp_path / "run" / "trajectories" / "step-000001.jsonl.gz", first)
    again = read_data(tmp_path / "run", renderer=renderer, **told)
    assert [sequence(t) for t in again] == [sequence(t) for t in first]
    assert [t.outcome for t in again] == [t.outcome for t in first]


def test_data_of_no_known_format_ask_for_their_world(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(DataError, match=r"of no known format .*\(data of a world's own: name the world with --env\)"):
        resolve_layers({"data": str(tmp_path / "own.jsonl")})


def test_a_run_on_pairs_needs_no_world_and_can_be_repeated_from_its_file(pairs, tmp_path):
    settings = {"rollout": {"tasks_per_step": 2, "max_new_tokens": 2}, "validation": {"num_tasks": 1, "greedy": False}}
    result = agentrl.train(
        settings, data=pairs, algo="dpo", model="tiny-random", steps=1, lr=0.01, run_dir=tmp_path / "run"
    )
    written = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert (written["env"], written["data"]) == ("prompts", pairs)
    assert resolve_layers(written).env_settings == {"data": pairs, "bad_rows": "refuse"}
