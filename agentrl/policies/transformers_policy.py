"""A local model as the policy: a thread of its own samples for many episodes at once and keeps keys and values.

The thread runs passes as long as anything is asked for. A pass takes every request: those that decode with their one
new token, those that have just come with what their prompt added to what their episode's slot holds. What comes in
while a pass runs joins the next one.
"""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear

from agentrl.errors import PolicyFailure
from agentrl.models.load import Model, output_head
from agentrl.policies.sampling import Continuations, Draw, continuations, draw, uniforms
from agentrl.policies.slots import Piece, PlainDecoder, Slot, SlotDecoder, choose_decoder
from agentrl.types import Completion, Request

if TYPE_CHECKING:
    Deliver = Callable[["_Job"], None]

_PASS_TOKENS = {"cpu": 4096, "cuda": 16384}
"""New tokens of one pass, by the kind of device: longer prompts are run in parts."""
_JOIN_SECONDS = 5.0
"""How long `close` waits for the pass in flight."""


class TransformersPolicy:
    """Replies by a transformers model that lives in this process.

    `path` says how it decodes: `slots`, or `plain` for models whose layers cannot be run over slots (slow but right).
    """

    takes_ids = True

    def __init__(self, model: Model, *, slots: int, max_context: int, deterministic: bool = False) -> None:
        """
        model: shared with the trainer, which must not change it while anything is generated.
        slots: episodes whose keys and values are kept, fewer where a GPU has no room for them; more episodes than
            that are right, but recompute.
        max_context: a reply is cut where prompt and reply reach this many tokens.
        deterministic: each reply is decoded alone and from its ids, so that its tokens and log-probs are the same,
            bit for bit, whatever else is asked for; slow.
        """
        self._engine = _Engine(model, slots=slots, max_context=max_context, deterministic=deterministic)
        self._renderer = model.renderer
        thread = threading.Thread(target=self._engine.run, name="agentrl-sampler", daemon=True)
        thread.start()
        # Runs when the policy is dropped and when the interpreter exits: a thread inside torch at exit would crash it.
        self._finalizer = weakref.finalize(self, _stop, self._engine, thread)

    @property
    def path(self) -> str:
        return "plain" if isinstance(self._engine.decoder, PlainDecoder) else "slots"

    async def generate(self, request: Request) -> Completion:
        """The model's reply to `request.prompt_ids`.

        Raises PolicyFailure for a request that cannot be met, and for whatever goes wrong in the thread.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Job] = loop.create_future()

        def deliver(done: _Job) -> None:
            try:
                loop.call_soon_threadsafe(_resolve, future, done)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

        job = _job(request, self._engine, deliver)
        self._engine.submit(job)
        try:
            await future
        except asyncio.CancelledError:
            job.cancelled = True
            raise
        if job.failure is not None:
            raise PolicyFailure(job.failure)
        return Completion(
            text=self._renderer.decode(job.tokens),
            token_ids=job.tokens,
            logprobs=job.logprobs,
            finish="stop" if job.stopped else "length",
            versions=job.versions,
            allowed=job.allowed if job.tree is not None else None,
            prompt_tokens=job.prompt_tokens,
            cached_tokens=job.cached_tokens,
        )

    async def release(self, episode: str) -> None:
        """Free what is kept for an episode; one that is not known is no error."""
        self._engine.release(episode)

    def new_weights(self, version: int) -> None:
        """Say that the weights have changed: every kept key and value is dropped before this returns.

        Replies in progress go on, on keys and values computed anew; their tokens carry the version that sampled them.
        """
        self._engine.new_weights(version)

    async def close(self) -> None:
        """End the thread; requests that still wait fail."""
        await asyncio.to_thread(self._finalizer)


@dataclass(eq=False)
class _Job:
    """One request in the making."""

    ids: list[int]
    """Prompt and what was sampled so far."""
    request: Request
    deliver: "Deliver"
    prompt_tokens: int
    most_tokens: int
    """A reply is cut after this many."""
    tree: Continuations | None
    """What may follow, where sampling is constrained."""
    slot: Slot | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    allowed: list[list[int]] = field(default_factory=list)
    cached_tokens: int = 0
    stopped: bool = False
    failure: str | None = None
    cancelled: bool = False

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.tokens) >= self.most_tokens

    def add(self, token: int, logprob: float, version: int, end_ids: frozenset[int]) -> None:
        """Append a token, and those that must follow it where sampling is constrained: they need no sampling."""
        self._append(token, logprob, version)
        if self.tree is None:
            self.stopped = token in end_ids
            return
        self.tree = self.tree[token]
        self.add_forced(version)

    def add_forced(self, version: int) -> None:
        """Append what must come next: its probability is 1. The model reads it with the next piece that it needs."""
        while self.tree is not None and len(self.tree) == 1 and len(self.tokens) < self.most_tokens:
            token, following = next(iter(self.tree.items()))
            self._append(token, 0.0, version)
            self.tree = following
        self.stopped = self.tree is not None and not self.tree

    def _append(self, token: int, logprob: float, version: int) -> None:
        if self.tree is not None:
            self.allowed.append(self.tree.ids)
        self.ids.append(token)
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.versions.append(version)

    def draw(self, uniform: float) -> Draw:
        sampling = self.request.sampling
        allowed = None if self.tree is None else self.tree.ids
        return Draw(sampling.temperature, uniform, sampling.top_p, sampling.top_k, allowed)


def _job(request: Request, engine: "_Engine", deliver: "Deliver") -> _Job:
    """Raises PolicyFailure for a request that no pass can serve."""
    ids, sampling = request.prompt_ids, request.sampling
    if request.images:
        raise PolicyFailure("the transformers policy cannot sample from prompts with images")
    if not ids:
        raise PolicyFailure("the transformers policy needs a prompt of at least one id")
    if min(ids) < 0 or max(ids) >= engine.vocabulary:
        raise PolicyFailure(f"the prompt has ids that the model does not know: it knows 0 to {engine.vocabulary - 1}")
    room = engine.max_context - len(ids)
    if room < 1:
        raise PolicyFailure(f"a prompt of {len(ids)} tokens leaves no room in a context of {engine.max_context}")
    try:
        tree = None if sampling.candidates is None else continuations(sampling.candidates)
    except ValueError as error:
        raise PolicyFailure(f"constrained sampling: {error}") from error
    return _Job(list(ids), request, deliver, len(ids), min(sampling.max_new_tokens, room), tree)


def _resolve(future: "asyncio.Future[_Job]", job: _Job) -> None:
    if not future.done():
        future.set_result(job)


def _stop(engine: "_Engine", thread: threading.Thread) -> None:
    engine.stop()
    if thread is not threading.current_thread():  # where the garbage collector runs this in the very thread
        thread.join(_JOIN_SECONDS)


class _Engine:
    """What the thread runs. Everything but the inbox belongs to the thread, or is under `lock`."""

    def __init__(self, model: Model, *, slots: int, max_context: int, deterministic: bool) -> None:
        self.model = model
        self.max_context = max_context
        self.deterministic = deterministic
        self.version = model.version
        self.end_ids = frozenset(model.renderer.end_ids)
        self.decoder: SlotDecoder | PlainDecoder = choose_decoder(model.module)
        self.num_slots = 1 if deterministic else self.decoder.limit(max(1, slots), max_context)
        self.keeps = not deterministic and isinstance(self.decoder, SlotDecoder)
        """Whether an episode's keys and values stay over its turns: where every bit counts their history would tell."""
        self.vocabulary = len(output_head(model.module)[0])
        self.lock = threading.Lock()
        self.turn = threading.Lock()  # held by who waits for `lock`: the passes must not starve a change of weights
        """Held through a pass, and by whoever drops keys and values."""
        self.slots: dict[str, Slot] = {}
        """By episode, the least recently used first."""
        self.running: list[_Job] = []
        self.waiting: deque[_Job] = deque()
        self.inbox: deque[_Job | str] = deque()
        """Requests, and episodes to release, in the order in which they came."""
        self.wake = threading.Condition()
        self.stopping = False

    def submit(self, job: _Job) -> None:
        with self.wake:
            if self.stopping:
                raise PolicyFailure("the transformers policy is closed")
            self.inbox.append(job)
            self.wake.notify()

    def release(self, episode: str) -> None:
        with self.wake:
            self.inbox.append(episode)
            self.wake.notify()

    def stop(self) -> None:
        with self.wake:
            self.stopping = True
            self.wake.notify()

    def new_weights(self, version: int) -> None:
        with self.turn, self.lock:
            self.version = version
            self._forget()

    def _forget(self) -> None:
        for slot in self.slots.values():
            self.decoder.free(slot)
            slot.ids.clear()
        self.decoder.drop()

    def run(self) -> None:
        """The thread: ends when `stop` was called, and then fails whatever waits."""
        while self._receive():
            try:
                with self.turn:
                    pass
                with self.lock:
                    self._admit()
                    self._pass()
            except Exception as error:
                with self.lock:
                    self._fail(error)
        for job in [*self.running, *self.waiting, *(item for item in self.inbox if isinstance(item, _Job))]:
            job.failure = "the transformers policy was closed"
            job.deliver(job)

    def _receive(self) -> bool:
        """Take what has come in; sleep only where there is nothing at all to do.   Returns whether to go on."""
        with self.wake:
            while not (self.inbox or self.running or self.waiting or self.stopping):
                self.wake.wait()
            items = list(self.inbox)
            self.inbox.clear()
            if self.stopping:
                self.inbox.extend(items)
                return False
        with self.lock:
            self.running = [job for job in self.running if not job.cancelled]
            for item in items:
                if isinstance(item, _Job):
                    self.waiting.append(item)
                else:
                    self._release(item)
        return True

    def _release(self, episode: str) -> None:
        slot = self.slots.get(episode)
        if slot is not None and all(job.slot is not slot for job in self.running):
            self.decoder.free(slot)
            del self.slots[episode]

    def _admit(self) -> None:
        """Give slots to waiting requests, the episode's own where it still has one."""
        later: deque[_Job] = deque()
        while self.waiting and len(self.running) < self.num_slots:
            job = self.waiting.popleft()
            if job.cancelled:
                continue
            slot = self._slot_for(job.request.episode)
            if slot is None:
                later.append(job)
                continue
            job.slot = slot
            job.cached_tokens = slot.keep_prefix_of(job.ids, len(job.ids) - 1)
            self.running.append(job)
            job.add_forced(self.version)
            if job.finished:
                self.running.remove(job)
                job.deliver(job)
        self.waiting.extendleft(reversed(later))

    def _slot_for(self, episode: str) -> Slot | None:
        """The episode's slot, a new one, or the least recently used one; None while the episode's is in use."""
        busy = {id(job.slot) for job in self.running}
        slot = self.slots.pop(episode, None)
        if slot is not None and id(slot) in busy:
            self.slots[episode] = slot
            return None
        if slot is None and len(self.slots) >= self.num_slots:
            oldest = next(name for name, other in self.slots.items() if id(other) not in busy)
            self.decoder.free(self.slots.pop(oldest))
        if slot is not None and not self.keeps:
            self.decoder.free(slot)
            slot = None
        self.slots[episode] = slot or Slot()
        return self.slots[episode]

    def _pass(self) -> None:
        """One pass over what is new, and one token more for each request whose prompt is read to its end."""
        budget = _PASS_TOKENS.get(self.decoder.device.type, 4096)
        pieces, whole = [], []
        for job in sorted(self.running, key=lambda job: len(job.ids) - len(job.slot.ids)):  # type: ignore[union-attr]
            assert job.slot is not None
            held = len(job.slot.ids)
            count = min(len(job.ids) - held, budget)
            if count == 0:
                break
            budget -= count
            pieces.append(Piece(job.slot, job.ids[held : held + count]))
            whole.append(job if held + count == len(job.ids) else None)
        if not pieces:
            return
        hidden = self.decoder.run(pieces)
        ready = [i for i, job in enumerate(whole) if job is not None]
        if ready:
            jobs = [job for job in whole if job is not None]
            self._sample(jobs, hidden if len(ready) == len(pieces) else hidden[torch.tensor(ready)])

    @torch.inference_mode()
    def _sample(self, jobs: list[_Job], hidden: torch.Tensor) -> None:
        """hidden: [R, d] at the last token of each job."""
        weight, bias = output_head(self.model.module)
        logits = linear(hidden, weight, bias)
        if logits.dtype != torch.float64:
            logits = logits.float()
        seeds, counters = [job.request.sampling.seed for job in jobs], [len(job.tokens) for job in jobs]
        chosen = draw(logits, [job.draw(u) for job, u in zip(jobs, uniforms(seeds, counters).tolist(), strict=True)])
        for job, token, logprob in zip(jobs, *chosen, strict=True):
            job.add(token, logprob, self.version, self.end_ids)
            if job.finished:
                self.running.remove(job)
                job.deliver(job)

    def _fail(self, error: Exception) -> None:
        """A pass has failed: so have the requests in it. What they left in the slots is not trusted."""
        failed, self.running = self.running, []
        self._forget()
        self.slots.clear()
        for job in failed:
            job.failure = f"transformers policy: {type(error).__name__}: {error}"
            job.deliver(job)
