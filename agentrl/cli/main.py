"""`agentrl VERB ...`: finds the verb, runs it, and turns whatever a user can put right into one line."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from agentrl.errors import AgentRLError, UnknownName, nearest
from agentrl.interruption import leave_at_the_next, notice, noticed, restore

VERBS = {
    "train": "train a model in a world, and write a run directory",
    "eval": "judge a policy on a split, by task kind",
    "report": "a run as a page to read and to show; several on the same axes",
    "view": "a run's report in the browser, rebuilt as the run grows",
    "play": "play a world in the terminal, yourself or any policy",
    "list": "what there is: envs, algos, parts, memories, formats, policies, curricula, verifiers",
    "tasks": "the splits of a world, their tasks and hashes",
    "data": "check a file of preferences or episodes: its format, its lengths, what is wrong in which line",
    "explain": "what an algorithm, a part, a memory, a format or a world is, with its settings",
    "export": "a run's or a checkpoint's model as a Hugging Face folder; its trajectories as JSON lines",
    "doctor": "what is installed here, what is missing, and the command that installs it",
}
"""verb -> what it does; `agentrl/cli/VERB.py` has `add_arguments(parser)` and `run(args) -> int`."""

# Read by torch's threads when they are first made: threads that spin while they wait take the cores from the worlds'
# processes, and a step then takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

USAGE_ERROR, INTERNAL_ERROR, INTERRUPTED, PIPE_CLOSED = 2, 1, 130, 141
"""Exit codes: bad input, a fault of ours, Ctrl-C, and nobody reading what we write. SIGTERM's is 143, SIGHUP's 129."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line; nothing escapes but SystemExit of `--help`.

    argv: None: of this process, which then ends at once where it was interrupted.
    AGENTRL_DEBUG=1 lets errors through with their traceback.
    """
    notice()
    try:
        code = _told(argv)
    finally:
        if argv is not None:
            restore()
    if argv is None:
        leave_at_the_next()
        if noticed() or code == INTERRUPTED:
            _leave(code)  # the interpreter would take a second to take torch apart, and someone waits for the prompt
    return code


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _told(argv: Sequence[str] | None) -> int:
    """The exit code, with whatever went wrong in one line on stderr."""
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interruption:
        return _interrupted(interruption)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # what is still buffered has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except AgentRLError as error:
        if noticed():
            return _interrupted(error)
        if _debugging():
            raise
        _say(str(error))
        return USAGE_ERROR
    except OSError as error:
        if _debugging():
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}")
        return USAGE_ERROR
    except Exception as error:
        if noticed():  # an import that was cut short
            return _interrupted(error)
        if _debugging():
            raise
        _say(f"internal error: {type(error).__name__}: {error} (AGENTRL_DEBUG=1 shows where)")
        return INTERNAL_ERROR


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0 if argv else USAGE_ERROR
    if argv[0] in ("-V", "--version"):
        from agentrl import __version__

        sys.stdout.write(f"agentrl {__version__}\n")
        return 0
    verb = argv[0]
    if verb not in VERBS:
        kind = "flag" if verb.startswith("-") else "verb"
        raise UnknownName(f"unknown {kind} {verb!r}{nearest(verb, VERBS)} (agentrl --help)")
    from agentrl.cli.parser import Parser

    module = importlib.import_module(f"agentrl.cli.{verb}")
    own_help = getattr(module, "OWN_HELP", False)
    parser = Parser(prog=f"agentrl {verb}", description=module.__doc__, add_help=not own_help)
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(argv[1:]))
    return code


def _overview() -> str:
    lines = [
        "usage: agentrl VERB ...",
        "",
        "Trains LLM agents by reinforcement learning in multi-turn environments.",
        "",
    ]
    lines += [f"  {verb:9} {what}" for verb, what in VERBS.items()]
    lines += ["", "agentrl VERB --help shows the arguments of a verb; agentrl --version the version.", ""]
    return "\n".join(lines)


def _interrupted(error: BaseException) -> int:
    """A verb that can be continued raises KeyboardInterrupt with the command that does it."""
    how = f"; {error}" if isinstance(error, KeyboardInterrupt) and str(error) else ""
    _say(f"interrupted{how}")
    return 128 + noticed() if noticed() else INTERRUPTED


def _say(message: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"agentrl: {' '.join(message.split())}\n")
        sys.stderr.flush()


def _debugging() -> bool:
    return os.environ.get("AGENTRL_DEBUG", "") not in ("", "0")


if __name__ == "__main__":
    sys.exit(main())
