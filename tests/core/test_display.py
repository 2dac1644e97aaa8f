"""What a run shows: plain lines in a log, nothing that could end the run."""

import io

import pytest

from agentrl.display import Display, Silent, summary_rows, what_next
from agentrl.statistics import Tally


def shown(act, stream=None) -> str:
    stream = stream or io.StringIO()
    act(Display(stream))
    return stream.getvalue()


def test_a_log_gets_a_line_a_step_with_what_matters():
    def run(display):
        display.start("epo on guess", 3)
        for step in (1, 2):
            display.phase("playing", 1, 4)
            display.step(
                step,
                {"success": 0.425, "train/entropy": 1.23456, "tokens_per_second": 12345.6, "ppo/kl_from_old": 1e-3},
            )
        display.validation(2, {"success": 0.5})

    lines = shown(run).splitlines()
    assert lines[0] == "epo on guess"
    assert lines[1] == "step 1/3  success 42.5 %  entropy 1.235  KL 0.001  tokens/s 12,346"
    assert lines[2].startswith("step 2/3  success 42.5 %") and "ETA" in lines[2]
    assert lines[3] == "validation after step 2  success 50.0 %"


def test_the_summary_holds_intervals_by_kind_and_what_to_do_next():
    before = {"all": Tally(episodes=10, successes=3), "heat": Tally(episodes=10, successes=3)}
    after = {"all": Tally(episodes=10, successes=10), "heat": Tally(episodes=10, successes=10, failures=2)}
    text = shown(lambda d: d.finish([*summary_rows(before, after), *what_next("runs/x", "guess", "runs/x/c")]))
    assert "30.0 %" in text and "10.8-60.3 %" in text  # Wilson's interval of 3 of 10
    assert "100.0 %" in text and "72.2-100.0 %" in text
    assert "heat" in text and "failures" in text
    assert "agentrl play --env guess --policy runs/x/c" in text and "agentrl train --resume runs/x" in text


def test_an_episode_cannot_move_the_cursor():
    assert shown(lambda d: d.note("a\x1b[2Jb\nc")) == "a [2Jb c\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_live_progress_and_its_cursor_back(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    def run(display):
        display.start("epo on guess", 2)
        display.phase("playing", 1, 4)
        display.step(1, {"success": 0.5})
        display.finish(["done"])

    text = shown(run, Terminal())
    assert "epo on guess" in text and "step 1/2  success 50.0 %" in text and text.rstrip().endswith("done")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("display", [Silent(), Display(Broken())], ids=["silent", "broken pipe"])
def test_nothing_that_a_display_meets_ends_the_run(display):
    display.start("x", 1)
    display.phase("x", 0, 0)
    display.step(1, {"success": "no number", "reward": float("nan")})
    display.validation(1, {})
    display.note("x")
    display.finish([*summary_rows(None, {"all": Tally()}), "x"])
    display.close()


def test_values_that_are_no_numbers_are_left_out():
    assert shown(lambda d: d.step(1, {"success": "x", "reward": float("nan")})) == "step 1/0  reward -\n"
