"""Charts of a reward that stands in for the true one."""

from agentrl.eval.report import write_report
from agentrl.eval.report_proxies import calibration_charts, proxy_charts
from tests.eval.report_runs import panel, train_records, write_run

EXPLOITED = train_records(
    5,
    reward__proxy=[0.0, 1.0, 2.0, 3.0, 4.0],
    reward__world=[0.0, 0.5, 1.0, 0.5, 0.25],
    kl__from_reference=[0.0, 0.1, 0.4, 0.3, 0.2],
)


def test_both_scores_are_drawn_over_the_distance_from_the_reference():
    *by_step, chart = proxy_charts(EXPLOITED)
    assert [c.title for c in by_step] == ["Proxy reward", "True reward"]
    proxy, true = chart.series
    assert list(proxy.points) == [(0.0, 0.0), (0.1, 0.25), (0.2, 1.0), (0.3, 0.75), (0.4, 0.5)]
    assert [y for _, y in true.points] == [0.0, 0.5, 0.25, 0.5, 1.0] and chart.x_name == "KL"


def test_without_a_distance_they_are_drawn_by_step_alone():
    records = [{k: v for k, v in record.items() if k != "kl/from_reference"} for record in EXPLOITED]
    assert [chart.title for chart in proxy_charts(records)] == ["Proxy reward", "True reward"]


def test_a_run_without_a_proxy_has_no_such_charts():
    assert proxy_charts(train_records(3, success=0.5)) == calibration_charts(train_records(3, success=0.5)) == []


def test_calibration_is_over_all_pairs_of_the_run():
    names = ("pairs_0", "right_0", "expected_0", "pairs_4", "right_4", "expected_4")
    values = ([4, 0], [2, 0], [2.2, 0], [0, 10], [0, 9], [0, 9.5])
    records = train_records(2, **{f"reward_model__{name}": v for name, v in zip(names, values, strict=True)})
    (chart,) = calibration_charts(records)
    assert list(chart.series[1].points) == [(0.55, 0.5), (0.95, 0.9)]


def test_the_report_of_such_a_run_shows_them(tmp_path):
    page = write_report(write_run(tmp_path / "run", {0: panel("01"), 5: panel("11")}, EXPLOITED)).read_text()
    assert "Over-optimisation" in page and "Proxy reward" in page and "reward/proxy" not in page
