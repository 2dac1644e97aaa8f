"""A reward model: a backbone and a scalar head, read at the last real token of a trajectory; kept as a model's folder.

FOLDER/
    model.safetensors, config.json, tokenizer, agentrl.json     the backbone, as of any other model
    reward_head.safetensors                                     weight [1, d], bias [1]
    reward_model.json                                           {"schema": 1, "form": "episode" or "polar", "polar": {}}

Of a trajectory whose prompts are rewritten from turn to turn, what is read is its last sequence. A score has no unit:
it says which of two answers to one prompt is better, and by how much in log-odds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from agentrl.config import ModelConfig
from agentrl.errors import AgentRLError, DataError
from agentrl.models.defaults import model_of_run
from agentrl.models.forward import Packed, hidden_states, pack, packs_without_leaks
from agentrl.models.load import Model, load_model, output_head
from agentrl.models.polar_form import PolarForm, PolarWriter
from agentrl.models.save import save_model
from agentrl.models.value_head import ValueModel
from agentrl.run_directory import read_json, write_json, write_whole
from agentrl.settings import from_mapping, to_mapping
from agentrl.types import Trajectory

HEAD_FILE, FORM_FILE = "reward_head.safetensors", "reward_model.json"
SCHEMA = 1
_PASS_TOKENS = {"cpu": 2048, "cuda": 16384}


@dataclass(frozen=True, kw_only=True)
class RewardForm:
    """What `reward_model.json` says: in which form a reward model reads."""

    schema: int = SCHEMA
    form: Literal["episode", "polar"] = "episode"
    """episode: a trajectory as the policy sees it. polar: beside a reference answer (`PolarForm`)."""
    polar: PolarForm = field(default_factory=PolarForm)
    """Of the form polar."""


def read_ids(trajectory: Trajectory) -> tuple[int, ...]:
    """What a reward model reads of a trajectory in its ids: its last sequence, up to the last token that was said.

    Raises DataError where nothing was said.
    """
    ids: list[int] = []
    found, end = ids, 0
    for turn in trajectory.turns:
        if not turn.continues:
            ids = []
        ids += turn.prompt_ids
        if turn.completion.token_ids:
            ids += turn.completion.token_ids
            found, end = ids, len(ids)
    if not end:
        raise DataError(f"an episode of task {trajectory.task.id!r} holds no reply that could be scored")
    return tuple(found[:end])


def last_token_scores(model: ValueModel, packed: Packed, one_by_one: bool = False) -> Tensor:
    """The head's value at the last token of each sequence of a stream.   Returns [S], with gradient if enabled."""
    at = torch.tensor(packed.starts[1:], device=packed.ids.device) - 1
    scores: Tensor = model(hidden_states(model.backbone, packed, one_by_one, at))
    return scores


