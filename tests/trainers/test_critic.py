"""The critic: where its values are read, that its gradient depends on no cut and no order, and what it learns (R7)."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agentrl.briefs import briefs_of
from agentrl.config import CriticConfig, RolloutConfig, RunConfig, TrainerConfig
from agentrl.errors import ConfigError
from agentrl.models.renderer import Rendered
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.registry import load
from agentrl.runner import Job, Runner
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.critic import Critic, make_critic, value_loss
from agentrl.trainers.final_prompts import FinalPrompts
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.trainers.value_reads import value_reads, with_current_values
from agentrl.types import Trajectory
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories
from tests.trainers.processes import leave_group
from tests.trainers.toy import WORDS

VOCAB = 40
ALGORITHMS = ("ppo", "bilevel-ppo", "archer")


def next_prompt(trajectory: Trajectory) -> Rendered | None:
    """The prompt after the last turn: it continues, it does not, or it cannot be read, by the rollout's number."""
    new = (7, 8, 9)
    return None if trajectory.rollout == 2 else Rendered(new, new, trajectory.rollout == 0, "")


def critic_of(backbone: str = "own", *, budget: int = 10_000, head: float = 0.1, **settings: Any) -> Critic:
    """A critic of a random model, its head away from 0 so that the backbone has a gradient."""
    module = tiny_model(VOCAB, dtype=torch.float64).module
    ranks = settings.pop("ranks", Ranks())
    config = RunConfig(critic=CriticConfig(backbone=backbone), trainer=TrainerConfig(lr=1e-2))  # type: ignore[arg-type]
    updater = Updater(module, Optimiser(module, config.trainer), micro_batch_tokens=budget, ranks=ranks, **settings)
    critic = make_critic(config, module, updater, next_prompt)
    with torch.no_grad():
        critic.model.head.weight.copy_(head * torch.linspace(-1, 1, 64, dtype=torch.float64))
    return critic


def prepared(critic: Critic, algo: str, trajectories: list[Trajectory], **settings: Any) -> tuple[Batch, Composition]:
    """The step's batch with values, advantage and what the values are to become."""
    composition = compose(load("algorithm", algo))
    batch = build_batch(trajectories, turn_limit_bootstraps=True, overlong="keep", **settings)
    critic.read(trajectories, batch.view)
    return batch.with_view(composition.advantage(critic.valued(batch.view))), composition


def gradient(
    algo: str, trajectories: list[Trajectory], critic: Critic, layout: str = "episode"
) -> tuple[float, Tensor]:
    batch, composition = prepared(critic, algo, trajectories, layout=layout)
    assert critic.reads is not None
    loss, _ = critic.gradient(batch.view, critic.reads, composition)
    return loss, flat_gradient(critic.model)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_critics_gradient_does_not_depend_on_cut_order_or_layout(algo: str) -> None:
    trajectories = random_trajectories(1, vocab=VOCAB)
    loss, whole = gradient(algo, trajectories, critic_of())
    assert loss > 0 and whole.abs().max() > 0
    others = [
        gradient(algo, trajectories, critic_of(budget=1)),
        gradient(algo, trajectories, critic_of(budget=50, one_by_one=True)),
        gradient(algo, trajectories[::-1], critic_of(budget=37)),
        gradient(algo, trajectories, critic_of(), layout="turn"),
    ]
    for other_loss, other in others:
        assert other_loss == pytest.approx(loss, rel=1e-12)
        assert (other - whole).abs().max() < 1e-12 * whole.abs().max()


