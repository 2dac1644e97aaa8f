"""What models that do not learn say of a batch: the reference, a guidance model, and replies to other prompts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from agentrl.config import RunConfig
from agentrl.errors import ConfigError
from agentrl.models.load import Model, load_model
from agentrl.trainers.batch import Batch
from agentrl.trainers.logged_groups import KeptNumbers
from agentrl.trainers.mismatched import mismatched_log_ratio
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Updater


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
