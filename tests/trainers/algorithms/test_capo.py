"""CAPO: the two forms agree where they must, the box is the paper's, and Adam's moments are a state like any other."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agentrl.config import TrainerConfig
from agentrl.errors import ConfigError
from agentrl.models.head import Chunk
from agentrl.trainers.algorithms import capo
from agentrl.trainers.algorithms.capo import CAPO, CAPOConfig, Foresight, adam_curvature, in_the_box, sgd_curvature
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.parts.probes import curvature
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.update import Updater
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories
from tests.trainers.processes import leave_group

VOCAB = 24
ADAM = {"capo": {"optimiser": "adam", "top_k": 5, "tau_objective": 2e-2, "tau_policy": 1e-2}}


def chunk(tokens: int = 30, vocab: int = 9, width: int = 4) -> Chunk:
    random = torch.Generator().manual_seed(2)
    logp = (2 * torch.randn(tokens, vocab, generator=random, dtype=torch.float64)).log_softmax(-1)
    hidden = torch.randn(tokens, width, generator=random, dtype=torch.float64)
    advantage = torch.randn(tokens, generator=random, dtype=torch.float64)
    return Chunk(logp, hidden, torch.randint(0, vocab, (tokens,), generator=random), {"advantage": advantage})


@pytest.mark.parametrize("top_k", [3, 9])
def test_the_first_step_of_adam_is_the_closed_form_of_plain_steps(top_k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capo, "BLOCK", 100)  # a few tokens at a time
    seen = chunk()
    state = Foresight(CAPOConfig(optimiser="adam", top_k=top_k))
    state.lr = 0.3
    state.sums(torch.zeros(9, 4, dtype=torch.float64))
    rows = adam_curvature(seen, state)
    closed = sgd_curvature(seen.given["advantage"], *curvature(seen, top_k, True), lr=0.3)
    for a, b in zip(rows, closed, strict=True):
        torch.testing.assert_close(a, b)


def test_a_token_without_advantage_is_always_kept() -> None:
    z, s, phi = curvature(chunk(), 0, True)
    m_h, m_f = sgd_curvature(torch.zeros(30, dtype=torch.float64), z, s, phi, lr=100.0)
    assert not m_h.any() and not m_f.any()
    assert in_the_box(m_h, m_f, CAPOConfig()).all()


def test_the_box_has_two_sides_or_one_and_a_bound_of_zero_is_none() -> None:
    m_h = torch.tensor([-0.02, -0.005, 0.0, 0.005, 0.02])
    m_f = torch.tensor([0.0, 0.0, 2e-4, 0.0, 0.0])
    assert in_the_box(m_h, m_f, CAPOConfig()).tolist() == [False, True, False, True, False]
    assert in_the_box(m_h, m_f, CAPOConfig(sides="above")).tolist() == [False, False, False, True, False]
    assert in_the_box(m_h, m_f, CAPOConfig(tau_policy=0.0)).tolist() == [False, True, True, True, False]
    assert in_the_box(m_h, m_f, CAPOConfig(tau_objective=0.0)).tolist() == [True, True, False, True, True]


def kept_tokens(composition: Composition, seed: int, **settings: Any) -> Tensor:
    """The tokens that carry loss after one step's test; the state has learned from the step."""
    module = tiny_model(VOCAB, layers=1, hidden=16, dtype=torch.float64).module
    updater = Updater(module, Optimiser(module, TrainerConfig()), **settings)
    batch = build_batch(random_trajectories(seed, vocab=VOCAB), learning_rate=5e-4)
    known = updater.evaluate(batch, True, composition.every_probe)
    view = batch.view.with_fields(old=known.logprob, sampled_probes=known.probes)
    view = composition.advantage(view, lambda view, late: updater.evaluate(batch.with_view(view), False, late).probes)
    composition.update(view)
    return torch.stack([view.trained.double(), view.sampled_probes["capo-objective"]])


def test_the_moments_do_not_depend_on_the_cut_and_come_back_from_a_checkpoint() -> None:
    straight, cut = compose(CAPO, settings=ADAM), compose(CAPO, settings=ADAM)
    first = kept_tokens(straight, 0)
    assert 0 < first[0].mean() < 1
    torch.testing.assert_close(first, kept_tokens(cut, 0, micro_batch_tokens=20))
    (state,) = straight.states().values()
    stored = json.loads(json.dumps(state.state_dict()))
    assert stored["steps"] == 1 and stored["rows"]
    resumed = compose(CAPO, settings=ADAM)
    (of_resumed,) = resumed.states().values()
    of_resumed.load_state_dict(stored)
    assert of_resumed.state_dict() == stored
    second = kept_tokens(straight, 1)
    assert torch.equal(second, kept_tokens(resumed, 1))
    torch.testing.assert_close(second, kept_tokens(cut, 1))
    assert not torch.allclose(second[1], kept_tokens(compose(CAPO, settings=ADAM), 1)[1])  # moments matter


def test_adams_rows_need_a_top_k() -> None:
    with pytest.raises(ConfigError, match="top_k"):
        CAPOConfig(optimiser="adam")


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    composition = compose(CAPO, settings=ADAM)
    found = [kept_tokens(composition, seed, ranks=Ranks.current()) for seed in (0, 1)]
    torch.save(found, Path(folder) / f"{rank}.pt")
    leave_group()


def test_two_processes_learn_the_moments_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    composition = compose(CAPO, settings=ADAM)
    alone = [kept_tokens(composition, seed) for seed in (0, 1)]
    for rank in (0, 1):
        for a, b in zip(alone, torch.load(tmp_path / f"{rank}.pt", weights_only=True), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
