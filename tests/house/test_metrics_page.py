"""A page explains every metric that a run logs."""

from tests.house.metrics import explained, never_logged, unexplained


def test_a_metric_without_an_explanation_is_found(tmp_path):
    metrics, page = tmp_path / "metrics.jsonl", tmp_path / "metrics.md"
    metrics.write_text(
        '{"step": 1, "reward": 0.5, "ends": {"done": 3, "turn_limit": 1}}\n{"step": 2, "entropy/turn_3": 1}\n'
    )
    page.write_text("# Metrics\n## `step`\n| metric | what |\n|---|---|\n| `ends/<kind>` | `reward` is not here |\n")
    assert explained(page) == ["step", "ends/<kind>"]
    assert unexplained(metrics, page) == ["entropy/turn_3", "reward"]
    page.write_text("## `step`, `reward`\n### `ends/<kind>`, `entropy/turn_<n>`\n## `kl`\n")
    assert unexplained(metrics, page) == []
    assert never_logged([metrics], page) == ["kl"]
