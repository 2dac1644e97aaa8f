"""The golden files of preference losses: rows are pairs, or single labelled trajectories, of one turn each."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agentrl.registry import load
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.parts.pairings import all_pairs, best_worst
from agentrl.trainers.step_view import StepView
from tests.builders import view_of
from tests.golden.agents import floats
from tests.golden.check import Case, Check

SIDES = ("chosen", "rejected")
DIVERGENCES = {"js_divergence": "js", "alpha_divergence": "alpha"}
METRICS = {
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "logps/chosen": "logp_chosen",
    "logps/rejected": "logp_rejected",
}


def _rows(inputs: dict[str, Any], of: str) -> list[list[float]]:
    """Log-probs of every token, a row a trajectory: chosen and rejected of each pair in turn. A sum is one token."""
    rows: list[list[list[float]]] = []
    for side in SIDES:
        summed = [[value] for value in inputs[f"{of}_{side}_logps"]]
        padded = inputs.get(f"{of}_{side}_token_logps", summed)
        lengths = inputs.get(f"{side}_lengths", [1] * len(padded))
        rows.append([row[:length] for row, length in zip(padded, lengths, strict=True)])
    return [row for pair in zip(*rows, strict=True) for row in pair]


def view_of_pairs(inputs: dict[str, Any], dtype: str = "float64") -> StepView:
    """A group a pair; `current` is a leaf with gradient."""
    rows = _rows(inputs, "policy")

    def flat(rows: list[list[float]]) -> Tensor:
        return torch.tensor([value for row in rows for value in row], dtype=getattr(torch, dtype))

    groups = [[[len(rows[i])], [len(rows[i + 1])]] for i in range(0, len(rows), 2)]
    reference = flat(_rows(inputs, "reference")) if "reference_chosen_logps" in inputs else None
    fields = {} if reference is None else {"reference": reference}
    return view_of(groups, score=[1.0, 0.0] * len(groups), current=flat(rows).requires_grad_(), **fields)


def _expected_gradient(inputs: dict[str, Any], outputs: dict[str, Any]) -> list[float]:
    """Of every token; where the file has that of the sums alone, a row has one token."""
    of = "token" if "grad_token_chosen" in outputs else "policy"
    renamed = {f"policy_{side}_logps": outputs.get(f"grad_policy_{side}") or [0.0] for side in SIDES}
    lengths = {}
    if of == "token":
        renamed |= {f"policy_{side}_token_logps": outputs[f"grad_token_{side}"] for side in SIDES}
        lengths = {f"{side}_lengths": inputs[f"{side}_lengths"] for side in SIDES}
    return [value for row in _rows(renamed | lengths, "policy") for value in row]


def _pair_loss(case: Case, composition: Composition) -> Iterator[Check]:
    inputs, outputs = case["inputs"], case["outputs"]
    made = composition.advantage(view_of_pairs(inputs, case.get("dtype", "float64")))
    assert made.current is not None and made.pairs is not None
    loss, _ = composition.loss(made)
    (gradient,) = torch.autograd.grad(loss, made.current)
    (term,) = composition.terms(made)
    yield Check(loss.item(), outputs["loss"])
    if term.level == "pair":
        yield Check((term.weight * term.values)[_row_order(case, made)].tolist(), outputs["losses"])
    yield Check(gradient.tolist(), _expected_gradient(inputs, outputs))
    shown = composition.metrics(made)
    for theirs, ours in METRICS.items():
        if theirs in case.get("metrics", {}):
            got = shown[f"preference/{ours}"]
            single = torch.tensor(got).float().item()  # TRL's share of right ones is in single precision
            yield Check(single if ours == "accuracy" else got, case["metrics"][theirs])
    for side in SIDES:
        mean = sum(outputs[f"{side}_rewards"]) / len(outputs[f"{side}_rewards"])
        yield Check(shown[f"preference/reward_{side}"], mean)


def _row_order(case: Case, view: StepView) -> Tensor:
    """AOT's rows are sorted by what is above; all others stand as the pairs do."""
    inputs, kind = case["inputs"], case["params"].get("loss_type")
    if kind not in ("aot", "aot_unpaired"):
        return torch.arange(view.size("pair"))
    beside = "policy_rejected_logps" if kind == "aot" else "reference_chosen_logps"
    above = floats(inputs["policy_chosen_logps"]) - floats(inputs[beside])
    return above.argsort()


def dpo_family(case: Case) -> Iterator[Check]:
    """TRL's `DPOTrainer._compute_loss`, all of its losses."""
    params = case["params"]
    kind = params.get("f_divergence_type", "reverse_kl")
    settings = {
        "loss": params["loss_type"],
        "beta": params["beta"],
        "label_smoothing": params.get("label_smoothing", 0.0),
        "f_divergence": DIVERGENCES.get(kind, kind),
        "f_alpha": params.get("f_alpha_divergence_coef", 0.5),
        "ld_alpha": params.get("ld_alpha", 1.0),
        "discopop_temperature": params.get("discopop_tau", 0.05),
    }
    yield from _pair_loss(case, compose(load("algorithm", "dpo"), settings={"preference": settings}))


def reference_free(case: Case) -> Iterator[Check]:
    """TRL's `CPOTrainer.cpo_loss`: SimPO's gamma is in its sigmoid."""
    params = case["params"]
    settings = {
        "loss": "sigmoid" if params["loss_type"] == "simpo" else params["loss_type"],
        "beta": params["beta"],
        "gamma": params.get("simpo_gamma", 0.0),
        "alpha": params["alpha"],
        "label_smoothing": params["label_smoothing"],
        "sft_coef": 0.0,
    }
    yield from _pair_loss(case, compose(load("algorithm", "cpo"), settings={"reference-free": settings}))


