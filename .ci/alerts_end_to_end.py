"""A fault in the cloud becomes an alert at whoever is told, and its cure a recovery: cbs-sim, cbs-backupd, Prometheus,
Alertmanager and a webhook, each a process of its own. .ci/alerts starts it. Everything listens on loopback, lives in a
temporary folder, and is gone afterwards.

The configuration is that of config/prometheus, in which only addresses and times are changed: seconds for minutes.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
MONITORING = ROOT / ".ci/monitoring"
EXAMPLES = ROOT / "config/prometheus"
# The alerts that are brought about, in seconds; the others keep their times.
SHOWN = ["CbsBackupdDown", "CbsBackupdJobFailing", "CbsBackupdObjectiveMissed"]
PATIENCE_S = 60
BEGUN = time.monotonic()


def say(text):
    print(f"alerts: {time.monotonic() - BEGUN:5.1f} s: {text}", flush=True)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Told:
    """A webhook's receiver: what Alertmanager says, in order."""

    def __init__(self):
        told = self
        self.news = []
        self.changed = threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with told.changed:
                    told.news += body["alerts"]
                    told.changed.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def story(self, alert):
        """What was said of an alert: each change once, for a group's message repeats what its others are."""
        said = [one["status"] for one in self.news if one["labels"]["alertname"] == alert]
        return [status for at, status in enumerate(said) if at == 0 or said[at - 1] != status]

    def wait(self, alert, *story):
        """Until the story of an alert is this; gives the last that was said of it."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.story(alert) == list(story), PATIENCE_S):
                raise AssertionError(f"of {alert} was said {self.story(alert)}, not {story}; in all: {self.news}")
            say(f"{alert} {story[-1]}")
            return [one for one in self.news if one["labels"]["alertname"] == alert][-1]


class Program:
    """A process that ends with its block."""

    def __init__(self, stack, folder, *command, **environment):
        self.log = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        stack.callback(self.end, signal.SIGKILL)

    def end(self, how):
        """Ends it, if it has not ended, and gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def until(self, condition, what):
        """Waits until it is so."""
        until = time.monotonic() + PATIENCE_S
        while not (met := condition()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{self.log.name}: not {what}:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        return met

    def says(self, pattern):
        return self.until(lambda: re.search(pattern, self.log.read_text()), f"saying {pattern}")[0]

    def answers(self, url):
        def asked():
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    return reply.status == 200
            except OSError:
                return False

        self.until(asked, f"answering at {url}")


def replaced(text, *changes):
    """Each pattern stands in the text, and is replaced."""
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        assert count, f"the example has no {pattern} any more"
    return text


def configure(folder, ports, webhook):
    """Writes the examples, with addresses of here and times of a test."""
    rules = (EXAMPLES / "rules.yml").read_text()
    pending = rf"(alert: (?:{'|'.join(SHOWN)})\n(?:(?!- alert).*\n)*? +for: )\w+"
    (folder / "rules.yml").write_text(replaced(rules, (pending, r"\g<1>1s")))
    prometheus = replaced(
        (EXAMPLES / "prometheus.yml").read_text(),
        (r"/usr/share/cbs-backupd/prometheus/rules.yml", str(folder / "rules.yml")),
        (r"scrape_interval: \w+", "scrape_interval: 1s"),
        (r"127.0.0.1:9750", f"127.0.0.1:{ports['daemon']}"),
        (r"127.0.0.1:9093", f"127.0.0.1:{ports['alertmanager']}"),
    )
    (folder / "prometheus.yml").write_text(f"global: {{ evaluation_interval: 1s, scrape_timeout: 1s }}\n{prometheus}")
    alertmanager = replaced(
        (EXAMPLES / "alertmanager.yml").read_text(),
        (r"http://127.0.0.1:8080/alerts", webhook),
        (r"group_wait: \w+", "group_wait: 0s"),
        (r"group_interval: \w+", "group_interval: 1s"),
    )
    (folder / "alertmanager.yml").write_text(alertmanager)
    (folder / "config.yaml").write_text(f"""
owner: ops1
state_dir: {folder / "state"}
settle: 1s
metrics: {{ listen: "127.0.0.1:{ports["daemon"]}" }}
targets:
  default: {{ region: ap-guangzhou }}
jobs:
  - {{ name: db, disks: [disk-fails], schedule: "0 0 29 2 *" }}
  - {{ name: old, disks: [disk-old], schedule: "0 0 29 2 *", objective: 30m }}
""")


def world():
    """A cloud in which no backup can be made of one disk, and that of another is an hour old."""
    then = datetime.now(UTC) - timedelta(hours=1)
    old = {"id": "dbp-old", "name": f"ops1_old_{then:%Y%m%dT%H%M%SZ}", "created": f"{then:%Y-%m-%dT%H:%M:%SZ}"}
    refused = {"error": {"code": "UnsupportedOperation", "message": "by order of the test"}}
    return {
        "credentials": [{"secret_id": "AKIDalerts", "secret_key": "alerts"}],
        "timings": {"create_ms": [200, 400]},
        "disks": [{"id": "disk-fails", "quota": 9}, {"id": "disk-old", "quota": 9, "backups": [old]}],
        "faults": [{"action": "CreateDiskBackup", "disks": ["disk-fails"], "effect": refused}],
    }


def whole_way(stack, folder):
    told = Told()
    ports = {name: free_port() for name in ("daemon", "prometheus", "alertmanager")}
    configure(folder, ports, f"http://127.0.0.1:{told.server.server_port}/")
    (folder / "world.json").write_text(json.dumps(world()))

    cloud = Program(stack, folder, BIN / "cbs-sim", "--state", "world.json")
    endpoint = cloud.says(r"http://\S+")
    environment = {
        "TENCENTCLOUD_SECRET_ID": "AKIDalerts",
        "TENCENTCLOUD_SECRET_KEY": "alerts",
        "CBS_BACKUPD__TARGETS__DEFAULT__ENDPOINT": endpoint,
        "CBS_BACKUPD_CONFIG": str(folder / "config.yaml"),
        "NO_PROXY": "127.0.0.1",
    }

    def daemon():
        started = Program(stack, folder, BIN / "cbs-backupd", "run", **environment)
        started.says("daemon.ready")
        return started

    def backup(disk, expected):
        command = [BIN / "cbs-backupd", "backup", disk]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == expected, f"backup of {disk}: {done.returncode}\n{done.stdout}{done.stderr}"

    alertmanager = Program(
        stack, folder, MONITORING, "prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=alertmanager",
        f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
    )  # fmt: skip
    alertmanager.answers(f"http://127.0.0.1:{ports['alertmanager']}/-/ready")
    prometheus = Program(
        stack, folder, MONITORING, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    )  # fmt: skip
    prometheus.answers(f"http://127.0.0.1:{ports['prometheus']}/-/ready")

    # A daemon that was never started is missed.
    told.wait("CbsBackupdDown", "firing")
    running = daemon()
    told.wait("CbsBackupdDown", "firing", "resolved")
    # It has just begun, and knows how old its backups are.
    late = told.wait("CbsBackupdObjectiveMissed", "firing")
    assert late["labels"]["job"] == "old", late

    backup("disk-fails", 1)
    failing = told.wait("CbsBackupdJobFailing", "firing")
    assert failing["labels"]["job"] == "db", failing
    assert failing["annotations"]["runbook"] == "docs/alerts.md#cbsbackupdjobfailing", failing
    assert failing["annotations"]["command"] == "cbs-backupd history --job db --state failed", failing

    # Neither a stop nor a death of the daemon ends, or begins anew, what is so.
    assert running.end(signal.SIGTERM) == 0
    told.wait("CbsBackupdDown", "firing", "resolved", "firing")
    running = daemon()
    told.wait("CbsBackupdDown", "firing", "resolved", "firing", "resolved")
    assert told.story("CbsBackupdJobFailing") == told.story("CbsBackupdObjectiveMissed") == ["firing"], told.news

    # The fault is lifted, and the backups are made.
    faults = urllib.request.Request(f"{endpoint}/_sim/faults", b"[]", {"Content-Type": "application/json"})
    urllib.request.urlopen(faults, timeout=5).close()
    backup("disk-fails", 0)
    told.wait("CbsBackupdJobFailing", "firing", "resolved")
    backup("disk-old", 0)
    told.wait("CbsBackupdObjectiveMissed", "firing", "resolved")

    running.end(signal.SIGKILL)
    told.wait("CbsBackupdDown", "firing", "resolved", "firing", "resolved", "firing")
    assert {one["labels"]["alertname"] for one in told.news} == set(SHOWN), told.news


def main():
    with tempfile.TemporaryDirectory(prefix="cbs-backupd-alerts-") as folder, ExitStack() as stack:
        whole_way(stack, Path(folder))
    say("from the cloud to whoever is told, and back: 3 alerts, 3 recoveries, none of them by a restart")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
