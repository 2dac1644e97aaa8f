"""The one training loop: draw tasks, play, build a batch, change the weights, judge, save; and go on after a kill."""

import asyncio
import contextlib
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agentrl.api import TrainResult
from agentrl.briefs import briefs_of
from agentrl.composition import build
from agentrl.config import RunConfig
from agentrl.curve import draw_curve
from agentrl.demonstrations import demonstrations
from agentrl.display import Display, Silent, summary_rows, what_next
from agentrl.errors import DataError
from agentrl.event_log import EventLog
from agentrl.foreign import drawn
from agentrl.hardware import usable_cores
from agentrl.interruption import cancelled_by_ctrl_c, leave_at_the_next
from agentrl.logged_data import read_data
from agentrl.models.defaults import spoken_to
from agentrl.models.forward import packs_without_leaks
from agentrl.models.head import Probe
from agentrl.models.load import Model, load_model, output_head
from agentrl.models.reward_model import RewardModel
from agentrl.models.vision import ImageInputs, image_files
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.records import write_trajectories
from agentrl.registry import load
from agentrl.rollout_metrics import summaries
from agentrl.run_directory import RunDirectory, panel_hash, write_whole
from agentrl.runner import Job, Runner
from agentrl.seeds import seed_of
from agentrl.settings import from_mapping, merge
from agentrl.statistics import Tally
from agentrl.trainers.algorithm import Curriculum, Draw
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.checkpoint import commit_best, find_checkpoint, restore, save_checkpoint
from agentrl.trainers.composition import compose
from agentrl.trainers.critic import Critic, make_critic
from agentrl.trainers.drawing import by_group, drawn_groups, held_out
from agentrl.trainers.final_prompts import FinalPrompts
from agentrl.trainers.frozen_models import FrozenModels, load_guidance
from agentrl.trainers.judging import Verdict, judge, panel_of
from agentrl.trainers.judging_pairs import judge_pairs
from agentrl.trainers.optimiser import Optimiser, learning_rate
from agentrl.trainers.preflight import check_before_loading
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.rehearsal import Rehearsal, refuse_without_help
from agentrl.trainers.reward_updater import make_reward_updater
from agentrl.trainers.step_metrics import step_metrics
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import TokenNumbers, Update, Updater
from agentrl.types import Trajectory

SMALL = 20_000_000
"""Weights under which a second thread costs more than it brings, and is left to the worlds' processes."""
BEFORE_LOSS = ("gates", "rewards", "returns", "advantage", "modifiers", "selections")
"""Slots whose parts are evaluated before the first update; what they need of the policy is gathered first."""


