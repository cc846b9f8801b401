"""The cloud and the daemon as processes, and what the kernel says of them.

Responsible for worlds of any size, and for the few figures that all measurements are made of. It refuses to know what
is measured.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
HOME = TARGET / "bench"

ID, KEY = "AKIDbench", "the-secret-key"
CREATE, LIST = "CreateDiskBackup", "DescribeDiskBackups"
# No limit that anybody reaches.
LIFTED = 1_000_000
# The most that the daemon's configuration takes, a lane.
FASTEST = 1000
PATIENCE_S = 300


def disk(number):
    return f"disk-{number:08x}"


def cpu_s(pid):
    """Seconds of processor time of a process and its threads, to the nanosecond: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def memory_mib(pid, line="VmRSS"):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{line}:\s+(\d+) kB", text, re.M)[1]) / 1024


def instant(text):
    """Seconds since the epoch, of RFC 3339 with any number of digits."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp() + float(f"0.{rest or 0}")


def next_minute(at_least_s):
    """The beginning of a minute, so many seconds away or more."""
    return (int(time.time() + at_least_s) // 60 + 1) * 60


def sleep_until(at):
    time.sleep(max(0, at - time.time()))


def wait_for(condition, what, patience_s=PATIENCE_S, every_s=0.05):
    until = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > until:
            raise RuntimeError(f"waited {patience_s} s in vain for {what}")
        time.sleep(every_s)
    return found


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


@contextmanager
def folder():
    """On the disk that the build is on: /tmp may be in memory, where nothing is durable."""
    (HOME / "tmp").mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=HOME / "tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Process:
    """A program with its output in files; killed at the end."""

    def __init__(self, command, place, name, environment=None):
        self.out, self.err = place / f"{name}.out", place / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.began = time.monotonic()
            self.process = subprocess.Popen(
                [str(word) for word in command], stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                env={**os.environ, "NO_PROXY": "127.0.0.0/8", "no_proxy": "127.0.0.0/8", **(environment or {})},
            )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"ended with {self.process.returncode}: {self.err.read_text()[-2000:]}")

    def says(self, word):
        """Waits for a line of its output."""
        def said():
            self.check()
            return any(line.startswith(word) for line in self.out.read_text().splitlines())
        wait_for(said, f"`{word}`", patience_s=120, every_s=0.01)

    def cpu_s(self):
        return cpu_s(self.pid)

    def memory_mib(self, line="VmRSS"):
        return memory_mib(self.pid, line)

    def settle(self, quiet=0.02, for_s=3):
        """Waits until it does next to nothing."""
        def is_quiet():
            before = self.cpu_s()
            time.sleep(for_s)
            self.check()
            return self.cpu_s() - before < quiet * for_s
        wait_for(is_quiet, "a process to come to rest")


class Cloud(Process):
    """The simulator."""

    def __init__(self, programs, place, disks, limit=LIFTED, identities=(ID,), **timings):
        # In turn of each account, as many as there are; of one region each, four.
        def a_disk(number):
            at = {"account": identities[number % len(identities)], "region": REGIONS[number // 3 % 4][0]}
            return {"id": disk(number), "quota": 1_000_000, **(at if len(identities) > 1 else {}),
                    "tags": {"backup": "nightly"}, "instances": [f"ins-{number:08x}"]}
        state = {
            "seed": 3,
            "credentials": [{"secret_id": one, "secret_key": KEY, "identity": one} for one in identities],
            "rate_limits": {CREATE: limit, LIST: limit, "DescribeDisks": max(100, limit), "DeleteDiskBackups": limit},
            "timings": {"create_ms": [200, 600], **timings},
            "disks": [a_disk(number) for number in range(disks)],
        }
        (place / "cloud.json").write_text(json.dumps(state))
        super().__init__([programs / "cbs-sim", "--state", place / "cloud.json", "--listen", "0.0.0.0:0"], place, "cloud")
        self.says("listening")
        self.port = int(self.out.read_text().strip().rsplit(":", 1)[1])
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def ask(self, route, value=None):
        body = None if value is None else json.dumps(value).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/_sim/{route}", body)) as answer:
            return json.load(answer)

    def creates(self):
        """The creates that arrived, each with its instant in seconds since the epoch."""
        found = [one for one in self.ask("ledger")["requests"] if one["action"] == CREATE]
        for one in found:
            one["at"] = instant(one["arrival"])
        return found


REGIONS = [("ap-guangzhou", 1), ("ap-shanghai", 2), ("ap-beijing", 3), ("ap-singapore", 4)]


def peak_in_any_second(instants):
    """The most of these in any [t, t + 1 s)."""
    instants, first, peak = sorted(instants), 0, 0
    for last, at in enumerate(instants):
        while at - instants[first] >= 1:
            first += 1
        peak = max(peak, last - first + 1)
    return peak


class Daemon(Process):
    """`cbs-backupd run`, its log in a file."""

    def __init__(self, programs, place):
        self.position, self.counts = 0, {}
        super().__init__(
            [programs / "cbs-backupd", "run", "--log-format", "json",
             "--config", place / "config.yaml"],
            place, "daemon", CREDENTIALS,
        )

    def read(self):
        """Counts the events that were logged since."""
        with self.err.open("rb") as log:
            log.seek(self.position)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.position += len(whole)
        for event in re.findall(rb'"event":"([a-z_.]+)"', whole):
            self.counts[event.decode()] = self.counts.get(event.decode(), 0) + 1
        self.check()
        for bad in ("backup.failed", "daemon.fault", "journal.unwritable", "discover.failed", "reconcile.failed"):
            if self.counts.get(bad):
                line = next(line for line in self.err.read_text().splitlines() if f'"event":"{bad}"' in line)
                raise RuntimeError(line)
        return self.counts

    def until(self, event, count=1, every_s=0.1):
        wait_for(lambda: self.read().get(event, 0) >= count, f"{count} {event}", every_s=every_s)

    def until_ready(self):
        """Seconds from its start until it is ready, and of processor time."""
        self.until("daemon.ready", every_s=0.002)
        return time.monotonic() - self.began, self.cpu_s()

    def stop(self):
        self.process.terminate()
        if self.process.wait(timeout=120) != 0:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}")


CREDENTIALS = {"TENCENTCLOUD_SECRET_ID": ID, "TENCENTCLOUD_SECRET_KEY": KEY}


def configure(place, port, disks, schedule, rate_limit=FASTEST, lanes=1, select=False, guard="0ms", more="", job=""):
    """Writes the daemon's configuration. `lanes`: 1, or 12 for three accounts in four regions, each disk in one of them."""
    targets, jobs = [], []
    credentials = place / "credentials"
    credentials.write_text("".join(f"[{one}]\nsecret_id = {one}\nsecret_key = {KEY}\n" for one in ACCOUNTS))
    for lane in range(lanes):
        account, (region, address) = ACCOUNTS[lane % 3], REGIONS[lane // 3 % 4]
        key = f", credentials: {{ source: file, path: {credentials}, profile: {account} }}" if lanes > 1 else ""
        targets.append(
            f'  t{lane}: {{ region: {region}, endpoint: "http://127.0.0.{address}:{port}", rate_limit: {rate_limit}{key} }}'
        )
        of_lane = [disk(number) for number in range(disks) if number % lanes == lane]
        what = "select: { tags: { backup: nightly } }" if select else "disks:\n" + "".join(f"      - {one}\n" for one in of_lane)
        jobs.append(f"  - name: nightly-{lane}\n    target: t{lane}\n    schedule: {schedule}\n{job}    {what}")
    text = (
        f"owner: ops1\ntimezone: UTC\nstate_dir: {place / 'state'}\nsettle: 1s\nguard: {guard}\n{more}"
        "targets:\n" + "\n".join(targets) + "\njobs:\n" + "\n".join(jobs) + "\n"
    )
    (place / "config.yaml").write_text(text)


ACCOUNTS = ["AKIDa", "AKIDb", "AKIDc"]


def daily(at, spread=None):
    """A schedule that is due at this instant."""
    civil = datetime.fromtimestamp(at, timezone.utc)
    cron = f'"{civil.minute} {civil.hour} * * *"'
    return f"{{ cron: {cron}, spread: {spread} }}" if spread else cron


NEVER = '"0 0 29 2 *"'


@contextmanager
def night(programs, disks, schedule, limit=LIFTED, lanes=1, select=False, timings=None, **config):
    """A cloud and a daemon that has come to know it."""
    with ExitStack() as running:
        place = running.enter_context(folder())
        identities = ACCOUNTS if lanes > 1 else (ID,)
        cloud = running.enter_context(Cloud(programs, place, disks, limit, identities, **(timings or {})))
        configure(place, cloud.port, disks, schedule, lanes=lanes, select=select, **config)
        daemon = running.enter_context(Daemon(programs, place))
        daemon.until_ready()
        yield cloud, daemon, place


def command(programs, place, *arguments, good=(0,)):
    """Runs a command: its output, the seconds that it took, and of processor time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [programs / "cbs-backupd", *arguments, *(["--config", place / "config.yaml"] if place else [])],
        capture_output=True, text=True, env={**os.environ, **CREDENTIALS},
    )
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in good:
        raise RuntimeError(f"{arguments}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout, took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
