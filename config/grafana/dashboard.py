"""Makes cbs-backupd.json, the dashboard, with Grafana's own Foundation SDK: what it writes is what Grafana reads.

    config/grafana/dashboard.py >config/grafana/cbs-backupd.json

takes the packages of .ci/alerts.requirements.txt. CI compares, and has each query parsed. To add a panel, add it to
its row in `rows`.
"""

import itertools
import sys
from collections.abc import Iterator
from typing import TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="$datasource")
OF_JOB = 'instance=~"$instance", job=~"$job"'
OF_INSTANCE = 'instance=~"$instance"'

Panel: TypeAlias = stat.Panel | table.Panel | timeseries.Panel
Query: TypeAlias = tuple[str, str]


def good_below(*steps: tuple[float, str]) -> builders.ThresholdsConfig:
    """Green below the first step, then its colour."""
    thresholds = [dashboard.Threshold(color="green", value=None)]
    thresholds += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(thresholds)


def query(expr: str, legend: str, ref_id: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend).ref_id(ref_id)


def number(
    title: str, means: str, expr: str, *steps: tuple[float, str], unit: str = "none", legend: str = "", width: int = 3
) -> Panel:
    """One figure, or one for each of a few."""
    return (
        stat.Panel()
        .title(title)
        .description(means)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(good_below(*steps))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query(expr, legend).instant())
        .height(4)
        .span(width)
    )


def graph(title: str, means: str, *queries: Query, unit: str = "none", stacked: bool = False, width: int = 8) -> Panel:
    """Lines over time."""
    mode = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    panel = (
        timeseries.Panel()
        .title(title)
        .description(means)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(30 if stacked else 5)
        .stacking(common_builders.StackingConfig().mode(mode))
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .height(8)
        .span(width)
    )
    for at, (expr, legend) in enumerate(queries):
        panel = panel.with_target(query(expr, legend, chr(ord("A") + at)).range())
    return panel


def listing(title: str, means: str, expr: str, *hidden: str, unit: str = "none", width: int = 12) -> Panel:
    """The series of now, a row each, the greatest first."""
    options: dict[str, object] = {"excludeByName": {name: True for name in ("Time", "__name__", *hidden)}}
    return (
        table.Panel()
        .title(title)
        .description(means)
        .datasource(SOURCE)
        .override_by_name("Value", [dashboard.DynamicConfigValue(id_val="unit", value=unit)])
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=options))
        .sort_by([common_builders.TableSortByFieldState().display_name("Value").desc(True)])
        .with_target(query(expr, "").instant().format(PromQueryFormat.TABLE))
        .height(8)
        .span(width)
    )