def test_values_are_the_heads_of_the_hidden_states_before_each_token_and_around_each_turn() -> None:
    critic, (trajectory,) = critic_of(), random_trajectories(4, vocab=VOCAB, groups=1, group_size=1, breaks=0.0)
    trajectory.ended = "context_limit"
    batch, _ = prepared(critic, "ppo", [trajectory])
    ids, at_token, at_start, at_end = [], [], [], []
    for turn in trajectory.turns:
        ids += turn.prompt_ids
        at_start.append(len(ids) - 1)
        at_token += range(len(ids) - 1, len(ids) - 1 + len(turn.completion.token_ids))
        ids += turn.completion.token_ids
        at_end.append(len(ids) - 1)
    ids += [7, 8, 9]
    with torch.no_grad():
        hidden = critic.model.backbone.base_model(torch.tensor([ids])).last_hidden_state[0]
        values = critic.model(hidden)
    view = batch.view
    for name, places in (("value", at_token), ("value_at_start", at_start), ("value_at_end", at_end)):
        torch.testing.assert_close(getattr(view, name), values[places], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(view.value_after, values[-1:], rtol=1e-9, atol=1e-12)


def test_only_cut_episodes_have_a_value_after_the_end_and_an_unread_one_is_that_of_the_last_response() -> None:
    trajectories = random_trajectories(1, vocab=VOCAB, groups=1, group_size=3, breaks=0.0)
    for trajectory, ended in zip(trajectories, ("done", "context_limit", "token_limit"), strict=True):
        trajectory.ended = ended  # type: ignore[assignment]
    critic = critic_of()
    batch, _ = prepared(critic, "ppo", trajectories)
    view = batch.view
    assert view.value_after is not None and view.value_at_end is not None
    last = torch.bincount(view.trajectory_of_turn).cumsum(0) - 1
    assert view.value_after[0] == 0
    assert view.value_after[1] != 0 and view.value_after[1] != view.value_at_end[last[1]]
    assert view.value_after[2] == view.value_at_end[last[2]]  # rollout 2 cannot be read
    assert critic.reads is not None and critic.reads.unread_ends == 1


def test_the_reads_of_some_trajectories_are_those_built_of_them() -> None:
    trajectories = random_trajectories(7, vocab=VOCAB)
    chosen = [0, 3, 4, 8]
    view = build_batch(trajectories).view
    kept = value_reads(trajectories, view, next_prompt).keep(view, torch.tensor(chosen))
    few = [trajectories[i] for i in chosen]
    built = value_reads(few, build_batch(few).view, next_prompt)
    assert kept.stretches == built.stretches and kept.num_slots == built.num_slots


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_value_loss_falls_on_a_batch_that_stays(algo: str) -> None:
    critic = critic_of(head=0.0)
    batch, composition = prepared(critic, algo, random_trajectories(2, vocab=VOCAB))
    assert critic.reads is not None and critic.whole is not None
    everything = torch.arange(batch.view.num_trajectories)
    before = [p.clone() for p in critic.updater.module.parameters()]
    for _ in range(12):
        critic.step(batch, everything, composition, 1.0)
    losses = [row["critic/loss"] for row in critic.shown]
    assert losses[-1] < 0.6 * losses[0]
    assert not all(torch.equal(a, b) for a, b in zip(before, critic.updater.module.parameters(), strict=True))
    shown = critic.metrics()
    assert shown["critic/loss"] == pytest.approx(sum(losses) / len(losses))
    assert critic.shown[0]["critic/value_mean"] == 0 and shown["critic/unread_ends"] > 0


def test_while_the_critic_warms_up_the_policy_stays() -> None:
    critic = critic_of()
    critic.warmup_steps = 1
    batch, composition = prepared(critic, "ppo", random_trajectories(2, vocab=VOCAB))
    weights = {
        name: {n: p.clone() for n, p in module.named_parameters()}
        for name, module in (("policy", critic.updater.module), ("critic", critic.model))
    }
    critic.step(batch, torch.arange(batch.view.num_trajectories), composition, 1.0)
    assert all(torch.equal(weights["policy"][n], p) for n, p in critic.updater.module.named_parameters())
    assert not torch.equal(weights["critic"]["head.weight"], critic.model.head.weight)
    assert critic.policy_share(1.0, 0) == 0 and critic.policy_share(1.0, 1) == 1


def test_a_shared_backbone_gets_the_sum_of_both_gradients() -> None:
    critic = critic_of("shared")
    batch, composition = prepared(critic, "ppo", random_trajectories(3, vocab=VOCAB))
    policy, reads = critic.updater, critic.reads
    assert reads is not None
    policy.gradient(batch, composition)
    of_policy = flat_gradient(policy.module)
    policy.optimiser.zero_grad()
    critic.gradient(batch.view, reads, composition)
    of_values = flat_gradient(policy.module)
    assert of_values.abs().max() > 0
    assert [name for name, _ in critic.model.named_parameters()] == ["head.weight", "head.bias"]
    both = torch.linalg.vector_norm(of_policy + of_values)
    update = critic.step(batch, torch.arange(batch.view.num_trajectories), composition, 1.0)
    assert update.grad_norm == pytest.approx(float(both), rel=1e-6)  # norms are float32


def test_a_shared_backbone_is_changed_once_an_update() -> None:
    with pytest.raises(ConfigError, match="updates is 2; a shared backbone"):
        CriticConfig(backbone="shared", updates=2)


def test_the_gradient_is_that_of_the_loss_written_out() -> None:
    critic = critic_of()
    batch, composition = prepared(critic, "ppo", random_trajectories(5, vocab=VOCAB))
    reads = critic.reads
    assert reads is not None
    critic.gradient(batch.view, reads, composition)
    ours = flat_gradient(critic.model)
    critic.model.zero_grad()
    values = torch.zeros(reads.num_slots, dtype=torch.float64)
    for stretch in reads.stretches:
        hidden = critic.model.backbone.base_model(torch.tensor([stretch.ids])).last_hidden_state[0]
        values = values.index_copy(0, torch.tensor(stretch.slots), critic.model(hidden[torch.tensor(stretch.places)]))
    value_loss(composition, with_current_values(batch.view, reads, values)).backward()  # type: ignore[no-untyped-call]
    assert (flat_gradient(critic.model) - ours).abs().max() < 1e-12 * ours.abs().max()


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for backbone in ("own", "shared"):
        torch.save(stepped(critic_of(backbone, ranks=Ranks.current())), Path(folder) / f"{backbone}-{rank}.pt")
    leave_group()


def stepped(critic: Critic) -> Tensor:
    """Weights of policy and critic after a step."""
    batch, composition = prepared(critic, "ppo", random_trajectories(6, vocab=VOCAB))
    critic.step(batch, torch.arange(batch.view.num_trajectories), composition, 1.0)
    modules = (critic.updater.module, critic.model)
    return torch.cat([p.detach().reshape(-1) for module in modules for p in module.parameters()])


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for backbone in ("own", "shared"):
        alone = stepped(critic_of(backbone))
        together = [torch.load(tmp_path / f"{backbone}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        assert torch.equal(*together)
        assert (together[0] - alone).abs().max() < 1e-9


@pytest.mark.parametrize("memory", ["full", "workspace"])
def test_the_final_prompt_is_the_one_that_the_next_turn_would_have_had(memory: str) -> None:
    """One episode is cut after two turns, the same one after three: its third prompt is what the cut one would see."""
    model, world = tiny_model(WORDS, hidden=32), load("env", "guess")
    remembered, written = load("memory", memory)(), load("format", "action")(load("format", "action").Config())
    config = world.Config()
    task = world.tasks("train", config)[0]

    def played(max_turns: int) -> Trajectory:
        policy = TransformersPolicy(model, slots=1, max_context=512, deterministic=True)
        rollout = RolloutConfig(max_turns=max_turns, max_new_tokens=3, max_context=512)
        settings: dict[str, Any] = {"memory": remembered, "format": written, "renderer": model.renderer}
        with Runner(world, policy, rollout=rollout, config=config, **settings) as runner:
            (trajectory,) = runner.play([Job(task, "g", 0)])
        return trajectory

    cut, longer = played(2), played(3)
    prompts = FinalPrompts(remembered, written, model.renderer, briefs_of(world, config), 512)
    prompt, third = prompts(cut), longer.turns[2]
    assert prompt is not None and cut.ended == "turn_limit"
    assert list(prompt.new_ids) == third.prompt_ids and prompt.continues == third.continues
    assert FinalPrompts(remembered, written, model.renderer, briefs_of(world, config), 4)(cut) is None
