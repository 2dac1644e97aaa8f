"""The page in a real browser, with the network off: nothing runs that is not its own, nothing leaves it, it works."""

import itertools
import time

import pytest

from agentrl.eval.report import write_report
from tests.eval.report_runs import episode, panel, train_records, write_cells, write_evaluation, write_run
from tests.eval.test_report import hostile_run
from tests.programs import needs_program

WIDTHS = {"desktop": 1280, "phone": 390}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-extensions"]


@pytest.fixture(scope="module")
def browser():
    """One for all tests of this file: each opens pages of its own in it."""
    program = needs_program("chromium-headless-shell")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture
def opened(browser):
    """Opens a page offline; at the end, that it said nothing on its console and asked nobody for anything."""
    said, asked, contexts = [], [], []

    def open_page(path, fragment="", **options):
        contexts.append(browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{path}{fragment}")
        page.wait_for_selector("#list li, main")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == [] and all(url.startswith(("file://", "data:")) for url in asked) and len(asked) <= 2


@pytest.fixture(scope="module")
def page_of_a_run(tmp_path_factory):
    before = [
        *panel("0011"),
        episode("long-0", ["look"] * 30, texts=["a hall"] * 30, success=False, ended="turn_limit"),
    ]
    after = [
        *panel("101"),
        episode("task-3", success=False, ended="turn_limit"),
        episode("long-0", ["take the needle"] * 12, seen="haystack"),
    ]
    learned = [episode("task-0", ["look"] * 2), episode("task-0", ["look"] * 9)]
    folder = tmp_path_factory.mktemp("report") / "run"
    train = train_records(4, success=[0.1, 0.2, 0.4, 0.5], entropy=[1.0, 0.9, 0.8, 0.7])
    return write_report(write_run(folder, {0: before, 4: after}, train, learned=learned))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    return write_report(hostile_run(tmp_path_factory.mktemp("hostile") / "run"))


def test_the_page_can_be_clicked_through(opened, page_of_a_run):
    page = opened(page_of_a_run)
    assert page.inner_text("#count") == "11 of 11 episodes; 6 won"
    page.select_option("select[name=state]", label="lost")
    assert page.inner_text("#count").startswith("5 of 11")
    page.click("#list li:first-child a")
    page.wait_for_selector("dialog[open] .turn")
    assert "lost" in page.inner_text("#reader-facts")
    first = page.inner_text("#reader-title")
    page.click("[data-go='1']")
    page.wait_for_selector(f"#reader-title:not(:text-is('{first}'))")
    page.click("#shut")
    assert not page.is_visible("dialog")


def test_text_is_found_in_what_was_seen_and_done(opened, page_of_a_run):
    page = opened(page_of_a_run)
    page.fill("input[name=text]", "THE NEEDLE")
    page.wait_for_selector("#count:text-matches('^1 of 11')")
    page.click("#list a")
    page.wait_for_selector("dialog[open] .turn")
    page.click("#other")
    page.wait_for_selector("mark.loops")
    assert "before training" in page.inner_text("#reader-facts")


def test_a_link_leads_to_its_episode(opened, page_of_a_run):
    page = opened(page_of_a_run, "#episode-4-4")
    page.wait_for_selector("dialog[open] .turn")
    assert page.inner_text("#reader-title") == "long-0"
    page.keyboard.press("Escape")
    page.click(".finding a[href^='#episode-'], .in-order a[href^='#episode-']")
    page.wait_for_selector("dialog[open] .turn")


def test_values_are_shown_under_the_cursor(opened, page_of_a_run):
    page = opened(page_of_a_run, viewport={"width": 1280, "height": 900})
    page.hover(".only-wide svg.chart")
    assert "held-out tasks" in page.inner_text("#tip") or "own episodes" in page.inner_text("#tip")


def test_the_essentials_can_be_read_without_javascript(opened, page_of_a_run):
    page = opened(page_of_a_run, java_script_enabled=False)
    text = page.inner_text("main")
    assert "Better" in text or "points" in text
    assert "take the needle" in text and "needs JavaScript" in text and "Check-up" in text
    assert not page.is_visible("#filters")


def test_nothing_is_wider_than_the_window(opened, hostile_page):
    page = opened(hostile_page)
    for scheme, (name, width) in itertools.product(("light", "dark"), WIDTHS.items()):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, scheme)
        page.click("#list li:first-child a")
        page.wait_for_selector("dialog[open] .turn")
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width, (name, scheme)
        page.click("#shut")


def test_what_a_hostile_world_says_does_not_run(opened, hostile_page):
    page = opened(hostile_page)
    title = page.title()
    assert "alert(1)" in title and page.evaluate("document.querySelectorAll('img, main script').length") == 0
    for number in range(12):
        page.evaluate(f"location.hash = '#episode-2-{number}'")
        page.wait_for_selector(f"dialog[open] #reader-title:text-matches(' {number}$')")
        assert page.evaluate("document.querySelectorAll('dialog :is(img, script)').length") == 0
    assert page.title() == title


def test_what_the_reward_leaves_open_unfolds_and_leads_to_its_episode(opened, page_of_a_run):
    page = opened(page_of_a_run)
    page.click("#rewards summary")
    assert "5.5 ± 3.5" in page.inner_text("#rewards")
    page.click(".finding:has-text('leaves the way open') a")
    page.wait_for_selector("dialog[open] .turn")
    assert "while learning · easy · 9 turns" in page.inner_text("#reader-facts")


