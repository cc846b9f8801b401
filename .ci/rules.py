"""What is said of alerts holds: each has a unit test that notices when it changes, a section of the runbook, commands
that exist, and names of metrics that the daemon has; so has the dashboard. .ci/alerts starts it, with what it needs.
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "target/tools/monitoring/usr/bin"
DAEMON = ROOT / "target/debug/cbs-backupd"
RULES = ROOT / "config/prometheus/rules.yml"
TESTS = ROOT / "config/prometheus/rules_test.yml"
DASHBOARD = ROOT / "config/grafana/cbs-backupd.json"
RUNBOOK = ROOT / "docs/alerts.md"
METRICS = ROOT / "docs/metrics.md"
SEVERITIES = {"critical", "warning", "info"}
# What Grafana puts in the place of its variables.
VARIABLES = {
    "$__rate_interval": "5m", "$__interval": "1m", "$__range": "1d", "$instance": ".+", "$job": ".+",
}  # fmt: skip


def succeeds(*command):
    """Whether a command succeeds, and what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def must(*command):
    good, said = succeeds(*command)
    assert good, f"{' '.join(map(str, command))}:\n{said}"
    return said


def known_metrics(rules):
    """The names of series that there are: the daemon's, and the recorded ones."""
    rows = re.findall(r"^\| `(?:cbs_backupd_)?(\w+)(?:\{[^`]*\})?` \| (\w+)", METRICS.read_text(), re.M)
    assert len(rows) > 30, f"{METRICS} has a row for each metric"
    names = {"up", "ALERTS"} | {rule["record"] for rule in rules if "record" in rule}
    for name, kind in rows:
        parts = ["_bucket", "_sum", "_count"] if kind.lower() == "histogram" else [""]
        names |= {f"cbs_backupd_{name}{part}" for part in parts}
    return names


def check_names(where, text, known):
    for name in re.findall(r"(?<![\w:])(?:[\w]+:)?cbs_backupd_\w+(?::\w+)?", text):
        assert name in known, f"{where}: {METRICS.name} has no {name}"


def check_commands(where, text):
    """Each command of the daemon, with each of its options, exists."""
    for command, options in set(re.findall(r"cbs-backupd ([a-z]+)((?: (?:--[a-z-]+|[A-Za-z{][^\s`]*|\}\}|\$\S+))*)", text)):
        if command in {"on", "does"}:
            continue
        good, usage = succeeds(DAEMON, command, "--help")
        assert good, f"{where}: there is no `cbs-backupd {command}`"
        for option in re.findall(r"--[a-z-]+", options):
            assert f"{option} " in usage or f"{option}\n" in usage, f"{where}: `{command}` has no {option}"


def check_alert(alert, sections):
    name = alert["alert"]
    assert alert["labels"].keys() == {"severity"} and alert["labels"]["severity"] in SEVERITIES, f"{name}: severity"
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "command", "runbook"}, f"{name}: annotations"
    assert annotations["runbook"] == f"docs/alerts.md#{name.lower()}", f"{name}: runbook"
    assert name in sections, f"{name}: {RUNBOOK.name} has no section for it"
    command = annotations["command"].replace("{{ $labels.job }}", "db-nightly")
    command = command.replace("{{ $labels.event }}", "owner.conflict").replace("{{ $labels.instance }}", "127.0.0.1:9750")
    assert command in sections[name], f"{name}: its section does not have `{command}`"


def minutes(text):
    """A duration of promtool, in minutes."""
    units = {"d": 1440, "h": 60, "m": 1, "s": 1 / 60}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([dhms])", text))


def check_tested(name, groups):
    """Somewhere it is quiet, then fires, then is quiet."""
    for group in groups:
        tests = sorted(group["alert_rule_test"], key=lambda test: minutes(test["eval_time"]))
        assert all(test["alertname"] == name for test in tests), f"{name}: its group tests another"
        fires = "".join("F" if test["exp_alerts"] else "q" for test in tests)
        assert re.fullmatch(r"q+F+q+", fires), f"{name}: its tests are {fires}"
    assert groups, f"{name} has no unit test"