class Trainer:
    """One run. `train` makes it; its methods are the steps of DESIGN's data flow."""

    def __init__(
        self,
        config: RunConfig,
        run: RunDirectory,
        display: Display,
        *,
        world: Any = None,
        reward: Callable[[Trajectory], Any] | None = None,
        model: Model | None = None,
    ) -> None:
        self.config, self.run, self.display, self.ranks = config, run, display, Ranks.current()
        self.composition = compose(load("algorithm", config.algo), config.parts, config.settings)
        check_before_loading(config, self.composition)
        self.plays = "demonstrations" not in self.composition.needs and not config.data
        self.world = world if world is not None else load("env", config.env)
        self.world_config = from_mapping(self.world.Config, config.env_settings, "env_settings")
        self.memory = build("memory", config.memory, config.memory_settings)
        self.format = build("format", config.format, config.format_settings)
        self.tasks = self.world.tasks(config.train_split, self.world_config)
        refuse_without_help(self.composition, self.world, self.tasks)
        self.panel = panel_of(self.world, self.world_config, config.validation)
        seed, marks = seed_of(config.seed, "model"), getattr(self.format, "marks", ())
        self.model = model or load_model(config.model, config.env, seed, self.world_config, marks)
        self.model.defaults = merge(self.model.defaults, spoken_to(config))
        if not config.threads and sum(p.numel() for p in self.model.module.parameters()) < SMALL:
            torch.set_num_threads(1)
        self.data = self._data()
        self.groups: list[list[Trajectory]] = []
        self.held: list[list[Trajectory]] = []
        if self.data and self.composition.algorithm.learns_from != "episodes":
            self.groups, self.held = held_out(by_group(self.data), {task.id for task in self.panel})
        self.earns = getattr(self.world, "REWARDS", True) or reward is not None
        if not self.earns or "judged" in self.composition.needs:
            self.panel = []  # an episode would tell nothing of what was learned
        self.updater, self.reward_model = self._updater()
        self.optimiser = self.updater.optimiser
        guided = "guidance" in self.composition.needs
        guidance = load_guidance(config, self.model) if guided else None
        self.frozen = FrozenModels(self.model, self.updater, guidance, keeps=bool(self.groups))
        self.critic = self._critic()
        self.curriculum = self._curriculum()
        self.policy = TransformersPolicy(
            self.model,
            slots=config.rollout.concurrency,
            max_context=config.rollout.max_context,
            deterministic=config.rollout.deterministic,
        )
        self.runner = Runner(
            self.world,
            self.policy,
            memory=self.memory,
            format=self.format,
            renderer=self.model.renderer,
            rollout=config.rollout,
            config=self.world_config,
            seed=config.seed,
            reward=reward,
        )
        self.rehearsal = Rehearsal(self.world, self.runner, self.ranks, config.trainer.steps, config.seed)
        self.step = 0
        self.best: float | None = None
        self.judged: float | None = None
        self.before: dict[str, Tally] = {}
        self.after: dict[str, Tally] = {}
        self.events: EventLog | None = None

    def _log(self, metrics: Mapping[str, Any], kind: str) -> None:
        if not self.ranks.leads:
            return
        self.run.log(self.step, metrics, kind)
        if self.events is None:
            self.events = EventLog(self.run.path / "tensorboard", self.step)
        self.events.log(self.step, metrics, kind)

    def _updater(self) -> tuple[Updater, RewardModel | None]:
        """What changes the policy's weights; or, of an algorithm that trains one, a reward model's, and that model."""
        config = self.config
        if "judged" in self.composition.needs:
            return make_reward_updater(config, self.model, self.composition, self.ranks)
        updater = Updater(
            self.model.module,
            Optimiser(self.model.module, config.trainer),
            temperature=config.rollout.temperature if self.plays else 1.0,
            micro_batch_tokens=config.trainer.micro_batch_tokens,
            one_by_one=not packs_without_leaks(self.model.module, len(output_head(self.model.module)[0])),
            two_passes=config.trainer.passes == "two",
            ranks=self.ranks,
        )
        return updater, None

    def _critic(self) -> Critic | None:
        """Where the algorithm's parts read values; made before the policy's weights change."""
        if "value" not in self.composition.needs:
            return None
        briefs, longest = briefs_of(self.world, self.world_config), self.config.rollout.max_context
        next_prompt = FinalPrompts(self.memory, self.format, self.model.renderer, briefs, longest)
        return make_critic(self.config, self.model.module, self.updater, next_prompt)

    def _curriculum(self) -> Curriculum:
        curriculum: Curriculum = build("curriculum", self.config.curriculum, self.config.curriculum_settings)
        curriculum.start(self.tasks, seed_of(self.config.seed, "curriculum"))
        return curriculum

    # ---- the steps of one step

    async def trajectories(self) -> list[Trajectory]:
        """This step's episodes, of all ranks, in the order in which they were drawn."""
        rollout = self.config.rollout
        if self.groups:
            return drawn_groups(self.groups, rollout.tasks_per_step, self.config.seed, self.step)
        if not self.plays:
            return self._demonstrations()
        draws = self.curriculum.draw(rollout.tasks_per_step, rollout.group_size)
        trajectories: list[Trajectory] = []
        played: Counter[str] = Counter()  # a task that is drawn twice goes on counting: seeds follow from the rollout
        num_groups = 0
        while draws:
            trajectories += await self._drawn(draws, played, num_groups)
            num_groups += len(draws)
            draws = self.curriculum.more(trajectories) if hasattr(self.curriculum, "more") else []
        return trajectories

    async def _drawn(self, draws: Sequence[Draw], played: Counter[str], num_groups: int) -> list[Trajectory]:
        """The episodes of some draws, of all ranks, in order; groups are numbered on from those of this step."""
        jobs = []
        for number, draw in enumerate(draws, num_groups):
            first = played[draw.task.id]
            played[draw.task.id] += draw.num_rollouts
            jobs += [Job(draw.task, f"{self.step}/{number}", first + k, self.step) for k in range(draw.num_rollouts)]
        own = [jobs[i] for i in self.ranks.share(len(jobs))]
        shares = self.ranks.gather(await self._play(own, "playing"))
        return [shares[i % self.ranks.size][i // self.ranks.size] for i in range(len(jobs))]

    async def _play(self, jobs: list[Job], phase: str) -> list[Trajectory]:
        place = {(job.group, job.rollout): number for number, job in enumerate(jobs)}
        played: list[Trajectory | None] = [None] * len(jobs)
        done = 0
        async for trajectory in self.runner.stream(jobs):
            played[place[trajectory.group, trajectory.rollout]] = trajectory
            done += 1
            self.display.phase(phase, done, len(jobs))
        return [t for t in played if t is not None]

    def _data(self) -> list[Trajectory]:
        """What `data` names, tokenised once for this model; empty where it names nothing."""
        if not self.config.data:
            return []
        found = read_data(
            self.config.data,
            memory=self.memory,
            format=self.format,
            renderer=self.model.renderer,
            briefs=briefs_of(self.world, self.world_config),
            settings=self.config.data_settings,
            note=self.display.note,
            as_sampled=self.composition.algorithm.learns_from != "episodes",
        )
        envs, judged = {task.env for task in self.tasks}, {task.id for task in self.panel}
        other = next((t.task.env for t in found if t.task.env not in envs), None)
        if other is not None:
            raise DataError(
                f"data: {self.config.data} holds episodes of {other!r}, but this run is on {self.config.env!r}"
            )
        seen = len({t.task.id for t in found} & judged)
        if seen and "demonstrations" in self.composition.needs:
            self.display.note(f"{seen} tasks that are learned from are judged on too: validation will look too good")
        return found

    def _demonstrations(self) -> list[Trajectory]:
        num, pool = self.config.rollout.tasks_per_step, self.config.demonstrations
        if pool and not self.data:
            self.data = self._demonstrated(pool, 0)
        if self.data:
            return drawn(self.data, num, self.config.seed, self.step)
        return self._demonstrated(num, self.step)

    def _demonstrated(self, num: int, number: int) -> list[Trajectory]:
        return demonstrations(
            self.world,
            self.world_config,
            self.config.train_split,
            num,
            seed_of(self.config.seed, "demonstrations", number),
            self.memory,
            self.format,
            self.model.renderer,
            self.config.demonstration_settings,
        )

    def batch(self, trajectories: Sequence[Trajectory]) -> Batch | None:
        """The step's batch with its gate passed, or None where no trajectory is left to learn from."""
        batch = self._built(trajectories)
        if self.model.processor is not None:
            files = image_files(trajectories)
            self.updater.image_inputs = ImageInputs(self.model.module, self.model.processor.image_processor, files)
        if self.critic is not None:
            self.critic.read(trajectories, batch.view)
        passed = self.composition.gate(batch.view)
        if not bool(passed.all()):
            kept = passed[batch.view.group_of_trajectory].nonzero()[:, 0]
            if self.critic is not None:
                self.critic.keep(batch.view, kept)
            batch = batch.keep(kept)
        return batch if batch.view.num_tokens and bool(batch.view.trained.any()) else None

    def _built(self, trajectories: Sequence[Trajectory]) -> Batch:
        trainer = self.config.trainer
        return build_batch(
            trajectories,
            layout=trainer.layout,
            overlong=trainer.overlong,
            turn_limit_bootstraps=trainer.turn_limit_bootstraps,
            singleton=trainer.singleton,
            step=self.step,
            num_steps=trainer.steps,
            learning_rate=trainer.lr * learning_rate(self.step, trainer),
            seed=self.config.seed,
        )

    def prepare(self, batch: Batch) -> tuple[Batch, TokenNumbers | None]:
        """Everything that is known before the first update: old and reference log-probs, returns, advantage."""
        needs, view, known = self.composition.needs, batch.view, None
        before_loss = {n for slot in BEFORE_LOSS for bound in self.composition.slots[slot] for n in bound.part.needs}
        several = self.config.trainer.epochs * self.config.trainer.minibatches > 1
        measured = {"old", "sampled_entropy"}
        if before_loss & measured or (several and needs & measured) or self.composition.sampled_probes:
            with_entropy = bool(needs & {"entropy", "sampled_entropy"})
            known = self.updater.evaluate(batch, with_entropy, self.composition.every_probe)
            view = view.with_fields(old=known.logprob, sampled_entropy=known.entropy, sampled_probes=known.probes)
        view = self.frozen.seen(batch.with_view(view), needs)
        if self.critic is not None:
            view = self.critic.valued(view)

        def measure(view: StepView, late: Sequence[Probe]) -> Mapping[str, Tensor]:
            return self.updater.evaluate(batch.with_view(view), False, late).probes

        return self._without_greedy(batch.with_view(self.composition.advantage(view, measure)), known)

    def _without_greedy(self, batch: Batch, known: TokenNumbers | None) -> tuple[Batch, TokenNumbers | None]:
        """What is learned from: others were compared with the greedy policy's episodes, and that was all."""
        view = batch.view
        if view.greedy is None or not bool(view.greedy.any()):
            return batch, known
        kept = (~view.greedy).nonzero()[:, 0]
        tokens = (~view.greedy[view.trajectory_of_token]).nonzero()[:, 0]
        if self.critic is not None:
            self.critic.keep(view, kept)
        return batch.keep(kept), None if known is None else known.select(tokens)

    def _share(self) -> float:
        """Of the policy's peak learning rate, at this step."""
        share = learning_rate(self.step, self.config.trainer)
        return share if self.critic is None else self.critic.policy_share(share, self.step)

    def update(self, batch: Batch, known: TokenNumbers | None) -> list[tuple[Batch, Update]]:
        """All optimiser steps of one rollout."""
        trainer = self.config.trainer
        share = learning_rate(self.step, trainer)
        updates = []
        for number, part in enumerate(self._minibatches(batch)):
            first = None
            if number == 0 and known is not None:
                first = known.select(part.tokens)
            self.display.phase("learning", number + 1, trainer.epochs * trainer.minibatches)
            if self.critic is None:
                update = self.updater.step(part.batch, self.composition, share, first)
            else:
                update = self.critic.step(part.batch, part.trajectories, self.composition, share, first)
            if not math.isfinite(update.grad_norm):
                self.display.note(f"step {self.step + 1}: the gradient was not finite; this update was left out")
            updates.append((part.batch, update))
        self.model.version += 1
        self.policy.new_weights(self.model.version)
        return updates

    def _minibatches(self, batch: Batch) -> Iterator["_Minibatch"]:
        trainer, view = self.config.trainer, batch.view
        for epoch in range(trainer.epochs):
            units = self._units(view)
            random.Random(seed_of(self.config.seed, "minibatches", self.step, epoch)).shuffle(units)
            for k in range(trainer.minibatches):
                numbers = sorted(number for unit in units[k :: trainer.minibatches] for number in unit)
                chosen = torch.tensor(numbers, dtype=torch.int64)
                part = batch if trainer.minibatches == 1 else batch.keep(chosen)
                if bool(part.view.trained.any()):
                    tokens = torch.isin(view.trajectory_of_token, chosen).nonzero()[:, 0]
                    yield _Minibatch(part, tokens, chosen)

    def _units(self, view: StepView) -> list[list[int]]:
        """What minibatches may not tear apart: trajectories, or groups where their members are compared."""
        if not self.composition.slots["pairing"]:
            return [[number] for number in range(view.num_trajectories)]
        groups: dict[int, list[int]] = {}
        for number, group in enumerate(view.group_of_trajectory.tolist()):
            groups.setdefault(group, []).append(number)
        return list(groups.values())

    async def one_step(self) -> dict[str, float]:
        """Play, learn, remember.   Returns what is logged."""
        started = time.perf_counter()
        trajectories = await self.trajectories()
        rewritten, new, counts = await self.rehearsal.rewritten(self.composition, trajectories, self.step)
        played, processor = time.perf_counter(), time.process_time()
        if self.ranks.leads and self.config.trainer.save_trajectories:
            write_trajectories(self.run.trajectory_file(self.step + 1), [*trajectories, *new])
        metrics: dict[str, float] = counts if self.groups else summaries(trajectories) | counts
        batch = self.batch(rewritten)
        prepared, known = self.prepare(batch) if batch is not None else (None, None)
        if prepared is None or not bool(prepared.view.trained.any()):
            self.display.note(f"step {self.step + 1}: nothing to learn from in {len(trajectories)} episodes")
            metrics["skipped_updates"] = 1.0
        else:
            updates = self.update(prepared, known)
            metrics |= step_metrics(self.composition, updates, prepared.view)
            metrics |= self.critic.metrics() if self.critic is not None else {}
            whole = known or updates[0][1].numbers
            self.composition.update(
                prepared.view.with_fields(
                    old=whole.logprob, sampled_entropy=whole.entropy, current=None, entropy=whole.entropy
                )
                if len(whole.logprob) == prepared.view.num_tokens
                else prepared.view
            )
        self.curriculum.update(trajectories)
        if hasattr(self.curriculum, "metrics"):
            metrics |= self.curriculum.metrics()
        ended = time.perf_counter()
        stream = batch.num_stream_tokens if batch is not None else 0
        return metrics | {
            "lr": self.config.trainer.lr * self._share(),
            "stream_tokens": float(stream),
            "tokens_per_second": stream / (ended - started),
            "seconds/rollout": played - started,
            "seconds/update": ended - played,
            "seconds/update_processor": time.process_time() - processor,
        }

    # ---- judging and saving

    async def validate(self, *, final: bool) -> dict[str, Tally]:
        """Judge the policy on the panel, sampled, and greedily too at the ends of the run; logged and shown.

        By held-out preferences too, where the data has such; by these alone where nothing can be played.
        """
        told = self.step > 0 or "reference" not in self.composition.needs  # at first all is as the reference has it
        by_pairs = await self._judge_held() if self.held and told else None
        if self.panel:
            verdict = await judge(self._play, self.ranks, self.panel, self.config.validation, final=final)
            verdict.record.update((by_pairs.record if by_pairs is not None else {}) | verdict.record)
        elif by_pairs is not None:
            verdict = by_pairs
        else:
            return {}
        self.judged = verdict.success
        self.display.validation(self.step, verdict.record)
        if self.ranks.leads:
            self._log(verdict.record, "validation")
            if verdict.sampled:
                path = self.run.path / "validation" / f"step-{self.step:06d}.jsonl.gz"
                write_trajectories(path, verdict.sampled)
        return verdict.tallies

    async def _judge_held(self) -> Verdict:
        """By preferences that are not learned from."""
        held = [trajectory for group in self.held for trajectory in group]
        batch = self._built(await self.composition.rewrite(held, self.rehearsal))
        seen = self.frozen.seen(batch, self.composition.needs - {"mismatched"})
        return judge_pairs(batch.with_view(seen), self.updater, self.composition)

    def save(self, success: float | None) -> None:
        """A checkpoint of now; the best so far where `success` says so, or where nothing is judged."""
        best = success is None and not (self.panel or self.held)
        if success is not None and (self.best is None or success > self.best):
            best, self.best = True, success
        if not self.ranks.leads:
            return
        state = {
            "best": self.best,
            "is_best": best,
            "curriculum": self.curriculum.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.composition.states().items()},
            "model_version": self.model.version,
        }
        save_checkpoint(
            self.run.checkpoints,
            self.model,
            self.optimiser,
            self.step,
            state,
            best=best,
            keep=self.config.trainer.keep_checkpoints,
            critic=self.critic,
            reward_model=self.reward_model,
        )

    def resume(self) -> None:
        """Go on from the last whole checkpoint; from the start where there is none."""
        saved = find_checkpoint(self.run.checkpoints)
        if self.ranks.leads:
            self.run.rewind(saved.step if saved is not None else 0)
        for record in self.run.metrics("validation"):
            tallies = {kind: Tally(**counts) for kind, counts in record["tally"].items()}
            if record["step"] == 0:
                self.before = tallies
            if record["step"] == self.config.trainer.steps:
                self.after = tallies
        if saved is None:
            return
        if "reference" in self.composition.needs:
            with self.model.reference():
                pass  # kept from here on: the model as it was loaded, before its weights become the checkpoint's
        restore(saved, self.model, self.optimiser, self.critic, self.reward_model)
        if self.ranks.leads and saved.state.get("is_best"):
            commit_best(self.run.checkpoints)
        self.step, self.best = saved.step, saved.state["best"]
        self.curriculum.load_state_dict(saved.state["curriculum"])
        for name, part in self.composition.states().items():
            part.load_state_dict(saved.state["parts"][name])
        self.model.version = saved.state["model_version"]
        self.policy.new_weights(self.model.version)

    async def go(self) -> None:
        """All steps that are left, with validations and checkpoints between them."""
        trainer, every = self.config.trainer, self.config.validation.every
        if not self.before and self.step == 0:
            self.before = await self.validate(final=True)
        while self.step < trainer.steps:
            metrics = await self.one_step()
            self.step += 1
            self.display.step(self.step, metrics)
            self._log(metrics, "train")
            last = self.step == trainer.steps
            judged = last or bool(every and self.step % every == 0)
            tallies = await self.validate(final=last) if judged else {}
            if last:
                self.after = tallies
            if last or judged or self.step % trainer.checkpoint_every == 0:
                self.save(self.judged if tallies else None)
        await self.close()

    async def close(self) -> None:
        """End worker processes and the sampler's thread."""
        await self.runner.close()
        await self.policy.close()
        if self.events is not None:
            self.events.close()


@dataclass(frozen=True)
class _Minibatch:
    batch: Batch
    tokens: Tensor
    """[n] int64: its tokens among the whole batch's N."""
    trajectories: Tensor
    """[k] int64, sorted: its trajectories among the whole batch's J."""


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)  # the caller's own arithmetic goes on as it was


