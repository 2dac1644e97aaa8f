"""The same in Python as on the command line: `train` and `evaluate`, also with one's own world, tasks and reward."""

import asyncio
import contextlib
import ctypes
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from agentrl.config import RunConfig, resolve
from agentrl.data_world import world_layer
from agentrl.errors import ConfigError, RunDirectoryError, nearest
from agentrl.interruption import hand_over
from agentrl.logged_groups import WORLD
from agentrl.models.defaults import is_model, model_defaults, model_of_run, run_defaults
from agentrl.own_reward import learning_from_reward, reward_of
from agentrl.registry import load, names
from agentrl.settings import merge, to_mapping

if TYPE_CHECKING:
    from agentrl.display import Display
    from agentrl.run_directory import RunDirectory
    from agentrl.types import Task

T = TypeVar("T")

FLAGS: Mapping[str, tuple[str, ...]] = {
    "env": ("env",),
    "algo": ("algo",),
    "model": ("model", "name"),
    "memory": ("memory",),
    "format": ("format",),
    "reward": ("reward",),
    "steps": ("trainer", "steps"),
    "seed": ("seed",),
    "lora": ("model", "lora"),
    "lr": ("trainer", "lr"),
    "threads": ("threads",),
    "run_dir": ("run_dir",),
    "out": ("run_dir",),
}
"""Flag, and keyword of `train` and `evaluate` -> the setting that it stands for."""

_TRAIN = "agentrl.trainers.loop:train"
_CHECK = "agentrl.trainers.preflight:check_before_loading"
_RANKS = "agentrl.trainers.ranks:Ranks"
_EVALUATE = "agentrl.eval.evaluate:evaluate"
_EVALUATE_SEVERAL = "agentrl.eval.evaluate:evaluate_several"
_EVALUATE_CELLS = "agentrl.eval.evaluate:evaluate_cells"
_EVALUATE_MATRIX = "agentrl.eval.matrix:evaluate_matrix"
_RESUME_EVALUATION = "agentrl.eval.evaluate:resume_evaluation"
_MATRIX_OF = "agentrl.eval.matrix:matrix_of"
_READ_MATRIX = "agentrl.eval.matrix:read_matrix_file"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training run came to."""

    run_dir: Path
    steps: int
    """Steps that the run has behind it, those before a resume included."""
    before: dict[str, Any] = field(default_factory=dict)
    """task kind -> `Tally` of the validation before the first step; `all` counts every episode."""
    after: dict[str, Any] = field(default_factory=dict)
    """The same after the last step."""
    checkpoint: Path | None = None
    """The Hugging Face folder of the best checkpoint, or of the last."""


def train(
    config: RunConfig | Mapping[str, Any] | None = None,
    *,
    world: Any = None,
    tasks: "Sequence[Task] | Mapping[str, Sequence[Task]] | None" = None,
    reward: Callable[..., float] | str | None = None,
    display: "Display | None" = None,
    resume: bool | str | os.PathLike[str] = False,
    **flags: Any,
) -> TrainResult:
    """Train a model and write the run directory. Blocks; also usable inside a running event loop.

    config: settings; a mapping has the shape of the YAML file.   world: a module or object with a world's members, or
    one's own Env class; no registration needed.   tasks: the panel of an Env class, or {split: panel}.
    reward: trajectory -> a number for its last turn, or one a turn, added to what the world pays, or an `Outcome` in
    place of the world's; or its name, as `module:function` or `model:FOLDER`, which the run directory keeps.
    display: default silent.   resume: the run directory to go on with, or True where `run_dir` names it.
    flags: as on the command line (`FLAGS`), or any setting of `RunConfig`.
    Where torch's process group is set up, its processes train together; call it in each of them with the same.
    Raises AgentRLError with one line for whatever a user can put right, before anything is written where possible.
    """
    from agentrl.display import Silent
    from agentrl.run_directory import RunDirectory

    shown = display if display is not None else Silent()
    own = own_world(world, tasks)
    reward, flags = _by_name(reward, flags)
    folder = _resumed(config, resume, flags)
    if folder is not None:
        with opened(lambda: RunDirectory.open(folder, command=sys.argv)) as run_dir:
            settings = run_dir.config()
            if own is None and ":" not in settings.env and settings.env.replace("_", "-") not in names("env"):
                raise RunDirectoryError(
                    f"{folder} is a run in {settings.env!r}, which is not registered: a world of one's own has to be "
                    f"given again, as agentrl.train(resume={str(folder)!r}, world={settings.env}, ...) in Python"
                )
            check(settings, own)
            reward = reward_of(settings, reward, own)
            for change in run_dir.changed_since_last_start():
                shown.note(f"changed since the last start, so weights may differ in their last bits: {change}")
            return _run(settings, run_dir, shown, True, own, reward)
    settings = learning_from_reward(python_config(config, own, flags))
    check(settings, own)
    reward = reward_of(settings, reward, own)
    with opened(lambda: RunDirectory.create(settings, command=sys.argv)) as run_dir:
        return _run(settings, run_dir, shown, False, own, reward)


def _by_name(reward: Any, flags: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A reward function that is named is a setting."""
    return (None, {**flags, "reward": reward}) if isinstance(reward, str) else (reward, dict(flags))