def mutants(alert):
    """The alert, changed a little, in each way that its tests must notice."""
    if "for" in alert:
        amount, unit = int(alert["for"][:-1]), alert["for"][-1]
        seconds = amount * {"m": 60, "h": 3600, "d": 86400}[unit]
        for other in [seconds // 2, seconds * 2]:
            yield f"for: {other}s", {**alert, "for": f"{other}s"}
    expr = alert["expr"]
    changes = [(r" > ", " >= "), (r" < ", " <= "), (r" == (\d)", r" != \1"), (r"last_over_time\((.*?)\[\w+\]\)", r"\1"),
               (r" and on .*$", ""), (r"\s(and|unless)\s+(on|ignoring) .*", "")]  # fmt: skip
    for pattern, other in changes:
        for found in re.finditer(pattern, expr, re.S):
            changed = expr[: found.start()] + found.expand(other) + expr[found.end() :]
            yield changed, {**alert, "expr": changed}


def survives(rules, name, mutant, groups, folder):
    """Whether the tests of an alert take a mutant for it."""
    rules = copy.deepcopy(rules)
    for group in rules["groups"]:
        group["rules"] = [mutant if rule.get("alert") == name else rule for rule in group["rules"]]
    # No file can be taken for that of another mutant.
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "rules.yml").write_text(json.dumps(rules))
    for group in groups:
        tests = {"rule_files": ["rules.yml"], "evaluation_interval": group["interval"], "tests": [group]}
        (place / "tests.yml").write_text(json.dumps(tests))
        if not succeeds(PROGRAMS / "promtool", "test", "rules", place / "tests.yml")[0]:
            return False
    return True


def check_noticed(rules, alerts, groups):
    """Runs each mutant; gives how many there were."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        cases = []
        for alert in alerts:
            name = alert["alert"]
            assert survives(rules, name, alert, groups[name], folder), f"{name}: its tests alone do not pass"
            for what, mutant in mutants(alert):
                cases.append((name, what, pool.submit(survives, rules, name, mutant, groups[name], folder)))
        left = [f"{name}: {what}" for name, what, survived in cases if survived.result()]
        assert not left, "nothing notices that an alert is changed to\n  " + "\n  ".join(left)
        return len(cases)


def queries(node):
    """Every query in a dashboard."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "expr")
        if node.get("type") == "query" and isinstance(query := node.get("query"), dict | str):
            text = query if isinstance(query, str) else query.get("query", "")
            yield from re.findall(r"label_values\((.*),\s*\w+\)", text)
        for value in node.values():
            yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


def check_dashboard(known):
    """What the program makes is what lies there, and each query is one. Gives how many."""
    must(Path(sys.executable).with_name("mypy"), "--strict", "--no-error-summary", ROOT / "config/grafana/dashboard.py")
    made = must(sys.executable, ROOT / "config/grafana/dashboard.py")
    assert made == DASHBOARD.read_text(), f"{DASHBOARD} is not what config/grafana/dashboard.py makes of it"
    asked = sorted(set(queries(json.loads(made))))
    plain = []
    for query in asked:
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        assert "$" not in query, f"{query}: what becomes of this variable?"
        check_names(DASHBOARD.name, query, known)
        plain.append(query)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        group = [{"record": f"query:{at}", "expr": query} for at, query in enumerate(plain)]
        json.dump({"groups": [{"name": "queries", "rules": group}]}, file)
        file.flush()
        must(PROGRAMS / "promtool", "check", "rules", file.name)
    return len(asked)


def main():
    must(PROGRAMS / "promtool", "check", "rules", RULES)
    must(PROGRAMS / "promtool", "check", "config", "--syntax-only", RULES.with_name("prometheus.yml"))
    must(PROGRAMS / "amtool", "check-config", RULES.with_name("alertmanager.yml"))
    must(PROGRAMS / "promtool", "test", "rules", TESTS)

    rules, tests = yaml.safe_load(RULES.read_text()), yaml.safe_load(TESTS.read_text())
    listed = [rule for group in rules["groups"] for rule in group["rules"]]
    alerts = [rule for rule in listed if "alert" in rule]
    known = known_metrics(listed)
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.M | re.S))
    groups = {}
    for group in tests["tests"]:
        groups.setdefault(group["name"], []).append(group)

    check_names(RULES.name, " ".join(rule["expr"] for rule in listed), known)
    check_names(TESTS.name, TESTS.read_text(), known)
    check_commands(RULES.name, "\n".join(alert["annotations"]["command"] for alert in alerts))
    check_commands(RUNBOOK.name, RUNBOOK.read_text())
    for alert in alerts:
        check_alert(alert, sections)
        check_tested(alert["alert"], groups.get(alert["alert"], []))
    assert sections.keys() == {alert["alert"] for alert in alerts}, f"{RUNBOOK.name} has a section for no alert"
    print(f"{len(alerts)} alerts: each tested, with a section of the runbook and commands that exist")
    print(f"{check_noticed(rules, alerts, groups)} alerts changed a little: each noticed by a test")
    print(f"{check_dashboard(known)} queries of the dashboard: each parsed, with known names")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
