"""NCA and other losses that ask something of each side of a pair by itself (arXiv 2402.05369 and others).

    x, y       = beta a, beta r,   a and r as in DPO: log-ratios to the reference, summed over the response tokens
    nca:         -log sigmoid(x) - log sigmoid(-x) / 2 - log sigmoid(-y) / 2
    bco-pair:    -log sigmoid(x) - log sigmoid(-y)
    sppo:        (a - 1/(2 beta))^2 + (r + 1/(2 beta))^2
    apo-zero:    1 - sigmoid(x) + sigmoid(y)
    apo-down:    sigmoid(x) + 1 - sigmoid(x - y)
    mpo:         .8 dpo + .2 bco-pair + 1 * (mean over all tokens of the chosen trajectories of -log p(n))

Each is a mean over the pairs. DPO reads the difference of a and r alone, and both may fall; here the chosen one's own
likelihood is part of the loss: it rises, and falls in apo-down, which is for chosen replies that are worse than what
the model says already. Formulas as in TRL 1.16.0, `DPOTrainer._compute_loss`, which was read and run; the papers' texts
were not at hand. SPPO's paper takes estimated probabilities of winning, here they are 1 and 0. `bco` has the running
shift that BCO's paper takes off, and needs no pairs; the weights of mpo are recalled.
"""

from agentrl.trainers.algorithm import Algorithm

NCA = Algorithm(
    name="nca",
    citation=(
        "H. Chen, G. He, L. Yuan, G. Cui, H. Su, J. Zhu: Noise contrastive alignment of language models with explicit "
        "rewards. NeurIPS 2024. arXiv 2402.05369."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "nca_pair"}},
    learns_from="both",
)
BCO_PAIR = Algorithm(
    name="bco-pair",
    citation=(
        "S. Jung, G. Han, D. W. Nam, K.-W. On: Binary classifier optimization for large language model alignment. "
        "arXiv 2404.04656."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "bco_pair"}},
    learns_from="both",
)
SPPO = Algorithm(
    name="sppo",
    citation=(
        "Y. Wu, Z. Sun, H. Yuan, K. Ji, Y. Yang, Q. Gu: Self-play preference optimization for language model "
        "alignment. arXiv 2405.00675."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "sppo_hard"}},
    learns_from="both",
)
APO_ZERO = Algorithm(
    name="apo-zero",
    citation=(
        "K. D'Oosterlinck et al.: Anchored preference optimization and contrastive revisions: addressing "
        "underspecification in alignment. arXiv 2408.06266."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "apo_zero"}},
    learns_from="both",
)
APO_DOWN = Algorithm(
    name="apo-down",
    citation=APO_ZERO.citation,
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "apo_down"}},
    learns_from="both",
)
MPO = Algorithm(
    name="mpo",
    citation=(
        "W. Wang et al.: Enhancing the reasoning ability of multimodal large language models via mixed preference "
        "optimization. arXiv 2411.10442."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": ["sigmoid", "bco_pair", "sft"], "weights": [0.8, 0.2, 1.0]}},
    learns_from="both",
)
