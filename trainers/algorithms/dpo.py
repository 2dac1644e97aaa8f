"""DPO: direct preference optimisation, and what changes how its margin is made (arXiv 2305.18290).

    L       = mean over the pairs of  -log sigmoid(beta * (g(a) - g(r)))
    a       = sum over the response tokens of the chosen trajectory of  log p(n) - log p_reference(n);   r: the rejected
    dpo:      g(x) = x
    dpo-norm: a and r are divided by their numbers of tokens
    cdpo:     -(1 - eps) log sigmoid(m) - eps log sigmoid(-m),   m = beta * (a - r)
    f-dpo:    g(x) = 1 - exp(-x) (forward KL),   log 2 + log sigmoid(x) (JS),   (exp((c-1) x) - 1) / (c - 1) (alpha)
    ld-dpo:   tokens beyond the length of the shorter side count ld_alpha
    wpo:      a pair counts  w(chosen) * w(rejected),   w = exp(mean over the tokens of log p(n) - log sum_v p(v)^2)

What the world says carries no loss and cancels in a and r, so that an agent's trajectory takes all of its response
tokens, of all turns (derived). Formulas as in TRL 1.16.0, `DPOTrainer._compute_loss`, which was read and run; cdpo as
in its 0.24.0; WPO's was read alone. The papers' texts were not at hand. Pairs are logged, `agentrl train --data
pairs.jsonl --algo dpo`, or the best and the worst of a group of rollouts of one task; `parts: {pairing: all-pairs}`.
Alone, DPO lets the likelihood of what is preferred fall too: `preference/chosen_rising` shows it, and a loss in a list,
`settings: {preference: {loss: [sigmoid, sft]}}`, holds it up. beta .1 is TRL's; f-dpo's JS is one of three that its
paper compares, ld_alpha .5 a start of ours.
"""

from agentrl.trainers.algorithm import Algorithm

DPO = Algorithm(
    name="dpo",
    citation=(
        "R. Rafailov, A. Sharma, E. Mitchell, S. Ermon, C. D. Manning, C. Finn: Direct preference optimization: your "
        "language model is secretly a reward model. NeurIPS 2023. arXiv 2305.18290."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    learns_from="both",
)
DPO_NORM = Algorithm(
    name="dpo-norm",
    citation="Length-normalised DPO, TRL's sigmoid_norm; the paper behind it was not read: T. Lambert et al.: "
    "Tulu 3: pushing frontiers in open language model post-training. arXiv 2411.15124.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "sigmoid_norm", "beta": 2.0}},
    learns_from="both",
)
CDPO = Algorithm(
    name="cdpo",
    citation="E. Mitchell: A note on DPO with noisy preferences and relationship to IPO. 2023.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"label_smoothing": 0.1}},
    learns_from="both",
)
F_DPO = Algorithm(
    name="f-dpo",
    citation=(
        "C. Wang, Y. Jiang, C. Yang, H. Liu, Y. Chen: Beyond reverse KL: generalizing direct preference optimization "
        "with diverse divergence constraints. ICLR 2024. arXiv 2309.16240."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"f_divergence": "js"}},
    learns_from="both",
)
LD_DPO = Algorithm(
    name="ld-dpo",
    citation="W. Liu et al.: Length desensitization in direct preference optimization. arXiv 2409.06411.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"ld_alpha": 0.5}},
    learns_from="both",
)
WPO = Algorithm(
    name="wpo",
    citation="W. Zhou et al.: WPO: enhancing RLHF with weighted preference optimization. arXiv 2406.11827.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"likelihood_weight": True}},
    learns_from="both",
)
