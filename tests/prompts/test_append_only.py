"""Memory, format and renderer together: which episodes are one sequence."""

import pytest

from agentrl import registry
from agentrl.settings import from_mapping
from agentrl.types import Completion, Observation, Task, Turn
from tests.core import chat_templates

TASK = Task("guess", "guess-1", "train", 1)


def part(kind, name, **settings):
    made = registry.load(kind, name)
    return made(from_mapping(made.Config, settings))


def continued(memory, form, renderer, turns=6):
    """Play `turns` turns.   Returns, for each prompt after the first, whether it continues."""
    played, previous, found = [], None, []
    for position in range(turns):
        seen = Observation(f"room {position}", admissible=(f"go {position}", "look"))
        view = memory.view(TASK, "Win.", played, seen)
        completion = played[-1].completion if played else None
        prompt = renderer.render(form.messages(view), None, previous, completion)
        found += [prompt.continues] if played else []
        ids = list(renderer.reply_ids(form.write(f"go {position}", view, report="nothing", thought="so")))
        reply = form.parse(renderer.decode(ids), view)
        completion = Completion(renderer.decode(ids), ids)
        played.append(Turn(position, seen, [], True, completion, reply.action, True, True, 0.0, report=reply.report))
        previous = prompt
    return found


@pytest.mark.parametrize("form", ["tags", "action", "report"])
@pytest.mark.parametrize("template", ["qwen2_5", "llama3_1", "gemma", "phi3", "qwen3_instruct_2507", "cohere2"])
def test_the_full_memory_makes_an_episode_one_sequence(template, form):
    renderer = chat_templates.renderer_for(template)
    settings = {"show_admissible": True}
    assert continued(part("memory", "full"), part("format", form, **settings), renderer) == [True] * 5


def test_dropping_old_lists_makes_every_turn_a_sequence():
    renderer = chat_templates.renderer_for("qwen2_5")
    assert continued(part("memory", "full"), part("format", "tags", keep_old_lists=False), renderer) == [False] * 5


def test_a_window_continues_until_it_is_full():
    renderer = chat_templates.renderer_for("qwen2_5")
    found = continued(part("memory", "window", size=3), part("format", "tags"), renderer)
    assert found == [True, True, True, False, False]


@pytest.mark.parametrize("form", ["tags", "action", "report"])
def test_a_workspace_is_a_sequence_a_turn(form):
    renderer = chat_templates.renderer_for("qwen2_5")
    assert continued(part("memory", "workspace"), part("format", form), renderer) == [False] * 5


def test_a_template_that_strips_reasoning_makes_every_turn_a_sequence():
    renderer = chat_templates.renderer_for("qwen3")
    assert continued(part("memory", "full"), part("format", "tags"), renderer) == [False] * 5
    assert continued(part("memory", "full"), part("format", "action"), renderer) == [True] * 5
