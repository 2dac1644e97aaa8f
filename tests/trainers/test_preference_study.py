"""The pieces of `make preferences`: the two rewards, the rows that it writes, a run, its tables and pictures."""

import asyncio
import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import agentrl
from agentrl.demonstrations import demonstrations
from agentrl.logged_data import read_data
from agentrl.memory.full import Full
from agentrl.models.load import load_renderer
from agentrl.prompts.action import BareAction
from agentrl.records import write_trajectories
from make import letters
from make.preference_charts import optimum, write_charts
from make.preference_runs import COMMON, WORLD, Run, Study, grouped, in_order, noisy_rows, said, scored_rows
from make.preference_tables import objectives_table, strengths_table
from make.preferences import PARTS


@pytest.fixture(scope="module")
def shown():
    """Noisy replies of the demonstrator, two to each of the training prompts, as the base's samples stand."""
    renderer = load_renderer("tiny-random", WORLD)
    played = demonstrations(letters, letters.Config(), "train", 800, 0, Full(), BareAction(), renderer)
    return grouped(sorted(played, key=lambda trajectory: trajectory.task.id))


def test_the_proxy_pays_for_what_the_true_reward_does_not():
    assert letters.rewards("a d c", "a d c a d c") == {"true": 1.0, "proxy": 1.0}
    assert letters.rewards("a d c", "z z z z z z") == {"true": 0.0, "proxy": 1.5}
    assert letters.rewards("a d c", "a d z a d z") == {"true": 4 / 6, "proxy": 7 / 6}
    assert letters.rewards("a d c", "a d") == {"true": 2 / 6, "proxy": 2 / 6}
    assert letters.rewards("a d c", "a d c a d c z z") == {"true": 1.0, "proxy": 1.0}, "beyond the sixth nothing counts"


@pytest.mark.parametrize("pays", ["true", "proxy"])
def test_the_world_pays_the_reward_that_is_asked_for_and_tells_both(pays):
    env, task = letters.Env(letters.Config(pays=pays)), letters.tasks("test")[0]

    async def answered(reply):
        await env.reset(task)
        result = await env.step(reply)
        return result.reward, env.outcome()

    reward, outcome = asyncio.run(answered("z z z z z z"))
    assert reward == outcome.score == {"true": 0.0, "proxy": 1.5}[pays] and not outcome.success
    assert outcome.components == {"true": 0.0, "proxy": 1.5}
    assert asyncio.run(answered(letters.solution(task)[0]))[1].success


def test_no_prompt_is_learned_from_and_judged_on():
    train, test = ({task.data for task in letters.tasks(split)} for split in letters.SPLITS)
    assert len(train) == 400 and len(test) == 112 and not train & test


def test_half_of_what_the_demonstrator_says_is_right(shown):
    true = [trajectory.outcome.components["true"] for trajectory in shown]
    assert sum(true) / len(true) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rows_of", [scored_rows, lambda shown: noisy_rows(shown, "proxy")])
def test_rows_are_read_and_rendered_as_they_were_played(rows_of, shown, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(shown)))
    renderer = load_renderer("tiny-random", WORLD)
    read = read_data(str(file), memory=None, format=None, renderer=renderer, note=lambda text: None)
    written = {(said(t), tuple(t.turns[0].prompt_ids), tuple(t.turns[0].completion.token_ids)) for t in shown}
    found = [(said(t), tuple(t.turns[0].prompt_ids), tuple(t.turns[0].completion.token_ids)) for t in read]
    assert len(found) > 600 and set(found) <= written


def test_an_episode_is_asked_as_a_row_is(shown):
    asked = agentrl.evaluate(COMMON, env=WORLD, model="tiny-random", split="train", episodes=3).trajectories
    ids = {trajectory.task.id: trajectory.turns[0].prompt_ids for trajectory in shown}
    assert all(list(t.turns[0].prompt_ids) == ids[t.task.id] for t in asked)


def test_rows_with_scores_are_in_their_order_and_labels_with_noise_mostly(shown):
    rows = scored_rows(shown)
    assert all(row["score_chosen"] > row["score_rejected"] for row in rows)
    noisy = [
        [
            letters.rewards(row["prompt"][1]["content"], row[side][0]["content"])["proxy"]
            for side in ("chosen", "rejected")
        ]
        for row in noisy_rows(shown, "proxy")
    ]
    right = sum(better > worse for better, worse in noisy) / sum(better != worse for better, worse in noisy)
    assert 0.75 < right < 0.98


def test_pairs_are_in_order_where_the_better_reply_is_worth_more(shown):
    worth = [trajectory.outcome.components["true"] for trajectory in shown]
    assert {value for own in in_order(shown, worth).values() for value in own} == {1.0}
    assert {value for own in in_order(shown, [-w for w in worth]).values() for value in own} == {0.0}


def test_every_objective_that_learns_from_data_is_in_the_plan():
    planned = [run.algo for run in PARTS["objectives"]()]
    assert planned[0] == "dpo" and {"rpo", "copg", "p3o-joint", "tgdpo", "cpl-kl", "f-dpg", "orpo"} <= set(planned)
    assert not {"reward-model", "polar", "grpo"} & set(planned)
    names = [run.name for part in PARTS.values() for run in part()]
    assert all(len({run.name for run in part()}) == len(list(part())) for part in PARTS.values()) and len(names) > 100


def test_the_best_policy_of_the_picture_is_that_of_the_price():
    points = optimum(0.5)
    assert points == sorted(points) and points[0][0] < 1e-3 and points[-1][1] == pytest.approx(1)
    assert points[-1][0] == pytest.approx(6 * math.log(2))
    (divergence, right) = points[40]  # at a price of 0.1 of a nat
    assert right == pytest.approx(1 / (1 + math.exp(-1 / 0.6)))

    def value(q):
        return q - 0.1 * 6 * (q * math.log(2 * q) + (1 - q) * math.log(2 * (1 - q)))

    assert value(right) > max(value(right - 0.01), value(right + 0.01)) and divergence > 0


def test_a_run_is_judged_kept_and_drawn(shown, tmp_path):
    study = Study(tmp_path / "study", scale=0.02)
    study.out.mkdir()
    write_trajectories(study.out / "train.jsonl.gz", shown)
    run = Run(part="proxy", label="dpo", algo="dpo", data="proxy", strength=0.1)
    found = study.result(run)
    assert len(found["true"]) == 2 and all(len(values) == 2 for values in found["kl"].values())
    assert not (study.out / "proxy" / "running").exists(), "a run's own folder does not stay"
    again = Study(study.out, scale=0.02).result(run)
    assert again == found, "what is finished is not done again"
    before = study.before()
    assert max(abs(value) for values in before["kl"].values() for value in values) < 1e-4
    assert "| `dpo` | 0.1 |" in strengths_table(before, [found]) and "| `dpo` |" in objectives_table(before, [found])
    write_charts(Path(tmp_path / "images"), before, {"proxy": [found], "hacking": []})
    assert words_in(tmp_path / "images" / "preferences-proxy.svg") >= {"DPO", "base"}
    write_charts(Path(tmp_path / "images"), before, {"objectives": [found]})
    assert words_in(tmp_path / "images" / "preferences-objectives.svg") >= {"dpo", "base"}


def words_in(picture):
    return {text.text for text in ElementTree.parse(picture).iter() if text.tag.endswith("text")}
