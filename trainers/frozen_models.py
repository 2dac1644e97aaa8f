"""What models that do not learn say of a batch: the reference, a guidance model, and replies to other prompts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from agentrl.config import RunConfig
from agentrl.errors import ConfigError
from agentrl.models.load import Model, load_model
from agentrl.segments import count_by
from agentrl.trainers.batch import Batch
from agentrl.trainers.mismatched import mismatched_log_ratio
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Updater


@dataclass
class KeptNumbers:
    """Log-probs of a frozen model, taken once for each trajectory, whatever batches it comes in."""

    of_key: dict[int, Tensor] = field(default_factory=dict)
    """`StepView.key` -> [its tokens] float64."""

    def read(self, batch: Batch, measure: Callable[[Batch], Tensor]) -> Tensor:
        """The batch's numbers, [N]; `measure` is asked for the trajectories that are not known yet, all at once.

        Tokens of a trajectory are contiguous, as `build_batch` leaves them.
        """
        assert batch.view.key is not None
        keys: list[int] = batch.view.key.tolist()
        new = [number for number, key in enumerate(keys) if key not in self.of_key]
        if new:
            part = batch.keep(torch.tensor(new)) if len(new) < len(keys) else batch
            sizes = count_by(part.view.trajectory_of_token, len(new)).tolist()
            pieces = measure(part).split(sizes)
            self.of_key |= {keys[number]: piece.clone() for number, piece in zip(new, pieces, strict=True)}
        return torch.cat([self.of_key[key] for key in keys])


@dataclass
class FrozenModels:
    """Asked once a step, before the first update; of logged data once for each trajectory."""

    model: Model
    """The policy's, which knows its reference."""
    updater: Updater
    guidance: Model | None
    keeps: bool
    """The same trajectories come again: their numbers are kept."""
    kept_reference: KeptNumbers = field(default_factory=KeptNumbers)
    kept_guidance: KeptNumbers = field(default_factory=KeptNumbers)

    def seen(self, batch: Batch, needs: Collection[str]) -> StepView:
        """The batch's view with `reference`, `guidance` and `mismatched`, as far as parts need them."""
        view = batch.view
        if "reference" in needs:
            view = view.with_fields(reference=self._read(self.kept_reference, batch, self._of_reference))
        if "guidance" in needs:
            view = view.with_fields(guidance=self._read(self.kept_guidance, batch, self._of_guidance))
        if "mismatched" in needs:
            view = view.with_fields(mismatched=mismatched_log_ratio(batch, self._of_policy, self._of_reference))
        return view

    def _read(self, kept: KeptNumbers, batch: Batch, measure: Callable[[Batch], Tensor]) -> Tensor:
        return kept.read(batch, measure) if self.keeps else measure(batch)

    def _of_policy(self, batch: Batch) -> Tensor:
        return self.updater.evaluate(batch, with_entropy=False).logprob

    def _of_reference(self, batch: Batch) -> Tensor:
        with self.model.reference() as module:
            return replace(self.updater, module=module).evaluate(batch, with_entropy=False).logprob

    def _of_guidance(self, batch: Batch) -> Tensor:
        assert self.guidance is not None
        return replace(self.updater, module=self.guidance.module).evaluate(batch, with_entropy=False).logprob


def load_guidance(config: RunConfig, policy: Model) -> Model:
    """The model that `guidance` names, frozen.   Raises ConfigError for one of another vocabulary, or as load_model."""
    found = load_model(replace(config.model, name=config.guidance, lora=0), config.env)
    if found.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise ConfigError(
            f"guidance is {config.guidance}, whose vocabulary is not that of {config.model.name}; tokens can only be "
            "compared within one"
        )
    found.module.requires_grad_(False)
    return found
