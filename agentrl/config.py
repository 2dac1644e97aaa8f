"""What a run can be told; resolved once, frozen, shown, and written to config.yaml, which alone repeats the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentrl.settings import from_mapping, merge, require


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model is trained or evaluated."""

    name: str = "tiny"
    """`tiny`, a folder, or a Hugging Face hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """auto: cuda where there is one, cpu otherwise."""
    lora: int = 0
    """Rank of a LoRA adapter; 0 trains all weights."""
    lora_alpha: float = 32.0
    """Scale of the adapter."""
    trust_remote_code: bool = False
    """Run code that comes with the model; never unless you name it."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        require(self.lora >= 0, f"lora is {self.lora}; it must be 0 (off) or a rank")


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How episodes are played."""

    tasks_per_step: int = 16
    """Tasks drawn for a step."""
    group_size: int = 8
    """Episodes played of the same task; 1 switches group comparison off."""
    max_turns: int = 50
    """An episode is cut, and marked as cut, after this many turns."""
    max_context: int = 4096
    """An episode ends with `context_limit` where prompt and reply would need more tokens than this."""
    max_episode_tokens: int = 0
    """An episode ends with `token_limit` after this many sampled tokens, for models behind an API as the server counts
    them; 0: no limit."""
    max_new_tokens: int = 256
    """A reply is cut after this many tokens."""
    temperature: float = 1.0
    """Of the sampling; log-probs are taken at this temperature as well. 0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling; below 1 it is refused in training, whose log-probs would be biased."""
    top_k: int = 0
    """Sample among the k likeliest tokens; not 0 it is refused in training."""
    constrain: Literal["none", "admissible"] = "none"
    """admissible: replies are sampled among the world's admissible actions, token by token, trainer included."""
    patience: int = 0
    """An episode ends as `gave_up` after this many refused actions in a row; 0: never."""
    concurrency: int = 128
    """Episodes in play at once."""
    workers: int = 0
    """Processes for synchronous worlds; 0: one a core, at most 8."""
    episodes_per_worker: int = 500
    """A worker process is replaced after this many episodes: some engines leak."""
    worker_memory: float = 0.0
    """GiB that a worker may hold, with all that its world starts; 0: its share of half the memory, at least 4."""
    tries: int = 3
    """An episode that ends by an infrastructure failure is played again, up to this many times in all."""
    reset_seconds: float = 120.0
    """Deadline of a world's reset."""
    step_seconds: float = 30.0
    """Deadline of a world's step."""
    generate_seconds: float = 600.0
    """Deadline of one reply."""
    episode_seconds: float = 0.0
    """World time after which an episode ends with `time_limit`; 0: no limit."""
    wall_seconds: float = 0.0
    """Time after which an episode ends with `time_limit`, whatever it was spent on, all its tries included; 0: no
    limit."""
    working_seconds: float = 0.0
    """The same without what its replies waited for rate limits and further tries of a call; 0: no limit."""
    deterministic: bool = False
    """Decode each episode alone, so that sampled tokens do not depend on what else is in the batch; slow."""
    env_seed: Literal["task", "rollout"] = "task"
    """task: all rollouts of a task meet the same chance; rollout: each its own."""

    def __post_init__(self) -> None:
        for name in ("tasks_per_step", "group_size", "max_turns", "max_new_tokens", "concurrency", "tries"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("reset_seconds", "step_seconds", "generate_seconds"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0")
        counts = "max_episode_tokens patience workers worker_memory top_k episode_seconds wall_seconds working_seconds"
        for name in counts.split():
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(self.max_context >= 16, f"max_context is {self.max_context}; it must be at least 16")
        require(self.temperature >= 0, f"temperature is {self.temperature}; it must not be negative")
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}; it must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How weights are changed."""

    steps: int = 100
    """Steps of the run: a rollout and its updates each."""
    epochs: int = 1
    """Passes over each rollout."""
    minibatches: int = 1
    """Optimiser steps a pass."""
    micro_batch_tokens: int = 0
    """Tokens of one forward pass; changes memory and speed, never the gradient. 0: 2048 on a CPU, 16384 on a GPU."""
    lr: float = 1e-6
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "constant-linear"] = "constant"
    """Of the learning rate after the warm-up; constant-linear falls from half time on."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises to its peak."""
    final_lr: float = 0.0
    """Learning rate at the last step, as a share of the peak; not for a constant one."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """muon: orthogonalised momentum for the hidden matrices, AdamW for the rest."""
    muon_lr: float = 0.02
    """Learning rate of the hidden matrices under muon."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    overlong: Literal["mask", "penalise", "keep"] = "mask"
    """Episodes cut by context_limit or token_limit: carry no loss, carry it as failures, or as they are."""
    turn_limit_bootstraps: bool = False
    """Treat the turn limit as a cut of an endless task, not as its end."""
    singleton: Literal["zero", "raw"] = "zero"
    """What a group of one member gets: no advantage, or its raw return."""
    layout: Literal["episode", "turn"] = "episode"
    """An append-only episode as one sequence, or as a sequence a turn; the same gradient."""
    passes: Literal["auto", "two"] = "auto"
    """auto: one pass where the objective allows it; two: always gather the log-probs first."""
    keep_checkpoints: int = 1
    """Latest checkpoints that are kept, beside the best."""
    save_trajectories: bool = True
    """Write every step's trajectories to the run directory."""
    checkpoint_every: int = 5
    """Steps between checkpoints; the last step always has one."""

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "minibatches", "keep_checkpoints", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("micro_batch_tokens", "warmup_steps", "weight_decay", "max_grad_norm"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("lr", "muon_lr", "final_lr"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(len(self.betas) == 2, f"betas is {self.betas}; it must be two numbers")


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """The critic of algorithms that have one, as ppo; its epochs and minibatches are the trainer's."""

    backbone: Literal["own", "shared"] = "own"
    """own: a copy of the policy as it was loaded, with a head; shared: a head on the policy, which learns from both."""
    lr: float = 0.0
    """Peak learning rate of AdamW, on the trainer's schedule; 0: trainer.lr. verl's examples have ten times that."""
    warmup_steps: int = 0
    """Steps at the beginning in which the critic alone learns: the policy's learning rate is 0."""
    updates: int = 1
    """Optimiser steps of the critic for each one of the policy; more than 1 only with a backbone of its own."""

    def __post_init__(self) -> None:
        require(self.lr >= 0, f"lr is {self.lr}; it must not be negative")
        require(self.warmup_steps >= 0, f"warmup_steps is {self.warmup_steps}; it must not be negative")
        require(self.updates >= 1, f"updates is {self.updates}; it must be at least 1")
        require(
            self.updates == 1 or self.backbone == "own",
            f"updates is {self.updates}; a shared backbone is changed by both losses at once, so it must be 1",
        )


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How the policy is judged while it trains."""

    split: str = "auto"
    """Task panel; auto: the world's split for validation on what was never seen."""
    every: int = 10
    """Steps between validations; 0: only before and after."""
    num_tasks: int = 64
    """Tasks of the panel, spread over it."""
    final_tasks: int = 0
    """Tasks of the panel before the first and after the last step; 0: as in between."""
    temperature: float = 1.0
    """Of the sampling."""
    greedy: bool = True
    """Judge the greedy policy too, before the first and after the last step."""
    seed: int = 1
    """Its own seed, 1 or more: the same chance at every validation."""

    def __post_init__(self) -> None:
        require(self.every >= 0, f"every is {self.every}; it must not be negative")
        require(self.seed >= 1, f"seed is {self.seed}; it must be at least 1")
        require(self.num_tasks >= 0, f"num_tasks is {self.num_tasks}; it must not be negative")
        require(self.temperature >= 0, f"temperature is {self.temperature}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the rows of `data` are read; episodes of a run are taken as they are."""

    bad_rows: Literal["refuse", "skip"] = "refuse"
    """A row that is not as it should be: refuse the data, or leave the row out."""
    max_tokens: int = 4096
    """Longest example, in tokens of prompt and reply; 0: any length."""
    over_long: Literal["drop", "cut"] = "drop"
    """A longer one: drop the row, or cut the reply at its end; a row whose prompt alone is longer is dropped."""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, f"max_tokens is {self.max_tokens}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What a reward model is given beside the episode."""

    references: str = ""
    """Episodes that a policy discriminator compares with, the best of each task: a run directory or a .jsonl.gz of
    trajectories; empty: the world's solutions, played."""


@dataclass(frozen=True, kw_only=True)
class APIConfig:
    """How a model behind an API is asked, and what that may come to (docs/apis.md)."""

    client: Literal["openai", "plain"] = "openai"
    """Who speaks to the server: the openai package, or a plain transport that takes a quarter of its time."""
    host: Literal["auto", "openai", "anthropic", "google", "other"] = "auto"
    """Whose parameters the server takes; auto: as its address says."""
    key_variable: str = ""
    """Environment variable that holds the key; empty: the host's own, as OPENAI_API_KEY. Keys stand in no file."""
    tools: Literal["text", "native"] = "text"
    """native: the format's tool calls travel as the protocol's own, for formats that write any (tools)."""
    body: dict[str, Any] = field(default_factory=dict)
    """Fields added to every request, as {reasoning_effort: low}."""
    leave_out: tuple[str, ...] = ()
    """Fields that the model refuses and that are not sent, as [seed, temperature]."""
    max_tokens_field: str = ""
    """What the limit of a reply is called; empty: the host's own word, max_tokens or max_completion_tokens."""
    timeout: float = 120.0
    """Seconds for one call."""
    tries: int = 5
    """Calls in all for one reply, where the server fails; calls that it is too busy for are not counted."""
    backoff: float = 0.5
    """Seconds before the second try, doubled with each further one, a random share of it taken."""
    longest_wait: float = 120.0
    """A server that asks to wait for more seconds than this is not waited for."""
    patience: float = 900.0
    """Seconds that one reply may wait for a busy server in all."""
    concurrency: int = 0
    """Most calls at once, halved whenever the server is too busy; 0: rollout.concurrency."""
    requests_per_minute: float = 0.0
    """Calls are spread so that there are no more; 0: no limit."""
    tokens_per_minute: float = 0.0
    """Calls are spread so that prompts and replies have no more, prompts estimated first; 0: no limit."""
    max_tokens: int = 0
    """Tokens of prompts and replies that all calls may come to; reserved before each call. 0: no limit."""
    max_cost: float = 0.0
    """What all calls may cost, in the currency of the prices; reserved before each call. 0: no limit."""
    prices: str = ""
    """File of prices in place of the packaged one, agentrl/policies/prices.yaml."""
    replay: str = ""
    """A folder of an evaluation whose recorded calls give the replies: no server is asked, nothing is paid."""

    def __post_init__(self) -> None:
        require(self.tries >= 1, f"tries is {self.tries}; it must be at least 1")
        require(self.timeout > 0, f"timeout is {self.timeout}; it must be above 0")
        numbers = "backoff longest_wait patience concurrency requests_per_minute tokens_per_minute max_tokens max_cost"
        for name in numbers.split():
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run."""

    env: str = "alfworld"
    """The world: a registered name, or module:attribute."""
    env_settings: dict[str, Any] = field(default_factory=dict)
    """The world's own settings (agentrl tasks ENV --help)."""
    algo: str = "grpo"
    """The algorithm; stands for its composition of parts."""
    parts: dict[str, Any] = field(default_factory=dict)
    """Parts in place of the algorithm's own, as {advantage: leave-one-out, modifiers: [+empg]}; a leading + appends."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of parts, as {ppo-clip: {clip_high: 0.28}}."""
    curriculum: str = "uniform"
    """Which tasks come next."""
    curriculum_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the curriculum."""
    memory: str = "full"
    """What the agent sees of earlier turns."""
    memory_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the memory."""
    format: str = "tags"
    """How a view becomes messages and a reply becomes an action."""
    format_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the format."""
    demonstrations: int = 0
    """For algorithms that learn from demonstrations: how many there are, over and over; 0: fresh ones at every step."""
    demonstration_settings: dict[str, Any] = field(default_factory=dict)
    """How the world's expert demonstrates, where it can be told: planted mistakes and the like."""
    data: str = ""
    """Episodes or preferences to learn from, in place of the policy's own: a run directory or a file (docs/data.md)."""
    data_settings: DataConfig = DataConfig()
    guidance: str = ""
    """For algorithms that are guided by a frozen model beside the reference (tgdpo): its folder or hub id."""
    reward: str = ""
    """A function of one's own, as module:function, paid beside what the world pays; or, in place of that, model:FOLDER,
    a reward model, or judge:FILE.yaml, a model behind an API (docs/reward-models.md)."""
    reward_settings: RewardConfig = RewardConfig()
    train_split: str = "train"
    """Task panel that is trained on."""
    model: ModelConfig = ModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    trainer: TrainerConfig = TrainerConfig()
    critic: CriticConfig = CriticConfig()
    validation: ValidationConfig = ValidationConfig()
    api: APIConfig = APIConfig()
    seed: int = 0
    """Everything random follows from it."""
    threads: int = 0
    """CPU threads of the model; 0: one a core, and one alone for a model under 20 million weights."""
    run_dir: str = ""
    """Where the run is written; empty: runs/ENV-ALGO-SEED, numbered."""


def resolve(*layers: Mapping[str, Any]) -> RunConfig:
    """The configuration of several layers, later ones win: default < model's own < file < --set < flag.

    Raises ConfigError for what is unknown or cannot be.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    return from_mapping(RunConfig, merged)
