"""Show the report of a run, an evaluation or several cells in the browser; it is rebuilt when the run has grown.

agentrl view runs/alfworld-epo-0
agentrl view runs/judged --port 8765 --no-browser
"""

import argparse
from pathlib import Path

from agentrl.cli.parser import whole_number, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, of training or of `agentrl eval --out`")
    parser.add_argument("--port", type=whole_number(), default=0, help="of 127.0.0.1; default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="say the address, and open no browser")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C.   Raises DataError for a folder with nothing to report, ConfigError for a port in use."""
    from agentrl.registry import load

    server = load("report", "agentrl.eval.report_server:open_server")(Path(args.run), args.port)
    write(f"the report of {args.run} is at {server.url} (Ctrl-C ends this)")
    try:
        if not args.no_browser:
            open_browser(server.url)
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
    return 0


def open_browser(url: str) -> None:
    """Open a window of a browser, where there is one: none that would take over this terminal."""
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(url)