def opened(open_run: "Callable[[], RunDirectory]") -> "RunDirectory":
    """The run's folder: of several ranks the first opens it, and holds its lock; the others read in it."""
    if "torch.distributed" not in sys.modules:  # nobody can have set up a process group
        return open_run()
    from agentrl.run_directory import RunDirectory

    held: list[RunDirectory] = []

    def lead() -> Path:
        held.append(open_run())
        return held[0].path

    path = load("trainer", _RANKS).current().first(lead)
    return held[0] if held else RunDirectory.follow(path)


def _run(config: RunConfig, run_dir: Any, display: "Display", resume: bool, world: Any, reward: Any) -> TrainResult:
    loop = load("trainer", _TRAIN)
    try:
        hand_over()
        return blocking(
            lambda: loop(config, run_dir=run_dir, display=display, resume=resume, world=world, reward=reward)
        )
    except KeyboardInterrupt:
        if not resume and run_dir.remove_unused():
            raise
        raise KeyboardInterrupt(f"continue with: agentrl train --resume {run_dir.path}") from None
    except Exception:
        if not resume:
            run_dir.remove_unused()
        raise
    finally:
        display.close()


def evaluate(
    config: RunConfig | Mapping[str, Any] | None = None,
    *,
    policy: Any = None,
    world: Any = None,
    tasks: "Sequence[Task] | Mapping[str, Sequence[Task]] | None" = None,
    reward: Callable[..., float] | str | None = None,
    display: "Display | None" = None,
    split: str = "",
    episodes: int = 0,
    repeats: int = 1,
    greedy: bool = False,
    out: str | os.PathLike[str] = "",
    base_url: str = "",
    resume: bool = False,
    **flags: Any,
) -> Any:
    """Play a split's tasks with a policy and count; returns an `agentrl.eval.evaluate.EvalResult`. Blocks, as `train`.

    policy: `random`, `expert`, a model's folder or hub id, `api:NAME`, or an object that speaks the Policy protocol;
    None: the configuration's model.   split: default the world's validation split.   episodes: tasks, spread over the
    split; 0: all.   repeats: episodes of each task.   greedy: temperature 0.   out: a folder that gets the
    trajectories and results.json; empty: nothing is written.   base_url: of the server for `api:NAME`.
    resume: go on with what is in `out`: nothing that is finished there is played again.
    """
    own = own_world(world, tasks)
    reward, flags = _by_name(reward, flags)
    settings = python_config(config, own, flags, policy)
    reward = reward_of(settings, reward, own)
    run = load("evaluation", _EVALUATE)
    return blocking(
        lambda: run(
            settings,
            policy=policy,
            world=own,
            reward=reward,
            display=display,
            split=split,
            episodes=episodes,
            repeats=repeats,
            greedy=greedy,
            out=out,
            base_url=base_url,
            resume=resume,
        )
    )


def evaluate_several(
    config: RunConfig,
    *,
    policy: Any = None,
    display: "Display | None" = None,
    splits: Sequence[str] = ("",),
    decodings: Sequence[bool] = (False,),
    episodes: int = 0,
    repeats: int = 1,
    out: str | os.PathLike[str] = "",
    base_url: str = "",
) -> list[Any]:
    """`evaluate` of every split in every decoding, by one policy that is loaded once: an `EvalResult` each, in order.

    decodings: False: sampled, True: greedy.   out: with several results, each has a folder of its own in it, as
    `valid_seen-greedy`.   The rest: as `evaluate`.
    """
    run = load("evaluation", _EVALUATE_SEVERAL)
    reward = reward_of(config)
    return blocking(
        lambda: run(
            config,
            policy=policy,
            reward=reward,
            display=display,
            splits=splits,
            decodings=decodings,
            episodes=episodes,
            repeats=repeats,
            out=out,
            base_url=base_url,
        )
    )


def evaluate_cells(
    cells: Sequence[Any],
    *,
    display: "Display | None" = None,
    out: str | os.PathLike[str] = "",
    left_out: Mapping[str, str] | None = None,
    resume: bool = False,
) -> list[Any]:
    """`agentrl.eval.evaluate.evaluate_cells`, also inside a running event loop."""
    run = load("evaluation", _EVALUATE_CELLS)
    return blocking(lambda: run(cells, display=display, out=out, left_out=left_out, resume=resume))


