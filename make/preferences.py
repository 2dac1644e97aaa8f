"""What preference objectives and regularisers bring, on a task whose true reward is known: docs/preferences.md.

    python make/preferences.py --out runs/preferences

A tiny model imitates noisy replies in the world of make/letters.py, and is the base of all that follows: every
objective that learns from data, on the same pairs (`objectives`); DPO and RPO on pairs in the order of a reward that is
wrong (`proxy`); two regularisers while that reward is learned from on-policy (`hacking`); P3O and PPO at several prices
of divergence (`frontier`). All runs of a part have the same base, data, learning rate and number of steps. What is
finished is not done again: a second call goes on, and two processes may share the work by parts. `--scale 0.1` does a
tenth of the steps on a tenth of the prompts, to try it. About 20 minutes of one core.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, it sees its own folder alone
    sys.path.insert(0, str(ROOT))

from agentrl.composition import compose_parts  # noqa: E402
from agentrl.errors import AgentRLError  # noqa: E402
from agentrl.registry import TABLES, load  # noqa: E402
from make.preference_charts import write_charts  # noqa: E402
from make.preference_runs import Run, Study  # noqa: E402
from make.preference_tables import objectives_table, strengths_table  # noqa: E402

SEEDS = (0, 1, 2)
SEEDED = ("dpo", "rpo", "kto", "simpo", "copg", "p3o")
"""Algorithms of which the first part has three seeds."""
EXCEPTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "f-dpg": ("the base said the replies: proposal reference", {"settings": {"f-dpg": {"proposal": "reference"}}}),
    "mdpo-off-policy": (
        "the same replies as episodes, 8 prompts of 4 a step: it weighs by what they were sampled with; no buffer",
        {"parts": {"rewrites": []}, "rollout": {"tasks_per_step": 8}},
    ),
    "tgdpo": ("guidance: the result of dpo", {}),
}
"""What an algorithm cannot do without here: algorithm -> (why, settings)."""
WIDER: Mapping[str, Any] = {
    "label": "discopop-0.2",
    "algo": "discopop",
    "settings": {"settings": {"preference": {"discopop_temperature": 0.2}}},
    "note": "temperature 0.2: below (1 - log 2) / 3 = 0.102 its loss rises with the margin where all margins begin",
}
"""An objective beside its default, which goes the wrong way here."""
BETAS = (0.03, 0.1, 0.3, 1.0, 3.0)
KL_WEIGHTS = (0.1, 0.3, 0.5, 1.0, 3.0, 10.0)
CHI_WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
PRICES = (0.01, 0.03, 0.1, 0.3)


def objectives() -> Iterator[Run]:
    """Every registered algorithm that learns from data and trains a policy; `dpo` first, which guides another."""
    names = [n for n in TABLES["algorithm"] if n == "sft" or load("algorithm", n).learns_from != "episodes"]
    policies = [name for name in names if "judged" not in compose_parts(load("algorithm", name), {}, {}).needs]
    for algo in sorted(policies, key=lambda name: name != "dpo"):
        note, settings = EXCEPTIONS.get(algo, ("", {}))
        data = "episodes" if algo == "mdpo-off-policy" else "true"
        for seed in SEEDS if algo in SEEDED else SEEDS[:1]:
            yield Run(part="objectives", label=algo, algo=algo, settings=settings, data=data, seed=seed, note=note)
    yield Run(part="objectives", data="true", **WIDER)


def proxy() -> Iterator[Run]:
    """DPO and RPO on labels of the proxy."""
    steps = {"trainer": {"steps": 80}}
    for seed in SEEDS:
        for beta in BETAS:
            dpo = {"settings": {"preference": {"beta": beta}}, **steps}
            rpo = {"settings": {"rpo": {"beta": beta, "form": "averaged", "eta": 0.2}}, **steps}
            for algo, settings in (("dpo", dpo), ("rpo", rpo)):
                yield Run(
                    part="proxy", label=algo, algo=algo, settings=settings, data="proxy", seed=seed, strength=beta
                )


def hacking() -> Iterator[Run]:
    """GRPO with KL, and the same with chi-squared, where the proxy is paid; without either, once a seed."""
    paid = {"env_settings": {"pays": "proxy"}}
    clip = {"ppo-clip": {"clip_low": 0.4, "clip_high": 0.4, "dual_clip": 0.0}}
    for seed in SEEDS:
        yield Run(
            part="hacking", label="none", algo="grpo", settings={**paid, "settings": clip}, seed=seed, strength=0.0
        )
        for label, algo, section, weights in (
            ("kl", "grpo", "kl", KL_WEIGHTS),
            ("chi-squared", "chi-squared", "chi-squared", CHI_WEIGHTS),
        ):
            for weight in weights:
                settings = {**paid, "settings": {**clip, section: {"coef": weight}}}
                yield Run(part="hacking", label=label, algo=algo, settings=settings, seed=seed, strength=weight)


def frontier() -> Iterator[Run]:
    """P3O, and PPO with the divergence taken off the reward: the same price of a nat."""
    for seed in SEEDS:
        for price in PRICES:
            p3o = {"settings": {"p3o": {"beta": price}}}
            ppo = {
                "parts": {"rewards": ["kl-reward"]},
                "settings": {"kl-reward": {"coef": price}},
                "critic": {"lr": 2e-3},
            }
            for algo, settings in (("p3o", p3o), ("ppo", ppo)):
                yield Run(part="frontier", label=algo, algo=algo, settings=settings, seed=seed, strength=price)


PARTS = {"objectives": objectives, "proxy": proxy, "hacking": hacking, "frontier": frontier}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--out", default="runs/preferences", help="folder of the results")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps and prompts")
    parser.add_argument("--charts", default="", help="folder that gets the pictures, as docs/images")
    parser.add_argument("--table", action="store_true", help="only show what is there")
    return parser.parse_args()


def finished(out: Path, part: str) -> list[dict[str, Any]]:
    """Results of a part that are there, in the order of the plan."""
    files = [out / part / f"{run.name}.json" for run in PARTS[part]()]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def run_all(study: Study, parts: Sequence[str]) -> int:
    """How many runs failed; what they say goes to the terminal."""
    failed = 0
    for part in parts:
        for run in PARTS[part]():
            try:
                found = study.result(run)
                sys.stdout.write(f"{part} {run.name}: {found['seconds']:.1f} s\n")
                sys.stdout.flush()
            except AgentRLError as error:
                failed += 1
                sys.stderr.write(f"{part} {run.name}: {error}\n")
    return failed


def main() -> int:
    asked = arguments()
    study, parts = Study(Path(asked.out), asked.scale), asked.parts.split(",")
    try:
        failed = 0 if asked.table else run_all(study, parts)
        before = study.before()
        results = {part: finished(study.out, part) for part in parts}
        for part, found in results.items():
            table = objectives_table(before, found) if part == "objectives" else strengths_table(before, found)
            sys.stdout.write(f"{table}\n\n")
        if asked.charts:
            write_charts(Path(asked.charts), before, results)
    except AgentRLError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
