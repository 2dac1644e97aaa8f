"""Brings a model into memory: the packaged tiny one, a folder, or a hub id; with its tokenizer and renderer."""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from agentrl.config import ModelConfig
from agentrl.errors import ConfigError, DataError
from agentrl.models.adapters import add_lora
from agentrl.models.defaults import model_defaults, model_folder
from agentrl.models.forward import causal_model
from agentrl.models.precision import keep_double
from agentrl.models.save import save_model
from agentrl.registry import load

if TYPE_CHECKING:
    from agentrl.models.renderer import Renderer


@dataclass(eq=False)
class Model:
    """One model with what reads and writes its ids. Sampler and trainer share it."""

    module: nn.Module
    """A transformers model, inside peft's wrapper where it has an adapter."""
    tokenizer: Any
    renderer: "Renderer"
    name: str
    """The folder or hub id that it came from; empty for one that was built in memory."""
    device: torch.device
    dtype: torch.dtype
    version: int = 0
    """Counts the changes of the weights."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Settings that this model was made for: a configuration layer between the defaults and the file."""
    processor: Any = None
    """Of a vision-language model."""
    trust_remote_code: bool = False
    """Whether code that came with the model may be run; needed where it is loaded again."""
    _frozen: nn.Module | None = field(default=None, repr=False)

    @property
    def has_adapter(self) -> bool:
        return causal_model(self.module) is not self.module

    @contextlib.contextmanager
    def reference(self) -> Iterator[nn.Module]:
        """The model as it was loaded, without gradient: the base under the adapter, or else a frozen copy.

        The copy is made at the first call, which therefore has to come before the first change of the weights.
        Raises ConfigError where it comes later and there is nothing to load the weights from again.
        """
        if self.has_adapter:
            with self.module.disable_adapter():  # type: ignore[operator]
                yield self.module
            return
        if self._frozen is None:
            self._frozen = self._as_loaded().requires_grad_(False).eval()
        yield self._frozen

    def _as_loaded(self) -> nn.Module:
        if self.version == 0:
            return copy.deepcopy(self.module)
        if not self.name:
            raise ConfigError("the reference must be asked for before the weights change: the model has no source")
        return _load_module(self.name, dtype=self.dtype, trust=self.trust_remote_code).to(self.device)


def load_model(
    config: ModelConfig, env: str = "", seed: int = 0, world_config: Any = None, marks: Sequence[str] = ()
) -> Model:
    """The model that the configuration names, on its device, without dropout, in evaluation mode.

    env: name of the environment, which picks the packaged model where `config.name` is `tiny`; `tiny-random` is the
    same architecture before it has learned anything, with the vocabulary that the environment offers.
    seed: of what begins at random, which is an adapter.   world_config: of that environment, whose vocabulary may
    follow from it.   marks: what the prompt format writes around words, which that vocabulary has beside its own.
    Raises DataError for what is missing, damaged or incomplete, ConfigError for a model whose logits are not its head
    applied to its hidden states, MissingDependency for an adapter without peft.
    """
    from agentrl.models.renderer import Renderer

    device = _device(config.device)
    dtype = _dtype(config.dtype, device)
    if config.name == "tiny-random":
        source, processor = "", None
        module, tokenizer = _random_tiny(env, world_config, marks)
        module = keep_double(module.to(device, dtype))
    else:
        source = _source(config.name, env)
        module = _load_module(source, dtype=dtype, trust=config.trust_remote_code).to(device).eval()
        tokenizer, processor = _load_tokenizer(source, module, trust=config.trust_remote_code)
        check_head(module, source)
    if config.lora:
        module = add_lora(module, config.lora, config.lora_alpha, seed).eval()
    if config.gradient_checkpointing:
        causal_model(module).gradient_checkpointing_enable({"use_reentrant": False})
    renderer = Renderer(tokenizer, processor)
    return Model(
        module,
        tokenizer,
        renderer,
        source,
        device,
        dtype,
        defaults=model_defaults(source) if source else {},
        processor=processor,
    )


def load_renderer(name: str, env: str = "", world_config: Any = None, *, trust: bool = False) -> Any:
    """The renderer of a model, without its weights.   The rest as in `load_model`."""
    from agentrl.models.renderer import Renderer

    if name == "tiny-random":
        from agentrl.models.tiny.build import build_tokenizer

        return Renderer(build_tokenizer(_vocabulary(env, world_config)))
    source = _source(name, env)
    from transformers import AutoTokenizer

    with _readable(source):
        return Renderer(_fetch(AutoTokenizer.from_pretrained, source, trust_remote_code=trust))


def saved_weights(folder: Path, model: Model) -> dict[str, Tensor]:
    """The weights in a model's folder, under the names that they have in memory: some architectures save others.

    Raises DataError for a folder that is damaged or incomplete.
    """
    return dict(_load_module(str(folder), dtype=model.dtype, trust=model.trust_remote_code).named_parameters())


def _random_tiny(env: str, world_config: Any = None, marks: Sequence[str] = (), seed: int = 0) -> tuple[nn.Module, Any]:
    from agentrl.models.tiny.build import random_tiny

    words = _vocabulary(env, world_config)
    return random_tiny(words.phrases, words.words, seed, entities=words.entities, dropped=words.dropped, marks=marks)


def _vocabulary(env: str, world_config: Any) -> Any:
    world = load("env", env)
    if not hasattr(world, "vocabulary"):
        raise ConfigError(f"environment {env!r} offers no vocabulary, so a tiny model cannot be made for it; name one")
    of_config = "config" in inspect.signature(world.vocabulary).parameters
    return world.vocabulary(world_config) if of_config else world.vocabulary()