def train(
    config: RunConfig,
    *,
    run_dir: RunDirectory,
    display: Display | None = None,
    resume: bool = False,
    world: Any = None,
    reward: Callable[[Trajectory], Any] | None = None,
    model: Model | None = None,
) -> TrainResult:
    """Train as the configuration says, in an open run directory.

    resume: go on from its last checkpoint.   world: a world's module or object in place of `config.env`.
    reward: a trajectory's score, in place of the world's.   model: already in memory, in place of `config.model`.
    Raises AgentRLError children for what the user can mend; KeyboardInterrupt leaves a run that can be resumed.
    """
    ranks = Ranks.current()
    shown = display if display is not None and ranks.leads else Silent()
    with _threads(config.threads or usable_cores()), asyncio.Runner() as loop:
        trainer = Trainer(config, run_dir, shown, world=world, reward=reward, model=model)
        try:
            if resume:
                trainer.resume()
            panels = {"train": trainer.tasks, "validation": trainer.panel}
            hashes = {name: panel_hash(task.id for task in panel) for name, panel in panels.items()}
            ranks.first(lambda: run_dir.update_meta(panels=hashes))
            name = os.path.basename(os.path.normpath(config.model.name))
            shown.start(f"{config.algo} on {config.env} with {name}", config.trainer.steps)
            loop.run(cancelled_by_ctrl_c(trainer.go()))
        except KeyboardInterrupt:
            leave_at_the_next(f"interrupted; continue with: agentrl train --resume {run_dir.path}")
            trainer.runner.host.end()  # a world that hangs is not waited for
            raise
        finally:
            with contextlib.suppress(Exception):
                loop.run(trainer.close())
            shown.close()

    def conclude() -> Path | None:
        checkpoint = find_checkpoint(run_dir.checkpoints, "best") or find_checkpoint(run_dir.checkpoints)
        folder = checkpoint.folder if checkpoint is not None else None
        label = "pairs in order" if trainer.held else "success"
        picture = draw_curve(run_dir.metrics(), f"{config.algo} on {config.env}: {label}")
        write_whole(run_dir.path / "curve.svg", picture.encode())
        report = load("report", "agentrl.eval.report:report_line")(run_dir.path)
        last = [*what_next(run_dir.path, config.env, folder, "" if trainer.earns else config.data), report]
        shown.finish([*summary_rows(trainer.before, trainer.after, label), *last])
        return folder

    return TrainResult(
        run_dir=run_dir.path,
        steps=trainer.step,
        before=trainer.before,
        after=trainer.after,
        checkpoint=ranks.first(conclude),
    )
