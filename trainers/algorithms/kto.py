"""KTO: learning from single trajectories, each called good or bad (arXiv 2402.01306).

    L    = mean over the trajectories of  c_good (1 - sigmoid(x - beta z))  or, of what is bad,
                                          c_bad (1 - sigmoid(beta z - x))
    x    = beta * (sum over the response tokens of the trajectory of  log p(n) - log p_reference(n))
    z    = max(0, mean over the batch of the log-ratio of a reply to a prompt that it does not answer), a constant
    apo-zero-unpaired:  the same with z = 0

What is good, and how much a class counts, are settings; no pairs are needed. z needs two prompts in a batch and is 0
where there is one: KTO then is APO-zero. Formulas as in TRL 1.16.0, `KTOTrainer._compute_loss`, which was read and run;
the papers' texts were not at hand. An agent's trajectory takes the tokens of all its turns, and the reply that is
measured after another prompt is the first turn's (ours).
"""

import torch
from torch import Tensor

from agentrl.trainers.algorithm import Algorithm
from agentrl.trainers.algorithms.dpo_sides import APO_ZERO
from agentrl.trainers.parts.unpaired import UnpairedConfig, unpaired_metrics, unpaired_part, unpaired_term
from agentrl.trainers.step_view import StepView, Term


def prospect(reward: Tensor, good: Tensor, anchor: float) -> Tensor:
    """1 - sigmoid(x - anchor) of what is good, 1 - sigmoid(anchor - x) of what is bad.

    reward: [J] x, with gradient.   good: [J] bool.   anchor: beta z.   Returns [J].
    """
    return torch.where(good, anchor - reward, reward - anchor).sigmoid()


def mean_of_known(value: Tensor) -> float:
    """max(0, mean) of what is not nan; 0 of nothing.   value: [J] float."""
    known = value.detach()[~value.isnan()]
    return max(0.0, float(known.mean())) if len(known) else 0.0


def _anchor(view: StepView, config: UnpairedConfig) -> float:
    assert view.mismatched is not None
    return config.beta * mean_of_known(view.mismatched)


def _kto(view: StepView, config: UnpairedConfig, state: None) -> Term:
    anchor = _anchor(view, config)
    return unpaired_term(view, config, lambda reward, good: prospect(reward, good, anchor))


def _apo_zero(view: StepView, config: UnpairedConfig, state: None) -> Term:
    return unpaired_term(view, config, lambda reward, good: prospect(reward, good, 0.0))


def _kto_metrics(view: StepView, config: UnpairedConfig, state: None) -> dict[str, float]:
    return unpaired_metrics(view, config) | {"unpaired/anchor": _anchor(view, config)}


def _apo_zero_metrics(view: StepView, config: UnpairedConfig, state: None) -> dict[str, float]:
    return unpaired_metrics(view, config)


KTO_SURROGATE = unpaired_part("kto", _kto, _kto_metrics, needs=("mismatched",))
"""KTO's: good trajectories gain over, bad ones lose against, what the policy says to other prompts."""
APO_ZERO_UNPAIRED_SURROGATE = unpaired_part("apo-zero-unpaired", _apo_zero, _apo_zero_metrics)
"""APO-zero's for single trajectories: good ones gain, bad ones lose likelihood, each side until it is sure."""
KTO = Algorithm(
    name="kto",
    citation=(
        "K. Ethayarajh, W. Xu, N. Muennighoff, D. Jurafsky, D. Kiela: KTO: model alignment as prospect theoretic "
        "optimization. ICML 2024. arXiv 2402.01306."
    ),
    advantage=None,
    surrogate=KTO_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
APO_ZERO_UNPAIRED = Algorithm(
    name="apo-zero-unpaired",
    citation=APO_ZERO.citation,
    advantage=None,
    surrogate=APO_ZERO_UNPAIRED_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
