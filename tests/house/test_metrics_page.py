"""docs/metrics.md explains every metric that a run logs, and no other."""

import json

import pytest

from tests.house.metrics import explained, never_logged, unexplained
from tests.house.project import ROOT

PAGE = ROOT / "docs" / "metrics.md"
SHORT = {"trainer": {"steps": 1}, "validation": {"num_tasks": 0}}
COMPOSITIONS = {
    "sft": {"algo": "sft"},
    "rloo": {"algo": "rloo"},
    "gigpo": {"algo": "gigpo"},
    "ppo": {"algo": "ppo"},
    "hpt": {"algo": "hpt"},
    "scaf-grpo": {"algo": "scaf-grpo", "settings": {"scaf-grpo": {"exempt": 0.0}}},
    "lp-reg": {"algo": "lp-reg", "parts": {"selections": ["capo-mask"]}},
    "gspo": {"algo": "gspo", "curriculum": "stages", "curriculum_settings": {"order": "measured"}, **SHORT},
    "gmpo": {"algo": "grpo", "parts": {"surrogate": "gmpo"}, "curriculum": "dynamic-sampling", **SHORT},
    "cispo": {"algo": "cispo", "curriculum": "knapsack", **SHORT},
    "kl-cov": {"algo": "kl-cov", "curriculum": "vas", **SHORT},
    "dppo": {"algo": "grpo", "parts": {"surrogate": "dppo-tv"}, "curriculum": "replay", **SHORT},
    "mdpo": {"algo": "mdpo", **SHORT},
    "mdpo-off-policy": {"algo": "mdpo-off-policy", "validation": {"num_tasks": 0}},
    "remax": {"algo": "reinforce", "parts": {"advantage": "above-greedy"}, **SHORT},
    "empg": {
        "algo": "empg",
        "parts": {"modifiers": ["empg", "conflict-tokens"], "selections": ["whole-multiple", "dual-down-sampling"]},
        "settings": {"whole-multiple": {"multiple": 2}},
        **SHORT,
    },
    "bnpo": {"algo": "bnpo", **SHORT},
    "mpo": {"algo": "mpo", **SHORT},
    "kto": {"algo": "kto", **SHORT},
    "bco": {"algo": "bco", **SHORT},
    "orpo": {"algo": "orpo", **SHORT},
    "rpo": {"algo": "rpo", "settings": {"rpo": {"baseline": "solutions"}}, **SHORT},
    **{name: {"algo": name, **SHORT} for name in ("copg", "p3o", "cpl", "f-dpg")},
    "tgdpo": {"algo": "tgdpo", **SHORT},
    "copo": {"algo": "copo", **SHORT},
    "riskpo": {"algo": "riskpo", **SHORT},
    "ratio-norm": {"algo": "ratio-norm", **SHORT},
    "chi-squared": {
        "algo": "chi-squared",
        "parts": {
            "returns": "reward-sum",
            "rewards": ["kl-reward"],
            "selections": ["pf-ppo"],
            "regularisers": ["+adaptive-kl"],
        },
        "settings": {"pf-ppo": {"truth": "success"}},
        **SHORT,
    },
    "epo": {
        "algo": "epo",
        "parts": {"modifiers": ["engine-correction"]},
        "settings": {"kl": {"coef": 0.01}},
        "trainer": {"steps": 2, "minibatches": 2},
    },
}
ON_DATA = {"reward-model": {"algo": "reward-model"}}
"""Compositions that learn from a file of preferences, each with its prompts as the world."""
ROWS = [{"prompt": f"think of {n}", "chosen": f" ask {n}", "rejected": " give up"} for n in (1, 2, 3)] * 2
NOT_IN_A_HEALTHY_RUN = ["skipped_updates"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The metrics.jsonl of toy runs: two steps each, a random model, the smallest world."""
    from agentrl.config import resolve
    from agentrl.model_reward import judged
    from agentrl.models.save import save_model
    from agentrl.run_directory import RunDirectory
    from agentrl.trainers.loop import train
    from tests.models import tiny_model

    base = {
        "env": "guess",
        "env_settings": {"highest": 3, "admissible": True},
        "format": "action",
        "rollout": {
            "tasks_per_step": 2,
            "group_size": 2,
            "max_turns": 3,
            "max_new_tokens": 4,
            "constrain": "admissible",
        },
        "trainer": {"steps": 2},
        "validation": {"num_tasks": 2, "every": 1},
        "threads": 1,
    }
    folder, files = tmp_path_factory.mktemp("runs"), []
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    prompts = {
        "env": "prompts",
        "env_settings": {"data": str(data)},
        "data": str(data),
        "trainer": {"steps": 1},
        "threads": 1,
    }
    layers = {name: (base, composition) for name, composition in COMPOSITIONS.items()}
    layers |= {name: (prompts, composition) for name, composition in ON_DATA.items()}
    words = ["ask", "1", "2", "3", "give", "up", "I", "think", "of", "a", "number", "Higher.", "Lower.", "Yes."]
    save_model(tiny_model(words), folder / "guide")
    for name, own in layers.items():
        guidance = str(folder / "guide") if name == "tgdpo" else ""
        config = resolve(*own, {"run_dir": str(folder / name), "guidance": guidance})
        with RunDirectory.create(config) as run:
            reward = (lambda trajectory: judged(trajectory, 0.5)) if name == "rloo" else None
            train(config, run_dir=run, model=tiny_model(words), reward=reward)
        files.append(run.metrics_file)
    return files


def test_every_metric_of_a_run_is_explained(runs):
    assert [name for file in runs for name in unexplained(file, PAGE)] == []


def test_nothing_is_explained_that_no_run_logs(runs):
    assert never_logged(runs, PAGE) == NOT_IN_A_HEALTHY_RUN


def test_a_metric_without_an_explanation_is_found(tmp_path):
    metrics, page = tmp_path / "metrics.jsonl", tmp_path / "metrics.md"
    metrics.write_text(
        '{"step": 1, "reward": 0.5, "ends": {"done": 3, "turn_limit": 1}}\n{"step": 2, "entropy/turn_3": 1}\n'
    )
    page.write_text("# Metrics\n## `step`\n| metric | what |\n|---|---|\n| `ends/<kind>` | `reward` is not here |\n")
    assert explained(page) == ["step", "ends/<kind>"]
    assert unexplained(metrics, page) == ["entropy/turn_3", "reward"]
    page.write_text("## `step`, `reward`\n### `ends/<kind>`, `entropy/turn_<n>`\n## `kl`\n")
    assert unexplained(metrics, page) == []
    assert never_logged([metrics], page) == ["kl"]