def rows() -> Iterator[tuple[str, list[Panel]]]:
    """The rows of the dashboard, with their panels from left to right; a line is 24 wide."""
    yield "Is every disk protected?", [
        number("Not answering", "Daemons that Prometheus has no answer of.",
               f'count(up{{job="cbs-backupd", {OF_INSTANCE}}} == 0) or vector(0)', (1, "red")),
        number("Not ready", "Daemons that answer, and make no backup.",
               f"count(cbs_backupd_ready{{{OF_INSTANCE}}} == 0) or vector(0)", (1, "red")),
        number("Disks", "Disks that jobs hold; one of two jobs counts twice.", f"sum(cbs_backupd_job_disks{{{OF_JOB}}})"),
        number("Beyond the objective", "Disks whose last good backup is too old, or missing.",
               f"sum(cbs_backupd_job_disks_beyond_objective{{{OF_JOB}}})", (1, "red")),
        number("Without a good backup", "Disks that have none at all.",
               f"sum(cbs_backupd_job_disks_without_good_backup{{{OF_JOB}}})", (1, "orange")),
        number("Failing", "Disks whose last run failed.",
               f"sum(cbs_backupd_job_disks_failing{{{OF_JOB}}})", (1, "orange")),
        number("Late", "Disks with a due backup past start_within.",
               f"sum(cbs_backupd_job_disks_late{{{OF_JOB}}})", (1, "orange")),
        number("Quota too small", "Disks whose quota does not do, or will be full.",
               f"sum(cbs_backupd_job_disks_quota_short{{{OF_JOB}}})", (1, "orange")),
        graph("Age of the last good backup, by the objective",
              "Of the oldest disk of each job; above 100 % the promise does not hold.",
              (f"cbs_backupd_job_last_good_backup_age_seconds{{{OF_JOB}}} / cbs_backupd_job_objective_seconds{{{OF_JOB}}}",
               "{{job}}"), unit="percentunit", width=12),
        graph("Disks failing and late", "By job.",
              (f"cbs_backupd_job_disks_failing{{{OF_JOB}}} > 0", "{{job}} failing"),
              (f"cbs_backupd_job_disks_late{{{OF_JOB}}} > 0", "{{job}} late"),
              (f"cbs_backupd_job_disks_beyond_objective{{{OF_JOB}}} > 0", "{{job}} beyond the objective"), width=12),
        listing("Oldest last good backups", "Empty with `per_disk: false`.",
                f"topk(20, cbs_backupd_disk_last_good_backup_age_seconds{{{OF_JOB}}})", unit="s"),
        listing("Next due", "From now.", f"cbs_backupd_job_next_due_timestamp_seconds{{{OF_JOB}}} - time()", unit="s"),
    ]  # fmt: skip
    yield "Runs", [
        graph("Runs that ended", "By their end, within an hour.",
              (f"sum by (outcome) (increase(cbs_backupd_runs_ended_total{{{OF_JOB}}}[1h]))", "{{outcome}}"), stacked=True),
        graph("Why runs failed or were skipped", "Within an hour.",
              (f'sum by (outcome, reason) (increase(cbs_backupd_runs_ended_total{{{OF_JOB}, outcome!="completed"}}[1h]))',
               "{{outcome}}: {{reason}}"), stacked=True),
        graph("Attempts", "By what became of them, a second.",
              (f"sum by (target, outcome) (rate(cbs_backupd_attempts_total{{{OF_INSTANCE}}}[$__rate_interval]))",
               "{{target}} {{outcome}}")),
        graph("Open runs", "The queue, by state.", (f"sum by (state) (cbs_backupd_runs_open{{{OF_INSTANCE}}})", "{{state}}"),
              stacked=True),
        graph("Lag", "From start_at to the first attempt.",
              (f"histogram_quantile(0.5, sum by (le) (rate(cbs_backupd_start_lag_seconds_bucket{{{OF_INSTANCE}}}[1h])))", "half"),
              (f"histogram_quantile(0.99, sum by (le) (rate(cbs_backupd_start_lag_seconds_bucket{{{OF_INSTANCE}}}[1h])))",
               "99 of 100"), unit="s"),
        graph("Completion", "From the first attempt to NORMAL.",
              (f"histogram_quantile(0.5, sum by (le) (rate(cbs_backupd_completion_seconds_bucket{{{OF_INSTANCE}}}[1h])))", "half"),
              (f"histogram_quantile(0.99, sum by (le) (rate(cbs_backupd_completion_seconds_bucket{{{OF_INSTANCE}}}[1h])))",
               "99 of 100"), unit="s"),
    ]  # fmt: skip
    yield "Cloud", [
        graph("Rate of lanes", "How much of its full rate each lane has; less than 100 % when the cloud throttles.",
              (f"instance_target_action:cbs_backupd_lane_rate:ratio{{{OF_INSTANCE}}}", "{{target}} {{action}}"),
              unit="percentunit"),
        graph("Calls that wait in lanes", "By action.",
              (f"sum by (target, action) (cbs_backupd_lane_waiting{{{OF_INSTANCE}}})", "{{target}} {{action}}"), stacked=True),
        graph("Throttles", "Within five minutes.",
              (f"sum by (target, action) (increase(cbs_backupd_lane_throttles_total{{{OF_INSTANCE}}}[5m]))",
               "{{target}} {{action}}"), stacked=True),
        number("Targets that do not answer", "The last call to them had no answer.",
               f"count(cbs_backupd_cloud_reachable{{{OF_INSTANCE}}} == 0) or vector(0)", (1, "red"), width=6),
        number("Credentials that fail", "They cannot be had, or are refused.",
               f"sum(cbs_backupd_credential_failing{{{OF_INSTANCE}}})", (1, "red"), width=6),
        number("Credentials end in", "Temporary ones, by target; they are renewed before.",
               f"cbs_backupd_credential_expiry_timestamp_seconds{{{OF_INSTANCE}}} - time()", unit="s", legend="{{target}}",
               width=6),
        number("Full disks", "Their quota leaves no place.", f"sum(cbs_backupd_target_disks_quota_full{{{OF_INSTANCE}}})",
               width=6),
        listing("Fullest disks", "Points by quota, as last asked. Empty with `per_disk: false`.",
                f"topk(20, cbs_backupd_disk_backups{{{OF_INSTANCE}}} / (cbs_backupd_disk_backup_quota{{{OF_INSTANCE}}} > 0))",
                "job", unit="percentunit"),
        graph("Events", "Those of a minute, without what each run has.",
              (f'sum by (event) (rate(cbs_backupd_events_total{{{OF_INSTANCE}, event!~"run.planned|backup.(requested|accepted|'
               'completed)|retention.kept"}[$__rate_interval])) * 60 > 0', "{{event}}"), width=12),
    ]  # fmt: skip
    yield "Daemon", [
        number("Journal cannot be written", "Daemons.",
               f"count(cbs_backupd_journal_writable{{{OF_INSTANCE}}} == 0) or vector(0)", (1, "red"), width=6),
        number("Clock wrong", "Daemons.", f"sum(cbs_backupd_clock_wrong{{{OF_INSTANCE}}})", (1, "red"), width=6),
        number("Version", "", f"count by (version) (cbs_backupd_build_info{{{OF_INSTANCE}}})", legend="{{version}}", width=6),
        number("Running for", "", f"time() - cbs_backupd_start_time_seconds{{{OF_INSTANCE}}}", unit="s", legend="{{instance}}",
               width=6),
        graph("Journal", "Its file and its write-ahead log.",
              (f"cbs_backupd_journal_size_bytes{{{OF_INSTANCE}}}", "{{instance}}"), unit="bytes"),
        graph("Notifications", "Within an hour.",
              (f"sum by (notifier, outcome) (increase(cbs_backupd_notifications_total{{{OF_INSTANCE}}}[1h]))",
               "{{notifier}} {{outcome}}"), stacked=True),
        graph("Ready", "How much of the last day due backups could be made.",
              (f"instance:cbs_backupd_ready:avg1d{{{OF_INSTANCE}}}", "{{instance}}"), unit="percentunit"),
    ]  # fmt: skip


def choice(name: str, label: str, asks: str) -> builders.QueryVariable:
    """A variable: all, or some of the values that there are."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": asks, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def main() -> None:
    board = (
        builders.Dashboard("cbs-backupd")
        .uid("cbs-backupd")
        .description("Is every disk protected, and if not, why? docs/alerts.md has what to do.")
        .tags(["backup", "cbs-backupd"])
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("1m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(choice("instance", "Daemon", "label_values(cbs_backupd_build_info, instance)"))
        .with_variable(choice("job", "Job", 'label_values(cbs_backupd_job_disks{instance=~"$instance"}, job)'))
    )
    ids = itertools.count(1)
    for title, panels in rows():
        board = board.with_row(builders.Row(title).id(next(ids)))
        for panel in panels:
            board = board.with_panel(panel.id(next(ids)))
    sys.stdout.write(JSONEncoder(indent=2, sort_keys=True).encode(board.build()) + "\n")


if __name__ == "__main__":
    main()