@dataclass(eq=False)
class RewardModel:
    """A model that scores trajectories."""

    model: Model
    values: ValueModel
    """The model's own module, and the head."""
    form: RewardForm = field(default_factory=RewardForm)
    one_by_one: bool = False
    """The backbone cannot be packed: a sequence a call."""

    @classmethod
    def of(cls, model: Model, form: RewardForm | None = None) -> "RewardModel":
        """A reward model that has not learned yet: all scores are 0.   model: becomes its backbone."""
        form = form or RewardForm()
        if form.form == "polar":
            PolarWriter(model.tokenizer, form.polar)  # does it know the separators
        module = model.module
        return cls(model, ValueModel(module), form, not packs_without_leaks(module, len(output_head(module)[0])))

    @torch.no_grad()
    def score(self, trajectories: Sequence[Trajectory], *, alone: bool = False) -> Tensor:
        """Scores of trajectories in the ids of this model (`agentrl.foreign.tokenised` writes them).

        alone: a sequence a pass, so that no score depends in its last bits on what else is scored.
        Returns [J] float64, on the CPU.   Raises DataError for one without a reply.
        """
        return self.score_ids([read_ids(trajectory) for trajectory in trajectories], alone=alone)

    @torch.no_grad()
    def score_ids(self, sequences: Sequence[Sequence[int]], *, alone: bool = False) -> Tensor:
        """Scores of sequences of ids, as `score`."""
        scores = torch.zeros(len(sequences), dtype=torch.float64)
        budget = 1 if alone else _PASS_TOKENS.get(self.model.device.type, _PASS_TOKENS["cpu"])
        for numbers in _passes([len(ids) for ids in sequences], budget):
            packed = pack([sequences[number] for number in numbers], self.model.device)
            scores[numbers] = last_token_scores(self.values, packed, self.one_by_one).double().cpu()
        return scores

    def save(self, folder: str | Path) -> None:
        """Write the whole as a folder that `load_reward_model` reads.   Raises DataError where the disk fails."""
        save_model(self.model, folder)
        self.write_head(Path(folder))

    def write_head(self, folder: Path) -> None:
        """Write what a reward model has beside its backbone into the backbone's folder."""
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in self.values.head.state_dict().items()}
        write_whole(folder / HEAD_FILE, save_tensors(head))
        write_json(folder / FORM_FILE, to_mapping(self.form))

    def read_head(self, folder: Path) -> None:
        """Take over the head that a folder holds.   Raises DataError for one that is damaged or of another model."""
        try:
            head = load_tensors((folder / HEAD_FILE).read_bytes())
        except (OSError, SafetensorError) as error:
            raise DataError(f"the head of reward model {folder} cannot be read: {error}") from error
        own = self.values.head.state_dict()
        shapes = {name: tensor.shape for name, tensor in head.items()}
        if shapes != {name: tensor.shape for name, tensor in own.items()}:
            raise DataError(f"the head in {folder / HEAD_FILE} does not fit the model beside it")
        self.values.head.load_state_dict(head)


def _passes(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Numbers of the sequences that run together, those of like length; a longer one than the budget runs alone."""
    together: list[int] = []
    used = 0
    for number in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if together and used + lengths[number] > budget:
            yield together
            together, used = [], 0
        together.append(number)
        used += lengths[number]
    if together:
        yield together


def reward_model_folder(name: str | Path) -> Path:
    """The folder of a reward model, or of the best checkpoint of the run that trained it.

    Raises DataError for what is none, with the command that makes one.
    """
    folder = model_of_run(name) or Path(name).expanduser()
    if not (folder / FORM_FILE).is_file() or not (folder / HEAD_FILE).is_file():
        what = "no reward model" if folder.is_dir() else "not there"
        raise DataError(
            f"{name} is {what}; make one with: agentrl train --data pairs.jsonl --algo reward-model --model MODEL"
        )
    return folder


def form_of(folder: Path) -> RewardForm:
    """In which form the reward model of a folder reads.   Raises DataError for a damaged file."""
    path = folder / FORM_FILE
    content = read_json(path)
    try:
        form = from_mapping(RewardForm, content if isinstance(content, dict) else {"form": content})
    except AgentRLError as error:
        raise DataError(f"{path}: {error}") from error
    if form.schema > SCHEMA:
        raise DataError(f"{path} is of schema {form.schema}, which is newer than this version (it knows {SCHEMA})")
    return form


def load_reward_model(name: str | Path, *, dtype: Any = "auto", device: str = "auto") -> RewardModel:
    """A reward model by its folder or the run that trained it; nothing in it is executed.

    Raises DataError for what is missing or damaged.
    """
    folder = reward_model_folder(name)
    form = form_of(folder)
    found = RewardModel.of(load_model(ModelConfig(name=str(folder), dtype=dtype, device=device)), form)
    found.read_head(folder)
    found.values.requires_grad_(False).eval()
    return found


__all__ = ["RewardForm", "RewardModel", "form_of", "last_token_scores", "load_reward_model", "read_ids"]