def evaluate_matrix(
    matrix: Mapping[str, Any] | str | os.PathLike[str],
    *,
    display: "Display | None" = None,
    out: str | os.PathLike[str] = "",
    over: Sequence[Mapping[str, Any]] = (),
    resume: bool = False,
) -> list[Any]:
    """Models x worlds x memories x formats: an `EvalResult` for each cell. Blocks, as `evaluate`.

    matrix: a YAML file (docs/evaluation.md), or a mapping of its shape.   out: a folder; default as the matrix says.
    over: layers of settings that come after all others.   resume: go on with what is in the folder.
    """
    read = load("evaluation", _MATRIX_OF if isinstance(matrix, Mapping) else _READ_MATRIX)
    run = load("evaluation", _EVALUATE_MATRIX)
    return blocking(lambda: run(read(matrix), display=display, out=out, over=over, resume=resume))


def resume_evaluation(
    out: str | os.PathLike[str],
    *,
    display: "Display | None" = None,
    changes: Mapping[str, Any] | None = None,
    base_url: str = "",
) -> list[Any]:
    """Go on with the evaluation in a folder, whether of one cell or of several; an `EvalResult` for each.

    changes: a layer of settings, as {"api": {"max_cost": 5}}, that do not change what is measured.
    base_url: of the server, where it has moved.
    """
    run = load("evaluation", _RESUME_EVALUATION)
    return blocking(lambda: run(out, display=display, changes=changes, reward=reward_of, base_url=base_url))


def python_config(
    config: RunConfig | Mapping[str, Any] | None, world: Any, flags: Mapping[str, Any], policy: Any = None
) -> RunConfig:
    """The configuration of `train(config, **flags)`: default < the model's own < config < flags < policy."""
    base = to_mapping(config) if isinstance(config, RunConfig) else dict(config or {})
    if world is not None and "env" not in flags:
        base["env"] = getattr(world, "__name__", type(world).__name__).rpartition(".")[2]  # names the run directory
    return resolve_layers(base, flag_layer(flags), policy_layer(policy), scripted=is_scripted(policy))


def resolve_layers(*layers: Mapping[str, Any], scripted: bool = False) -> RunConfig:
    """The configuration: default < the model's own < layers, later ones win.

    A run directory as the model's name stands for its best checkpoint. The model's own: `agentrl.json` beside its
    weights; of a checkpoint in a run directory also the run's world, memory and format. Where no layer names a world,
    `data` do: a run's data its world, rows of preferences that of their prompts.
    scripted: no model plays; the world is as it is by itself, not as the model wants it.
    Raises ConfigError, DataError, RunDirectoryError.
    """
    asked = resolve(*layers)
    folder = model_of_run(asked.model.name)
    if folder is not None:
        layers = (*layers, {"model": {"name": str(folder)}})
        asked = resolve(*layers)
    trained = run_defaults(Path(asked.model.name))
    given = [layer["env"] for layer in layers if "env" in layer]
    prompts = bool(given) and given[-1] == WORLD
    source = asked.data or (str(asked.env_settings.get("data", "")) if prompts else "")
    logged = _logged(source, asked, layers) if source and (prompts or not given) else {}
    named = given[-1] if given else logged.get("env")
    if named and named != trained.get("env"):
        trained = {name: value for name, value in trained.items() if name not in ("env", "env_settings")}
    env = asked.env if given else logged.get("env", trained.get("env", asked.env))
    own = merge(model_defaults(asked.model.name, env), trained)
    if scripted:
        own.pop("env_settings", None)
    return resolve({key: own[key] for key in own if key == "rollout" or key not in logged}, logged, *layers)


def _logged(source: str, asked: RunConfig, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the data say of world, memory and format, without what the layers name themselves."""
    layer = world_layer(source, asked)
    named = [name for name in ("memory", "format") if any(name in one for one in layers)]
    return {key: value for key, value in layer.items() if key.removesuffix("_settings") not in named}


def flag_layer(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of some flags by name; those that are None were not given. Other names are settings as they are."""
    layer: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None:
            continue
        if name == "env" and isinstance(value, str) and "," in value:
            layer = merge(layer, mixture_layer(value))
            continue
        path = FLAGS.get(name, (name,))
        if name not in FLAGS and name not in RunConfig.__dataclass_fields__:
            known = [*FLAGS, *RunConfig.__dataclass_fields__]
            raise ConfigError(f"unknown setting {name!r}{nearest(name, known)}")
        if name == "model" and not isinstance(value, (str, os.PathLike)):
            path = ("model",)  # train(model={"name": ..., "lora": 8}) or a ModelConfig
            value = value if isinstance(value, Mapping) else to_mapping(value)
        layer = merge(layer, _nested(path, os.fspath(value) if isinstance(value, os.PathLike) else value))
    return layer


def mixture_layer(worlds: str) -> dict[str, Any]:
    """The layer of `--env alfworld:3,rlvr`: a mixture of worlds and their weights, 1 where none is given.

    Raises ConfigError for what is no list of worlds.
    """
    weights: dict[str, Any] = {}
    for word in worlds.split(","):
        name, colon, weight = word.strip().partition(":")
        try:
            number = float(weight) if colon else 1.0
        except ValueError:
            number = math.nan
        if not name or name in weights or not number > 0:
            raise ConfigError(f"--env {worlds}: {word.strip()!r} is no world with a weight; write alfworld:3,rlvr:1")
        weights[name] = number
    return {"env": "mixture", "env_settings": {"worlds": weights}}


def set_layer(assignments: Iterable[str]) -> dict[str, Any]:
    """The layer of `--set a.b=c` assignments; values are read as YAML.   Raises ConfigError for what is none."""
    layer: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not all(name.strip().split(".")):
            raise ConfigError(f"--set {assignment!r} is no assignment; write --set trainer.lr=1e-5")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {name}: {text!r} is no YAML ({' '.join(str(error).split())})") from error
        layer = merge(layer, _nested(tuple(name.strip().split(".")), value))
    return layer


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name if "-" in name and name != path[0] else name.replace("-", "_"): value}
    result: dict[str, Any] = value
    return result


