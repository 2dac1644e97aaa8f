"""`agentrl view`: what is served and what is not, to whom, and that it keeps up with the run."""

import http.client
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentrl.cli import view
from agentrl.cli.main import main
from agentrl.errors import ConfigError, DataError
from agentrl.eval import report_server
from agentrl.records import trajectory_line
from tests.eval.report_runs import episode, panel, write_cells, write_evaluation


@pytest.fixture
def serve():
    """Serves a folder; `get(path)` is (status, headers, body)."""
    servers = []

    def start(folder):
        server = report_server.open_server(folder)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))

        def get(path, method="GET", host=None):
            connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
            connection.putrequest(method, path, skip_host=host is not None)
            if host is not None:
                connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            found = answer.status, dict(answer.getheaders()), answer.read()
            connection.close()
            return found

        return get

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_page_and_what_stands_beside_it_are_served(tmp_path, serve):
    get = serve(write_evaluation(tmp_path / "e", panel("10")))
    status, headers, body = get("/")
    assert status == 200 and b"random on guess" in body and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    for name in ("report.html", "report.md", "report.json", "report.csv", "episodes.csv"):
        assert get(f"/{name}")[0] == 200
    assert get("/", method="HEAD")[::2] == (200, b"") and get("/?x=1#y")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/config.yaml",
        "/results.json",
        "/trajectories/step-000000.jsonl.gz",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "//secret",
        "/report.html/../../secret",
        "/report.html%00",
        "/secret\\..\\secret",
        "/link/secret",
        "/%ff%fe",
        "*",
    ],
)
def test_nothing_else_is_served(tmp_path, serve, path):
    folder = write_evaluation(tmp_path / "e", panel("10"))
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    status, _, body = serve(folder)(path)
    assert status == 404 and b"secret" not in body.replace(b"/secret", b"")


def test_the_cells_reports_are_served_and_those_outside_are_not(tmp_path, serve):
    write_evaluation(tmp_path / "other", panel("10"))
    get = serve(write_cells(tmp_path / "m", {"a": {"played": panel("10")}, "b": None}))
    assert get("/a/report.html")[0] == 200 and get("/a/episodes.csv")[0] == 200
    assert get("/b/report.html")[0] == get("/a/results.json")[0] == get("/a/../../other/report.html")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
def test_a_request_by_another_name_is_refused(tmp_path, serve, host):
    assert serve(write_evaluation(tmp_path / "e", panel("10")))("/", host=host)[0] == 403


def test_only_this_machine_can_ask(tmp_path):
    with report_server.open_server(write_evaluation(tmp_path / "e", panel("10"))) as server:
        assert server.server_address[0] == "127.0.0.1" and server.url == f"http://127.0.0.1:{server.server_address[1]}/"
        with pytest.raises(ConfigError, match="cannot be had"):
            report_server.open_server(tmp_path / "e", server.server_address[1])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(tmp_path, serve, method):
    assert serve(write_evaluation(tmp_path / "e", panel("10")))("/", method=method)[0] == 501


def test_the_report_is_rebuilt_when_the_run_has_grown(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(report_server, "REST", 0.0)
    folder = write_evaluation(tmp_path / "e", panel("10"), panel_of=["task-0", "task-1", "task-2"], over=False)
    get = serve(folder)
    assert b"Going on: 2 of 3" in get("/")[2]
    before = (folder / "report.html").stat().st_mtime_ns
    assert b"Going on: 2 of 3" in get("/")[2] and (folder / "report.html").stat().st_mtime_ns == before
    with (folder / "played.jsonl").open("a") as file:
        file.write(trajectory_line(episode("task-2")))
    assert b"Going on: 3 of 3" in get("/")[2]


def test_many_readers_at_once_get_whole_pages(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(report_server, "REST", 0.0)
    folder = write_evaluation(tmp_path / "e", panel("10"), panel_of=["task-0", "task-1", "task-2"], over=False)
    get = serve(folder)
    with (folder / "played.jsonl").open("a") as file:
        file.write(trajectory_line(episode("task-2")))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, ["/"] * 24))
    assert all(status == 200 and body.endswith(b"</html>") for status, _, body in answers)


def test_a_folder_with_nothing_to_report_is_one_line(tmp_path, capsys):
    with pytest.raises(DataError):
        report_server.open_server(tmp_path / "none")
    assert main(["view", str(tmp_path), "--no-browser"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_ends_it_with_one_line(tmp_path):
    folder = write_evaluation(tmp_path / "e", panel("10"))
    command = [sys.executable, "-m", "agentrl.cli.main", "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert (rest, errors, process.returncode) == ("", "agentrl: interrupted\n", 130)


def test_no_browser_takes_over_the_terminal(monkeypatch):
    import webbrowser

    opened = []

    class InTerminal(webbrowser.GenericBrowser):
        def open(self, url, new=0, autoraise=True):
            opened.append(url)

    window = webbrowser.BackgroundBrowser("true")
    monkeypatch.setattr(window, "open", opened.append, raising=False)
    found = [webbrowser.GenericBrowser("w3m"), window]
    monkeypatch.setattr(webbrowser, "get", lambda: found.pop(0))
    view.open_browser("one")
    view.open_browser("two")
    assert opened == ["two"]

    def none():
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "get", none)
    view.open_browser("three")
    assert opened == ["two"]
