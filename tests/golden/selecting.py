"""The golden files of papers that select, weigh and bundle: RiskPO, GTPO, D3S, COPO and BNPO."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from agentrl.errors import ConfigError
from agentrl.segments import count_by, mean_by
from agentrl.trainers.algorithms.bnpo import BNPO, beta_parameters
from agentrl.trainers.algorithms.copo import COPO, COPOConfig, consistency
from agentrl.trainers.algorithms.d3s import kept_rollouts, kept_tokens, rounded, scheduled, widest
from agentrl.trainers.algorithms.gtpo import (
    GTPO,
    GTPOConfig,
    conflict_weight,
    damped,
    runs,
    threshold_of,
)
from agentrl.trainers.algorithms.pf_ppo import PFPPOConfig, Strategy, bin_means, kept_of_group, r_squared
from agentrl.trainers.algorithms.riskpo import (
    QuantileTracker,
    RiskPOConfig,
    paper_advantages,
    quantiles_of,
    risk_advantage,
)
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.bundles import credited, papers
from agentrl.trainers.parts.places import place_within
from agentrl.trainers.parts.quantiles import LEVELS, tracked_step
from tests.golden.agents import flat_view, floats
from tests.golden.check import Case, Check
from tests.golden.padded import matrix, number, view_of_rows


def _risk_config(params: dict[str, Any]) -> RiskPOConfig:
    return RiskPOConfig(
        alpha=params["alpha"],
        beta=params["beta"],
        omega=params["w_mix"] - 1,
        mixed=params["mix"],
        natural_baseline=params["natural_baseline"],
        quantiles={"batch": "bundle"}.get(params["quantiles"], params["quantiles"]),
        std_floor=params["std_floor"] or 0.0,
        partial="keep",
    )


def _tracker(config: RiskPOConfig, tracked: list[float] | None) -> QuantileTracker:
    """A tracker that says these quantiles at the two levels of the config."""
    tracker = QuantileTracker(config)
    if tracked is not None:
        low, high = tracked
        middle = (config.alpha + config.beta) / 2
        tracker.load_state_dict({"quantiles": [low if level < middle else high for level in LEVELS]})
    return tracker


def riskpo(case: Case) -> Iterator[Check]:
    inputs, outputs = case["inputs"], case["outputs"]
    config = _risk_config(case["params"])
    tracker = _tracker(config, case["params"]["tracked"])
    score, group = floats(inputs["score"]), torch.tensor(inputs["group_of_trajectory"])
    bundle_of_group = torch.tensor(inputs["bundle_of_group"])
    counted = torch.ones(len(score), dtype=torch.bool)
    place = place_within(group, torch.arange(len(group)), len(bundle_of_group))
    made = papers(score, group, counted, place, bundle_of_group)
    advantage = paper_advantages(made, config, tracker)
    for bundle in outputs["bundles"]:
        own = (made.bundle == bundle["bundle"]).nonzero()[:, 0]
        members = [(made.of_trajectory == paper).nonzero()[:, 0].tolist() for paper in own.tolist()]
        yield Check(members, [sorted(paper) for paper in bundle["papers"]])
        yield Check(made.score[own].tolist(), bundle["paper_score"])
        low, high = quantiles_of(made.score[own], config, tracker)
        yield Check([low, high], [bundle["q_alpha"], bundle["q_beta"]])
        yield Check(risk_advantage(made.score[own], low, high, config).tolist(), bundle["advantage_before_std"])
        yield Check(advantage[own].tolist(), bundle["advantage_paper"])
    for credit, expected in outputs["advantage_trajectory"].items():
        yield Check(credited(advantage, made, score, group, counted, credit).tolist(), expected)


def riskpo_tracker(case: Case) -> Iterator[Check]:
    params, outputs = case["params"], case["outputs"]
    tracker = QuantileTracker(RiskPOConfig(quantile_lr=params["learning_rate"]))
    yield Check(list(LEVELS), params["levels"])
    for scores, expected in zip(case["inputs"]["paper_scores_of_step"], outputs["quantiles_after_step"], strict=True):
        tracker.learn(floats(scores))
        yield Check(tracker.state_dict()["quantiles"], expected)
    for level, expected in outputs["last_by_level"].items():
        yield Check(tracker.at(float(level)), expected)


def gtpo(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    settings = {
        "gamma": params["gamma"],
        "threshold": {"ln2": math.log(2)}.get(params["threshold"]) or float(params["threshold"]),
        "filter": "always" if params["initial_entropy"] is None else "by-initial-entropy",
        "overlap": params["overlap"],
    }
    entropy, ratio = floats(inputs["entropy"]), floats(inputs["ratio"])
    view = flat_view(inputs, score=floats(inputs["reward"]), sampled_entropy=entropy, entropy=entropy)
    view = view.with_fields(target=torch.tensor(inputs["token_id"]), old=torch.zeros_like(ratio), current=ratio.log())
    plain = {"clip_low": 1.0, "clip_high": 1e9, "dual_clip": 0.0}  # no bound: the ratio itself
    composition = compose(GTPO, {"surrogate": "ppo-clip"}, {"gtpo": settings, "ppo-clip": plain})
    (state,) = composition.states().values()
    state.load_state_dict({"mean": params["initial_entropy"] if params["initial_entropy"] is not None else 0.0})
    made = composition.advantage(view)
    raw = floats(outputs["advantage_raw"])
    forward, backward = runs(view, raw.sign().long(), "trajectory")
    yield Check(forward.int().tolist(), outputs["forward"])
    yield Check(backward.int().tolist(), outputs["backward"])
    union = count_by(view.trajectory_of_token[forward | backward], view.num_trajectories)
    yield Check(union.tolist(), outputs["conflict_count"])
    weight = conflict_weight(forward, backward, raw.sign()[view.trajectory_of_token], params["overlap"] == "multiply")
    yield Check(weight.tolist(), outputs["weight"])
    mean_entropy = mean_by(entropy, view.trajectory_of_token, view.num_trajectories)
    yield Check(mean_entropy.tolist(), outputs["mean_entropy"])
    threshold = threshold_of(GTPOConfig(**settings), params["initial_entropy"])
    yield Check((mean_entropy <= threshold).int().tolist(), [int(kept) for kept in outputs["kept"]])
    modified = damped(raw, mean_entropy, params["gamma"], threshold)
    yield Check(modified.tolist(), outputs["advantage_modified"])
    assert made.advantage is not None
    yield Check(made.advantage.tolist(), (modified[view.trajectory_of_token] * weight).tolist())
    loss, _ = composition.loss(made)
    yield Check(loss.item(), outputs["loss"])
    (term,) = composition.terms(made)
    of_trajectory = mean_by(term.values, view.trajectory_of_token, view.num_trajectories)
    yield Check(of_trajectory.tolist(), outputs["loss_trajectory"])


def d3s(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    view, advantage = flat_view(inputs), floats(inputs["advantage_trajectory"])
    counted, order = view.in_statistics, torch.arange(view.num_trajectories)
    group, num = view.group_of_trajectory, params["keep_per_group"]
    within = kept_rollouts(advantage, group, counted, order, num, 0)
    for g, expected in enumerate(outputs["kept_by_group"]):
        yield Check((within & (group == g)).nonzero()[:, 0].tolist(), expected)
    kept = kept_rollouts(advantage, group, counted, order, num, params["keep_in_batch"] or 0)
    yield Check(within.nonzero()[:, 0].tolist(), outputs["kept_after_groups"])
    yield Check(kept.int().tolist(), [int(k) for k in outputs["keep_trajectory"]])
    score = advantage[view.trajectory_of_token].abs() * floats(inputs["entropy"])
    candidates = kept[view.trajectory_of_token]
    yield Check(score.tolist(), outputs["score_token"])
    yield Check(int(candidates.sum()), outputs["candidates"])
    tokens = kept_tokens(score, candidates, params["keep_token_percent"], torch.arange(view.num_tokens))
    yield Check(int(tokens.sum()), outputs["kept_tokens"])
    yield Check(tokens.int().tolist(), [int(k) for k in outputs["keep_token"]])


def d3s_schedule(case: Case) -> Iterator[Check]:
    params, outputs = case["params"], case["outputs"]
    num = [scheduled(params["n_initial"], params["n_final"], p) for p in case["inputs"]["progress"]]
    percent = [scheduled(params["k_initial"], params["k_final"], p) for p in case["inputs"]["progress"]]
    yield Check(num, outputs["n_real"])
    yield Check([rounded(n) for n in num], outputs["n"])
    yield Check(percent, outputs["k_percent"])


def copo(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    settings = {name: params[name] for name in ("k", "b", "blend", "consistency_reward")}
    clip = {name: params[name] for name in ("clip_low", "clip_high", "dual_clip")}
    view = flat_view(
        inputs,
        score=floats(inputs["reward"]),
        answer_class=torch.tensor(inputs["answer"]),
        old=floats(inputs["old_logp"]),
        current=floats(inputs["logp"]),
        singleton=params["singleton"],
    )
    composition = compose(COPO, settings={"copo": settings, "ppo-clip": clip})
    made = composition.advantage(view)
    of = consistency(made, COPOConfig(**settings))
    yield Check(of.entropy.tolist(), outputs["entropy_bits"])
    yield Check(of.slope.tolist(), outputs["lambda"])
    yield Check(of.global_reward.tolist(), outputs["global_reward"])
    yield Check(of.global_advantage.tolist(), outputs["advantage_global"])
    yield Check(of.local_advantage.tolist(), outputs["advantage_local"])
    yield Check(torch.sigmoid(params["k"] * (of.entropy - params["b"])).tolist(), outputs["weight_group"])
    yield Check(of.local_weight.tolist(), outputs["weight_trajectory"])
    first, second = composition.terms(made)
    values = first.values + second.values
    yield Check(values.tolist(), outputs["loss_token"])
    loss, _ = composition.loss(made)
    yield Check(loss.item(), outputs["loss_sequence_mean_token_mean_unit_trajectory"])
    over_tokens = compose(COPO, {"aggregate": "token-mean"}, {"ppo-clip": clip}).weights(made, "token")
    yield Check((over_tokens * values).sum().item(), outputs["loss_token_mean"])


def bnpo_advantage(case: Case) -> Iterator[Check]:
    """Where the authors' code raises or gives nan, alpha = beta = 1: the share above the group's mean."""
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    dtype = case.get("dtype", "float64")
    mask = matrix(inputs["eos_mask"]) > 0
    score = matrix(inputs["token_level_rewards"], dtype).sum(1)
    low, high = params["min_value"], params["max_value"]
    view = view_of_rows(mask, inputs["index"], score=score, singleton="raw")
    settings = {"beta-norm": {"low": low, "high": high}}
    outside = bool(((score < low) | (score > high)).any())
    if outside:
        yield from _refused(settings, view)
        return
    got = compose(BNPO, settings=settings).advantage(view).advantage
    assert got is not None
    share = (score - low) / (high - low)
    p = mean_by(share, view.group_of_trajectory, view.num_groups)
    rows = outputs.get("advantages")
    broken = rows is None or any(math.isnan(number(x)) for row in rows for x in row)
    if broken:
        expected = (share - p[view.group_of_trajectory])[view.trajectory_of_token]
        yield Check(got.tolist(), expected.tolist())
        return
    yield Check(got.tolist(), matrix(rows)[mask].tolist())
    if int(count_by(view.group_of_trajectory, view.num_groups).min()) > 1:
        yield Check(p.tolist(), outputs["aux_p"])
        yield Check(list(beta_parameters(p)), [number(outputs["aux_alpha"]), number(outputs["aux_beta"])])


def _refused(settings: dict[str, Any], view: Any) -> Iterator[Check]:
    try:
        compose(BNPO, settings=settings).advantage(view)
    except ConfigError:
        yield Check(1, 1)
    else:
        yield Check(0, 1)


def pf_ppo_r2_criterion(case: Case) -> Iterator[Check]:
    """Of each filter; whom chance keeps beside the best (br) is taken as recorded."""
    rewards, scores = matrix(case["inputs"]["rewards"]), matrix(case["inputs"]["scores"])
    strategies: dict[str, tuple[Strategy, int]] = {"bon": ("best", 1), "bw": ("best-worst", 2)}
    for name, outputs in case["outputs"].items():
        reward, score = floats(outputs["rewards"]), floats(outputs["scores"])
        if name in strategies:
            strategy, keep = strategies[name]
            config, chance = PFPPOConfig(strategy=strategy, keep=keep), torch.zeros(rewards.shape[1])
            kept = torch.stack([kept_of_group(row, chance, config) for row in rewards])
            for got, expected in ((rewards[kept], reward), (scores[kept], score)):
                yield Check(got.sort().values.tolist(), expected.sort().values.tolist())
        yield Check(_defined(r_squared(reward, score)), outputs["r2_pointwise"])
        bins = bin_means(reward, score, case["params"]["n_bins"])
        for got, expected in zip(bins, (outputs["bin_rewards"], outputs["bin_scores"]), strict=True):
            yield Check(got.tolist(), expected)
        yield Check(_defined(r_squared(*bins)), outputs["r2_binned10"])


def _defined(value: float | None) -> float:
    return math.nan if value is None else value


def hand_checked_copo(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """Three groups of six: all the same answer, three answers shared 3, 2, 1, all different; the means follow."""
    answers = [[0] * 6, [0, 0, 0, 1, 1, 2], list(range(6))]
    rewards = [[0] * 6, [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    inputs = {
        "turn_of_token": list(range(18)),
        "trajectory_of_turn": list(range(18)),
        "group_of_trajectory": [g for g in range(3) for _ in range(6)],
        "turn_position": [0] * 18,
    }
    view = flat_view(
        inputs,
        returns=floats([r for row in rewards for r in row]),
        answer_class=torch.tensor([a for row in answers for a in row]),
    )
    of = consistency(view, COPOConfig())
    rewarded = consistency(view, COPOConfig(consistency_reward=True))
    yield "copo H", Check(of.entropy.tolist(), numbers["H"])
    yield "copo lambda", Check(of.slope.tolist(), [numbers["lambda_n6"]] * 3)
    yield "copo R_g", Check(of.global_reward.tolist(), numbers["R_g(no flag)"])
    yield "copo R_g, flag", Check(rewarded.global_reward.tolist(), numbers["R_g(flag)"])
    yield "copo A_g", Check(of.global_advantage.tolist(), numbers["A_g"])
    yield "copo w", Check(of.local_weight.tolist(), [w for w in numbers["w(k5,b1)"] for _ in range(6)])


def hand_checked_riskpo(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    config = RiskPOConfig(alpha=numbers["alpha"], beta=numbers["beta"], omega=numbers["w_mix"] - 1, std_floor=0.0)
    score = floats(numbers["S"])
    before = risk_advantage(score, numbers["q_alpha"], numbers["q_beta"], config)
    yield "riskpo", Check(before.tolist(), numbers["A_before_std"])
    yield "riskpo", Check((before / (score.std() + 1e-6)).tolist(), numbers["A_final"])
    step = numbers["quantile_step"]
    quantiles = torch.full((len(LEVELS),), step["q"], dtype=torch.float64)
    moved = tracked_step(quantiles, floats(step["batch"]), step["lr"])[LEVELS.index(step["alpha"])]
    yield "riskpo quantile_step", Check(moved.item(), step["new_q"])


def hand_checked_d3s(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    picked = widest(numbers["A"], numbers["m"])
    yield "d3s", Check(picked, numbers["picked"])
    yield "d3s var", Check(floats([numbers["A"][i] for i in picked]).var(correction=0).item(), numbers["var"])


def hand_checked_gtpo(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    length = len(numbers["pos"])
    inputs = {
        "turn_of_token": [0] * length + [1] * length,
        "trajectory_of_turn": [0, 1],
        "group_of_trajectory": [0, 0],
        "turn_position": [0, 0],
    }
    view = flat_view(inputs, target=torch.tensor(numbers["pos"] + numbers["neg"]))
    sign = torch.tensor([1, -1])
    forward, backward = runs(view, sign, "trajectory")
    yield "gtpo", Check(forward[:length].int().tolist(), numbers["forward"])
    yield "gtpo", Check(backward[:length].int().tolist(), numbers["backward"])
    weight = conflict_weight(forward, backward, sign[view.trajectory_of_token], multiply=False)
    yield "gtpo", Check(weight.tolist(), numbers["lambda_pos"] + numbers["lambda_neg"])


HAND_CHECKED: Mapping[str, Callable[[dict[str, Any]], Iterator[tuple[str, Check]]]] = {
    "copo": hand_checked_copo,
    "d3s": hand_checked_d3s,
    "gtpo": hand_checked_gtpo,
    "riskpo": hand_checked_riskpo,
}
"""Key of `agents.json` -> what yields its checks."""
