"""The learning curve's picture: a whole SVG document, with what the records say at the right height."""

import xml.etree.ElementTree as ElementTree

from agentrl.curve import BOTTOM, HEIGHT, TOP, draw_curve, draw_shares


def record(step: int, successes: int, kind: str = "validation") -> dict[str, object]:
    counts = {"episodes": 10, "successes": successes}
    return {"kind": kind, "step": step, "success": successes / 10, "tally": {"all": counts, "greedy": counts}}


def test_a_curve_is_a_document_with_a_point_for_every_validation() -> None:
    picture = draw_curve([record(0, 0), record(1, 3, "train"), record(2, 10)], "a < b & c")
    root = ElementTree.fromstring(picture)
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert [float(c.attrib["cy"]) for c in circles] == [HEIGHT - BOTTOM, TOP] * 2
    assert any("a < b & c" in (e.text or "") for e in root.iter())


def test_a_run_without_a_record_has_an_empty_picture() -> None:
    assert ElementTree.fromstring(draw_curve([], "nothing")).tag.endswith("svg")


def test_shares_are_lines_through_stages_with_their_intervals() -> None:
    picture = draw_shares(
        {"workspace": [(0, 8), (4, 8), (8, 8)], "a <b>": [(0, 8)] * 3}, ["2", "8", "32"], "By", "turns"
    )
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"2", "8", "32", "turns", "By", "workspace", "a <b>"} <= set(texts)
    points = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(points) == 6 and len({point.get("fill") for point in points}) == 2
    assert [float(point.get("cy", "")) for point in points[:3]] == [HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2, TOP]
