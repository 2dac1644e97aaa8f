"""IPO and other losses of DPO's margin: hinge, robust, exact, discovered, sorted (arXiv 2310.12036 and others).

    m          = beta * (a - r),   a and r as in DPO: log-ratios to the reference, summed over the response tokens
    ipo:         (a/n_w - r/n_l - 1/(2 beta))^2,   n_w and n_l the numbers of tokens
    slic:        max(0, 1 - m)
    robust-dpo:  (-(1 - eps) log sigmoid(m) + eps log sigmoid(-m)) / (1 - 2 eps)
    exo:         sigmoid(m) (log sigmoid(m) - log(1 - eps)) + sigmoid(-m) (log sigmoid(-m) - log eps)
    discopop:    -log sigmoid(m) (1 - k) + exp(-m) k,   k = sigmoid(m / temperature)
    aot:         DPO's of beta (x - y), x and y sorted:   x = log p(chosen) - log p(rejected),   y = the reference's
    aot-unpaired: the same of  x = a,  y = r

Each is a mean over the pairs. The margin of ipo and of discopop has a finite place to be, hinge none beyond 1, so that
they do not push on where DPO does; exo's gradient vanishes where a pair is very wrong. Formulas as in TRL 1.16.0,
`DPOTrainer._compute_loss`, which was read and run; the papers' texts were not at hand. TRL says that the authors of IPO
confirm its means over tokens; `per_token: false` is the paper's form. Its hinge is of log-ratios to the reference,
which SLiC's paper does not have. AOT sorts over the whole batch, which is of all ranks; where pairs weigh differently,
masses are coupled in order (ours). Released, DiscoPOP gives nan for margins far below 0; here it does not.
"""

from agentrl.trainers.algorithm import Algorithm

IPO = Algorithm(
    name="ipo",
    citation=(
        "M. G. Azar, M. Rowland, B. Piot, D. Guo, D. Calandriello, M. Valko, R. Munos: A general theoretical paradigm "
        "to understand learning from human preferences. AISTATS 2024. arXiv 2310.12036."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "ipo"}},
    learns_from="both",
)
SLIC = Algorithm(
    name="slic",
    citation="Y. Zhao et al.: SLiC-HF: sequence likelihood calibration with human feedback. arXiv 2305.10425.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "hinge"}},
    learns_from="both",
)
ROBUST_DPO = Algorithm(
    name="robust-dpo",
    citation=(
        "S. R. Chowdhury, A. Kini, N. Natarajan: Provably robust DPO: aligning language models with noisy feedback. "
        "ICML 2024. arXiv 2403.00409."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "robust", "label_smoothing": 0.1}},
    learns_from="both",
)
EXO = Algorithm(
    name="exo",
    citation="H. Ji et al.: Towards efficient exact optimization of language model alignment. arXiv 2402.00856.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "exo_pair", "label_smoothing": 1e-3}},
    learns_from="both",
)
DISCOPOP = Algorithm(
    name="discopop",
    citation=(
        "C. Lu et al.: Discovering preference optimization algorithms with and for large language models. NeurIPS "
        "2024. arXiv 2406.08414."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "discopop"}},
    learns_from="both",
)
AOT = Algorithm(
    name="aot",
    citation="I. Melnyk et al.: Distributional preference alignment of LLMs via optimal transport. arXiv 2406.05882.",
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "aot"}},
    learns_from="both",
)
AOT_UNPAIRED = Algorithm(
    name="aot-unpaired",
    citation=AOT.citation,
    pairing="best-worst",
    advantage=None,
    surrogate="preference",
    aggregate="pair-mean",
    settings={"preference": {"loss": "aot_unpaired"}},
    learns_from="both",
)