@pytest.fixture(scope="module")
def page_of_an_evaluation(tmp_path_factory):
    played = [
        episode(
            f"task-{n // 2}",
            ["look", "take it"] if n % 3 else ["look", "look", "look", "go"],
            rollout=n % 2,
            kind=("find a lamp", "cool & place")[n // 2 % 2],
            difficulty=n // 2 / 4,
            success=bool(n % 3),
            texts=["a hall"] * 4,
            used={"prompt_tokens": 9, "output_tokens": 3 + n, "cost": 0.01, "reasoning": f"perhaps the shelf {n}"},
        )
        for n in range(10)
    ]
    usage = {"policy": {"cost": 0.2, "currency": "USD", "prices_of": "2025-10-01"}}
    folder = tmp_path_factory.mktemp("report") / "run"
    return write_report(write_evaluation(folder, played, usage=usage, repeats=2))


def test_numbers_of_the_tables_lead_to_the_episodes_that_they_count(opened, page_of_an_evaluation):
    page = opened(page_of_an_evaluation)
    assert page.inner_text("#count") == "10 of 10 episodes; 6 won"
    page.click("#types a:text-is('cool & place')")
    assert page.inner_text("#count").startswith("4 of 10")
    page.click("#types a:text-is('0.25')")
    assert page.inner_text("#count").startswith("2 of 10")
    page.click("#measures a:text-is('looping turns')")
    assert page.inner_text("#count").startswith("4 of 10") and page.input_value("select[name=marks]") == "loops"
    page.click("#measures a:has-text('own end')")
    assert page.inner_text("#count").startswith("10 of 10")


def test_thoughts_are_searched_and_read_and_episodes_ordered(opened, page_of_an_evaluation):
    page = opened(page_of_an_evaluation)
    page.select_option("select[name=order]", label="most tokens")
    assert page.inner_text("#list li:first-child a").startswith("lost") or "48 tokens" in page.inner_text("#list li")
    page.fill("input[name=text]", "the SHELF 7")
    page.wait_for_selector("#count:text-matches('^1 of 10')")
    page.click("#list a")
    page.wait_for_selector("dialog[open] .turn")
    assert "perhaps the shelf 7" in page.inner_text("#reader-body")
    assert "20 tokens written" in page.inner_text("#reader-facts") and "cost 0.02" in page.inner_text("#reader-facts")
    assert page.inner_text("#other") == "same task, 1 of 2"


def test_cells_are_sorted_by_a_click_and_lead_to_their_pages(opened, tmp_path):
    cells = {"a": {"played": panel("1000")}, "b": {"played": panel("1110")}, "c": {"played": panel("1100")}, "d": None}
    page = opened(write_report(write_cells(tmp_path / "m", cells)), viewport={"width": 1280, "height": 900})
    order = "[...document.querySelectorAll('.cells tbody tr th')].map((cell) => cell.textContent).join('')"
    page.click(".cells th button:text-is('success')")
    assert page.evaluate(order) == "bcad"
    page.click(".cells th button:text-is('success')")
    assert page.evaluate(order) == "dacb"
    page.click(".cells th button:text-is('success')")
    assert page.evaluate(order) == "abcd"
    assert page.evaluate("document.querySelector('.cells').closest('.scroll').scrollWidth") <= 1280


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_of_evaluations_are_no_wider_than_the_window(opened, page_of_an_evaluation, tmp_path, scheme, width):
    long = {
        "a" * 120: {"played": panel("1000")},
        "b" * 120: {"played": panel("11ff")},
        "c" * 120: {"played": panel("1110")},
    }
    for path in (page_of_an_evaluation, write_report(write_cells(tmp_path / "m", long))):
        page = opened(path, viewport={"width": WIDTHS[width], "height": 800}, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]


@pytest.mark.slow
def test_five_thousand_episodes_open_quickly_and_are_searched_while_one_types(opened, tmp_path):
    words = [f"you see a drawer {n} and a shelf {n * 7 % 13}" for n in range(12)]
    played = [episode(f"task-{n}", words, texts=words, success=n % 2 == 0) for n in range(5000)]
    path = write_report(write_run(tmp_path / "run", {0: played}, train_records(1, success=0.5)))
    started = time.perf_counter()
    page = opened(path)
    page.wait_for_selector("#list li")
    assert page.inner_text("#count").startswith("5,000 of 5,000")
    assert time.perf_counter() - started < 10  # under one second on an idle machine; a busy one is given room
    inner = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert inner < 5_000  # milliseconds; half a second on an idle machine
    page.fill("input[name=text]", "a shelf 7")
    page.select_option("select[name=state]", label="won")  # a search begins at once, and is dropped for the next one
    page.fill("input[name=text]", "TASK-4322")
    page.wait_for_selector("#count:text-matches('^1 of 5,000')")
    page.select_option("select[name=state]", label="all")
    page.fill("input[name=text]", "a shelf 7")
    page.wait_for_selector("#count:text-matches('^5,000 of 5,000')")
    started = time.perf_counter()
    page.fill("input[name=text]", "a shelf 77")
    page.wait_for_selector("#count:text-matches('^0 of 5,000')")
    assert time.perf_counter() - started < 5  # half a second: every text is held by now