def orpo_odds_ratio(case: Case) -> Iterator[Check]:
    composition = compose(load("algorithm", "orpo"), settings={"orpo": {"beta": case["params"]["beta"], "sft_coef": 0}})
    yield from _pair_loss(case, composition)
    made = composition.advantage(view_of_pairs(case["inputs"], case["dtype"]))
    yield Check(composition.metrics(made)["orpo/log_odds_ratio"], case["outputs"]["log_odds_chosen"])


def _labelled(composition: Composition, ratio: Tensor, labels: Tensor, mismatched: Tensor) -> StepView:
    """Trajectories of one token, a group each, whose reference is 0: policy less reference is one number."""
    view = view_of([[[1]]] * len(ratio), score=labels.double(), reference=torch.zeros_like(ratio))
    return composition.advantage(view.with_fields(current=ratio, mismatched=mismatched))


def _unpaired_loss(
    view: StepView,
    composition: Composition,
    outputs: dict[str, Any],
    labels: Tensor,
    expected: list[float],
    rtol: float | None = None,
) -> Iterator[Check]:
    assert view.current is not None
    loss, _ = composition.loss(view)
    (gradient,) = torch.autograd.grad(loss, view.current)
    (term,) = composition.terms(view)
    values = [value for own in (labels, ~labels) for value in term.values[own].tolist()]
    yield Check(loss.item(), outputs["loss"], rtol)
    yield Check(values, outputs["losses_chosen_then_rejected"], rtol)
    yield Check(gradient.tolist(), expected, rtol)
    shown = composition.metrics(view)
    for ours, theirs in (("good", "chosen"), ("bad", "rejected")):
        rewards = outputs[f"{theirs}_rewards"]
        yield Check(shown[f"unpaired/reward_{ours}"], sum(rewards) / max(len(rewards), 1))


def labelled(case: Case, algo: str) -> Iterator[Check]:
    """TRL's `KTOTrainer._compute_loss`."""
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    settings = {
        "beta": params["beta"],
        "good_weight": params["desirable_weight"],
        "bad_weight": params["undesirable_weight"],
    }
    composition = compose(load("algorithm", algo), settings={algo: settings})
    numbers = {name: floats(values) for name, values in inputs.items() if name != "labels"}
    labels = torch.tensor(inputs["labels"])
    ratio = (numbers["policy_logps"] - numbers["reference_logps"]).requires_grad_()
    view = _labelled(composition, ratio, labels, numbers["KL_policy_logps"] - numbers["KL_reference_logps"])
    yield from _unpaired_loss(view, composition, outputs, labels, outputs["grad_policy"])
    if algo == "kto":
        yield Check(composition.metrics(view)["unpaired/anchor"], params["beta"] * outputs["kl"])


def bco_running_delta(case: Case) -> Iterator[Check]:
    """Three steps in a row; the file's shift is in single precision, so that all is within 1e-7."""
    composition = compose(load("algorithm", "bco"), settings={"bco": {"beta": case["params"]["beta"]}})
    for step in case["steps"]:
        inputs, outputs = step["inputs"], step["outputs"]
        numbers = {name: floats(values) for name, values in inputs.items()}
        ratios = [numbers[f"policy_{side}_logps"] - numbers[f"reference_{side}_logps"] for side in SIDES]
        ratio, labels = torch.cat(ratios).requires_grad_(), torch.arange(2).repeat_interleave(len(ratios[0])) == 0
        view = _labelled(composition, ratio, labels, torch.full_like(ratio, torch.nan))
        expected = [*outputs["grad_policy_chosen"], *outputs["grad_policy_rejected"]]
        yield from _unpaired_loss(view, composition, outputs, labels, expected, rtol=1e-7)
        yield Check(composition.metrics(view)["unpaired/shift"], outputs["delta"], 1e-7)
        composition.update(view.with_fields(old=ratio.detach(), current=None))


def pairs_from_group(case: Case) -> Iterator[Check]:
    scores, margin = case["inputs"]["rewards"], case["params"]["margin"]
    for choose in (best_worst, all_pairs):
        expected = case["outputs"][choose.__name__]
        yield Check(choose(scores, margin), expected)
        if scores:
            name = choose.__name__.replace("_", "-")
            composition = compose(load("algorithm", "dpo"), {"pairing": name}, {"pairing": {"margin": margin}})
            view = view_of([[[1]] * len(scores)], score=scores, key=list(range(len(scores))))
            made = composition.advantage(view)
            assert made.pairs is not None
            yield Check(made.pairs.tolist(), expected)


RUNNERS: dict[str, Callable[[Case], Iterator[Check]]] = {
    "pairs_from_group": pairs_from_group,
    "bco_running_delta": bco_running_delta,
    "kto": partial(labelled, algo="kto"),
    "apo_zero_unpaired": partial(labelled, algo="apo-zero-unpaired"),
    "orpo_odds_ratio": orpo_odds_ratio,
    **dict.fromkeys(("cpo_sigmoid", "cpo_hinge", "cpo_ipo", "simpo"), reference_free),
    **dict.fromkeys(
        (
            *("dpo_sigmoid", "dpo_sigmoid_norm", "dpo_hinge", "dpo_ipo", "dpo_robust", "dpo_exo_pair", "dpo_nca_pair"),
            *("dpo_bco_pair", "dpo_sppo_hard", "dpo_aot", "dpo_aot_unpaired", "dpo_apo_zero", "dpo_apo_down"),
            *("dpo_discopop", "dpo_sft", "dpo_f_divergence", "dpo_ld_alpha", "dpo_legacy_variants"),
        ),
        dpo_family,
    ),
}
"""algo -> what yields the checks of one case."""