def check(config: RunConfig, world: Any = None) -> Any:
    """Refuse, before anything is loaded or written, what cannot be run; returns the `Composition`.

    world: one's own; None: the registered one.   Raises AgentRLError.
    """
    from agentrl.composition import build, compose, world_settings

    played = world if world is not None else load("env", config.env)
    world_settings(played, config.env_settings)
    for setting, split in (("train_split", config.train_split), ("validation.split", config.validation.split)):
        if split != "auto" and split not in played.SPLITS:
            raise ConfigError(
                f"{setting} is {split!r}{nearest(split, played.SPLITS)}; splits: {', '.join(played.SPLITS)}"
            )
    build("curriculum", config.curriculum, config.curriculum_settings)
    build("memory", config.memory, config.memory_settings)
    build("format", config.format, config.format_settings)
    composition = compose(config)
    load("trainer", _CHECK)(config, composition)
    return composition


def own_world(world: Any, tasks: "Sequence[Task] | Mapping[str, Sequence[Task]] | None") -> Any:
    """A world as the trainer takes it, from a module or object that is one, or from an Env class and its tasks."""
    if world is None:
        if tasks is not None:
            raise ConfigError("tasks are given without a world; pass world=YourEnv too")
        return None
    if isinstance(world, str):
        return load("env", world)
    if hasattr(world, "Env") and tasks is None:
        return world
    from agentrl.own_world import OwnWorld

    return OwnWorld.of(world, tasks)


def _resumed(
    config: RunConfig | Mapping[str, Any] | None, resume: bool | str | os.PathLike[str], flags: Mapping[str, Any]
) -> Path | None:
    """The run directory to go on with, or None for a new run."""
    if resume is False or resume is None:
        return None
    folder: Any = resume
    given = dict(flags)
    if resume is True:
        folder = given.pop("run_dir", None) or given.pop("out", None)
        if folder is None and config is not None:
            folder = config.run_dir if isinstance(config, RunConfig) else config.get("run_dir")
            config = None
    if not folder:
        raise ConfigError("resume needs the run directory: train(resume='runs/...')")
    if config is not None or any(value is not None for value in given.values()):
        raise ConfigError("a resumed run keeps its configuration; give nothing beside the run directory")
    return Path(folder)


def blocking(function: Callable[[], T]) -> T:
    """Call a function that runs an event loop of its own; inside a running loop, in a thread.

    A KeyboardInterrupt while the thread is waited for is handed on to it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    result: list[T] = []
    failure: list[BaseException] = []

    def call() -> None:
        try:
            result.append(function())
        except BaseException as error:  # carried over to the caller, who gets it as if it had called itself
            failure.append(error)

    thread = threading.Thread(target=call, name="agentrl", daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            thread.join(0.2)
        except KeyboardInterrupt:
            with contextlib.suppress(Exception):
                ident = ctypes.c_ulong(thread.ident or 0)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(KeyboardInterrupt))
    if failure:
        raise failure[0]
    return result[0]


def policy_layer(policy: Any) -> dict[str, Any]:
    """The layer that a policy's word adds to the others: a model's name is the setting `model.name`.

    That of a model behind an API too: what the packaged models say of their lengths and format is not for it.
    """
    if isinstance(policy, (str, os.PathLike)) and (is_model(os.fspath(policy)) or str(policy).startswith("api:")):
        return {"model": {"name": os.fspath(policy)}}
    return {}


def is_scripted(policy: Any) -> bool:
    """Is a policy given that is no model: `random`, `expert`, one of the user's."""
    return policy is not None and not policy_layer(policy)
