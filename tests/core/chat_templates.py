"""Real chat templates, as the trl wheel ships them, each with a small byte-level tokenizer that knows its tokens."""

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

LINES = (
    "You are in the middle of a room. Looking around, you see a drawer 2, a drawer 1, and a fridge 1.",
    "Your task is to: put a clean apple in the fridge.\n\nWhat do you do?",
    "go to the drawer 2, open it and take the apple 1 from it.\n",
)
_CONTROL = re.compile(
    r"<\|[^|<>\s{}]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|<\|(?:turn|channel|think)>|<(?:turn|channel)\|>"
    r"|<(?:start_of_turn|end_of_turn|start_of_image|end_of_utterance|image|sop)>|\[gMASK\]"
)
_EOS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "gemma": "<eos>",
    "glm": "<|endoftext|>",
    "gptoss": "<|return|>",
    "lfm": "<|im_end|>",
    "llama": "<|eot_id|>",
    "nemotron": "<|im_end|>",
    "phi": "<|endoftext|>",
    "qwen": "<|im_end|>",
}


def _folder() -> Path:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.origin is not None, "trl is missing: pip install 'agentrl[test]'"
    return Path(spec.origin).parent / "chat_templates"


def names() -> list[str]:
    """Every template there is."""
    return sorted(path.stem for path in _folder().glob("*.jinja"))


def source(name: str) -> str:
    """A template's text."""
    return (_folder() / f"{name}.jinja").read_text()


@functools.cache
def _trained() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        LINES * 4, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    return str(core.to_str())


def tokenizer(template: str, eos: str = "</s>", control: tuple[str, ...] = ()) -> Any:
    """A byte-level BPE tokenizer trained on a few lines, with a chat template and the control tokens found in it."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    special = sorted({*_CONTROL.findall(template), *control, "<s>", "</s>", eos})
    built = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_trained()), bos_token="<s>", eos_token=eos)
    built.add_special_tokens({"additional_special_tokens": special})
    built.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    built.chat_template = template
    return built


def tokenizer_for(name: str) -> Any:
    """A tokenizer with one of the real templates."""
    eos = next((token for kind, token in _EOS.items() if name.startswith(kind)), "</s>")
    return tokenizer(source(name), eos)


@functools.cache
def renderer_for(name: str) -> Any:
    """A renderer of one of the real templates, made once a test session."""
    from agentrl.models.renderer import Renderer

    return Renderer(tokenizer_for(name))