def output_head(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """What turns hidden states into logits: the weight [V, d] and the bias [V], or None where it has none."""
    head = causal_model(module).get_output_embeddings()
    if head is None:
        raise ConfigError(f"{type(causal_model(module)).__name__} has no vocabulary head")
    return head.weight, getattr(head, "bias", None)


@torch.no_grad()
def check_head(module: nn.Module, name: str) -> None:
    """Hold that the logits are the head applied to the hidden states, with nothing done to them afterwards.

    Sampler and trainer compute them that way, a chunk at a time. Raises ConfigError for models that scale or cap them.
    """
    model = causal_model(module)
    weight, bias = output_head(module)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(weight), (1, 8), generator=generator).to(weight.device)
    with quiet():
        logits = model(input_ids=ids, use_cache=False).logits.double()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    expected = nn.functional.linear(hidden, weight, bias).double()
    tolerance = 2e-2 if weight.dtype in (torch.bfloat16, torch.float16) else 1e-4
    if (logits - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-6):
        return
    causes = [f"{key} = {value}" for key, value in _logit_settings(model.config)]
    because = f" ({', '.join(causes)})" if causes else ""
    raise ConfigError(f"model {name!r} changes its logits after the head{because}; such models are not supported")


def _logit_settings(config: Any) -> list[tuple[str, Any]]:
    """Settings of the architecture that change logits after the head, as far as their names tell."""
    settings = config.get_text_config().to_dict()
    known = ("final_logit_softcapping", "logits_scaling", "logit_scale", "logits_scale", "lm_head_multiplier")
    return [(key, settings[key]) for key in known if settings.get(key) not in (None, 1, 1.0)]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor progress bars of the model libraries inside; what matters is checked and raised."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    verbosity, hub_verbosity, bars = (
        logging.get_verbosity(),
        hub_logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
    )
    logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(hub_logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()


def _source(name: str, env: str) -> str:
    if name == "tiny":
        tiny = model_folder(name, env) if env else None
        if tiny is None or not (tiny / "config.json").is_file():
            raise DataError(
                f"there is no tiny model for environment {env!r} (make tiny-model builds some worlds'); name a model "
                "with --model FOLDER, or make one from demonstrations: --algo sft --model tiny-random --format action"
            )
        return str(tiny)
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if Path(name).expanduser().exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"there is no model folder {name!r}; name a folder, a hub id such as owner/name, or tiny")
    return name


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"model.device is {name!r}; it must be auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"model.device is {name!r}, but this machine has no GPU that torch can use")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@contextlib.contextmanager
def _readable(source: str) -> Iterator[None]:
    """Whatever the libraries raise while they read a model, in one line with the remedy."""
    try:
        with quiet():
            yield
    except (ConfigError, DataError):
        raise
    except Exception as error:  # OSError, SafetensorError, JSON and key errors: every library has its own
        lines = str(error).strip().splitlines()
        reason = lines[0][:200] if lines else type(error).__name__
        if Path(source).is_dir():
            raise DataError(f"the model in {source} cannot be read ({reason}); it is damaged or incomplete") from error
        raise DataError(
            f"model {source!r} is neither a folder nor could it be had from the hub ({reason}); "
            "check the name and the connection, or name a folder"
        ) from error


def _fetch(load: Any, source: str, **settings: Any) -> Any:
    """Read from a folder or from the hub's cache; the network is asked only for what is not there yet."""
    if not Path(source).is_dir():
        with contextlib.suppress(OSError):
            return load(source, local_files_only=True, **settings)
    return load(source, **settings)


def _load_module(source: str, *, dtype: torch.dtype, trust: bool) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    with _readable(source):
        config = _fetch(AutoConfig.from_pretrained, source, trust_remote_code=trust)
        _without_dropout(config)
        texts = AutoModelForCausalLM._model_mapping.keys()
        remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
        kind = AutoModelForCausalLM if type(config) in texts or remote else AutoModelForImageTextToText
        module, report = _fetch(
            kind.from_pretrained,
            source,
            config=config,
            dtype=dtype,
            trust_remote_code=trust,
            use_safetensors=True,
            output_loading_info=True,
        )
    wrong = sorted(map(str, report["missing_keys"])) + [str(entry[0]) for entry in report["mismatched_keys"]]
    if wrong:
        raise DataError(f"the model in {source} is incomplete: {len(wrong)} weights are missing, such as {wrong[0]}")
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return keep_double(module)


def _without_dropout(config: Any) -> None:
    """Switch every dropout of the architecture off: sampler and trainer must see the same model."""
    for part in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        for name, value in vars(part).items() if part is not None else ():
            if isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop")):
                setattr(part, name, 0.0)


def _load_tokenizer(source: str, module: nn.Module, *, trust: bool) -> tuple[Any, Any]:
    from transformers import AutoProcessor, AutoTokenizer

    with _readable(source):
        processor = None
        if getattr(module.config, "vision_config", None) is not None:
            processor = _fetch(AutoProcessor.from_pretrained, source, trust_remote_code=trust)
        tokenizer = _fetch(AutoTokenizer.from_pretrained, source, trust_remote_code=trust)
    if len(tokenizer) > len(output_head(module)[0]):
        raise DataError(f"the tokenizer in {source} has {len(tokenizer)} tokens, more than the model knows")
    return tokenizer, processor


__all__ = ["Model", "check_head", "load_model", "load_renderer", "output_head", "quiet", "save_model", "saved_weights"]
