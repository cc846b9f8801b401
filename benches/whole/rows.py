"""The measurements, one function each. Each gives rows of the table.

Responsible for what is measured, and how. A goal that is missed is a row that says so, and no error: figures are for
people to compare. What must hold at any speed is asserted.
"""

import hashlib
import json
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import time

import peers
from result import Result
from world import (
    CREATE, FASTEST, HOME, LIST, NEVER, ROOT, Cloud, Daemon, Process, command, configure, daily, disk, folder,
    instant, next_minute, night, peak_in_any_second, percentile, sleep_until, wait_for,
)


class Bench:
    """What measurements are made with."""

    def __init__(self, programs, tools, quick, functions):
        self.programs, self.tools, self.quick = programs, tools, quick
        # The command that runs benches/functions.rs.
        self.functions = functions

    def of(self, full, quick):
        return quick if self.quick else full


def ratio(ours, theirs):
    return f"1/{theirs / ours:,.1f}" if ours < theirs else f"{ours / theirs:.1f} times"


def accepted(creates):
    return [one for one in creates if one["executed"]]


def asserted_once(creates, disks):
    """Each disk once: what must hold whatever the figures are."""
    found = sorted(one["disk_id"] for one in accepted(creates))
    assert found == [disk(number) for number in range(disks)], f"{len(found)} backups of {disks} disks"


# --- at the cloud's limit -------------------------------------------------------------------------------------------


def rate(bench):
    disks, limit = bench.of(1000, 200), 20
    due = next_minute(30 + disks // 50)
    with night(bench.programs, disks, daily(due), limit=limit, rate_limit=limit, guard="1ms") as (cloud, daemon, _):
        daemon.until("backup.completed", disks)
        creates = cloud.creates()
    asserted_once(creates, disks)
    took = max(one["at"] for one in accepted(creates)) - due
    peak, throttled = peak_in_any_second([one["at"] for one in creates]), sum(bool(one["code"]) for one in creates)
    ideal = disks / limit
    with folder() as place, Cloud(bench.programs, place, 100, limit) as cloud:
        with Process([bench.tools / "bare-client", "--endpoint", cloud.endpoint, "--disks", 100, "--burst", limit], place, "peer") as peer:
            wait_for(lambda: peer.process.poll() is not None, "the bare client")
        burst = cloud.creates()
    refused = sum(bool(one["code"]) for one in burst)
    return [Result(
        "rate", f"{disks:,} backups due at once, {limit}/s",
        "within 1.04 x N/20 s; at most 20 arrivals in any second; none throttled",
        f"{took:.1f} s = {took / ideal:.3f} x N/20; {peak} arrivals at most; {throttled} throttled",
        f"a limiter with a burst of 20 (governor): {peak_in_any_second([one['at'] for one in burst])} arrivals, {refused} of 100 throttled",
        took <= 1.04 * ideal and peak <= limit and throttled == 0,
    )]


def shared(bench):
    disks, limit = bench.of(1000, 300), 10
    for_s = bench.of(60, 20)
    due = next_minute(30 + disks // 50)
    with night(bench.programs, disks, daily(due), limit=20, rate_limit=20, guard="1ms") as (cloud, daemon, _):
        sleep_until(due - 1)
        cloud.ask("limits", {CREATE: limit, LIST: limit})
        sleep_until(due + for_s)
        cloud.ask("limits", {CREATE: 20, LIST: 20})
        daemon.until("backup.completed", disks)
        creates = cloud.creates()
    asserted_once(creates, disks)
    took = max(one["at"] for one in accepted(creates)) - due
    ideal = for_s + (disks - for_s * limit) / 20
    throttled = sum(bool(one["code"]) for one in creates)
    return [Result(
        "shared", f"{disks:,} backups due at once; somebody else uses half of the limit for {for_s} s",
        "each once, none lost",
        f"{took:.1f} s, ideal {ideal:.0f} s; {throttled} throttled, each disk once", "-", True,
    )]


def selected(bench):
    disks, lanes = bench.of(10_000, 1_000), 12
    # The simulator counts a local caller's requests in one bucket: four times the limit of one region.
    limit = 20 * 4
    due = next_minute(30 + disks // 100)
    timings = {"create_ms": [20_000, 40_000], "visible_ms": [0, 300], "reply_ms": [1, 10]}
    with night(
        bench.programs, disks, daily(due), limit=limit, lanes=lanes, select=True, timings=timings, rate_limit=20, guard="1ms"
    ) as (cloud, daemon, _):
        daemon.until("disk.joined", disks)
        sleep_until(due - 1)
        idle = daemon.memory_mib()
        before = daemon.cpu_s()
        daemon.until("backup.completed", disks)
        took_cpu, most = daemon.cpu_s() - before, daemon.memory_mib("VmHWM")
        assert not daemon.counts.get("lane.throttled")
        creates = cloud.creates()
    asserted_once(creates, disks)
    took = max(one["at"] for one in accepted(creates)) - due
    ideal = disks / (lanes * 20)
    return [Result(
        "selected", f"{disks:,} disks of 3 accounts in 4 regions, found by their tag, due at once",
        "each once; 64 MiB at most",
        f"{took:.1f} s, ideal {ideal:.0f} s; {idle:.1f} MiB idle, {most:.1f} MiB at most; {took_cpu:.1f} s of CPU", "-",
        most <= 64,
    )]


# --- the limit lifted -----------------------------------------------------------------------------------------------


def cpu(bench):
    disks = 1000
    due = next_minute(20)
    with night(bench.programs, disks, daily(due)) as (cloud, daemon, _):
        sleep_until(due - 1)
        before = daemon.cpu_s()
        daemon.until("backup.completed", disks, every_s=0.5)
        ours = daemon.cpu_s() - before
        asserted_once(cloud.creates(), disks)
    nights = {peer.name: peers.night(bench.programs, peer, disks) for peer in peers.residents(bench.tools)}
    words = [f"{name} {took.cpu:.2f} s ({ratio(ours, took.cpu)}){took.twice()}" for name, took in nights.items()]
    _, bare = bare_client(bench, disks)
    words.append(f"the daemon's own client, signing and sending alone: {bare:.2f} s")
    calls = bench.of(peers.SAMPLE, 5)
    tccli = peers.tccli(bench.programs, calls) * disks
    words.append(f"tccli {tccli:.0f} s ({ratio(ours, tccli)}), from {calls} calls")
    return [Result(
        "cpu", f"CPU for {disks:,} backups, durable journal and their tracking included, limit lifted",
        "1/8 of the Python process, 1/1,000 of tccli", f"{ours:.2f} s", "; ".join(words),
        ours <= nights["Python"].cpu / 8 and ours <= tccli / 1000,
        ["No peer has a journal, tries again, or follows a backup to its end: they send the create alone."],
    )]


def bare_client(bench, disks):
    """Seconds, and of processor time, of the same creates by the daemon's HTTP client and signature alone."""
    with folder() as place, Cloud(bench.programs, place, disks) as cloud:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [bench.tools / "bare-client", "--endpoint", cloud.endpoint, "--disks", str(disks), "--fresh"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def lag(bench):
    disks, over = bench.of(10_000, 2_000), 60
    due = next_minute(25 + disks // 100)
    with night(bench.programs, disks, daily(due, "1m"), lanes=12) as (cloud, daemon, place):
        text, *_ = command(bench.programs, place, "next", "--json", "--count", "1", "--from", rfc3339(due - 1))
        starts = {one["disk_id"]: instant(one["start_at"]) for one in json.loads(text)}
        daemon.until("backup.completed", disks, every_s=0.5)
        creates = cloud.creates()
    asserted_once(creates, disks)
    ours = [one["at"] - starts[one["disk_id"]] for one in creates]
    found = {peer.name: peers.night(bench.programs, peer, disks, over) for peer in peers.residents(bench.tools)
             if peer.name in ("tokio-cron-scheduler", "Node")}
    p50, p99 = (percentile(ours, at) * 1000 for at in (50, 99))
    theirs = percentile(found["tokio-cron-scheduler"].lags, 99) * 1000
    words = [
        f"{name}: p50 {percentile(took.lags, 50) * 1000:.0f} ms, p99 {percentile(took.lags, 99) * 1000:.0f} ms{took.twice()}"
        for name, took in found.items()
    ]
    return [Result(
        "lag", f"lag from due instant to first byte, {disks:,} disks over a minute, limit lifted",
        "p99 at most 1/20 of tokio-cron-scheduler's", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms ({ratio(p99, theirs)})",
        "; ".join(words), p99 <= theirs / 20,
        [f"Both start {disks // over} disks at the beginning of each second. A lane lets at most {FASTEST:,} calls a second "
         "through, and the daemon has twelve here: three accounts in four regions. The peers have no limit at all."],
    )]


def rfc3339(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def throughput(bench):
    disks, lanes = bench.of(10_000, 2_000), 12
    due = next_minute(25 + disks // 100)
    with night(bench.programs, disks, daily(due), lanes=lanes) as (cloud, daemon, _):
        sleep_until(due - 1)
        before = daemon.cpu_s()
        daemon.until("backup.completed", disks, every_s=0.5)
        spent = daemon.cpu_s() - before
        creates = cloud.creates()
    asserted_once(creates, disks)
    arrivals = [one["at"] for one in creates]
    ours = disks / (max(arrivals) - due)
    took, _ = bare_client(bench, disks)
    bare = disks / took
    return [Result(
        "throughput", f"throughput, limit lifted, journal with synchronous=FULL ({disks:,} due at once)",
        "half of the same HTTP client without a journal, or better",
        f"{ours:,.0f} creates/s = {ours / bare:.2f} of it; {spent / disks * 1000:.2f} ms of CPU a backup",
        f"the same client, signing and sending alone: {bare:,.0f} creates/s", ours >= bare / 2,
        ["The daemon tracks backups to their end meanwhile, and the simulator has the same two cores as both."],
    )]


# --- at rest --------------------------------------------------------------------------------------------------------


def memory(bench):
    rows, found = [], {}
    many = bench.of(100_000, 20_000)
    with night(bench.programs, 1000, NEVER) as (_, daemon, _):
        daemon.settle()
        small = daemon.memory_mib(), daemon.memory_mib("RssAnon")
    with folder() as place, Cloud(bench.programs, place, many) as cloud:
        configure(place, cloud.port, many, NEVER)
        # What it has after a restart, as on any day but the first.
        with Daemon(bench.programs, place) as daemon:
            fresh = daemon.until_ready()
            daemon.settle()
            first = daemon.memory_mib(), daemon.memory_mib("RssAnon")
            daemon.stop()
        with Daemon(bench.programs, place) as daemon:
            again = daemon.until_ready()
            daemon.settle()
            large = daemon.memory_mib(), daemon.memory_mib("RssAnon")
            daemon.stop()
        _, check_s, check_cpu = command(bench.programs, place, "check")
    for peer in peers.residents(bench.tools):
        for disks in (1, 1000):
            with folder() as place, Cloud(bench.programs, place, disks) as cloud:
                with peer.start(place, cloud, disks, time.time() + 7200) as process:
                    process.says("ready")
                    time.sleep(2)
                    found[peer.name, disks] = process.memory_mib()
    names = dict.fromkeys(name for name, _ in found)
    rows.append(Result(
        "memory", f"idle memory (resident), 1,000 disks and {many:,} disks", "12 MiB and 64 MiB",
        f"{small[0]:.1f} MiB and {large[0]:.1f} MiB ({small[1]:.1f} and {large[1]:.1f} not of files); "
        f"{first[0]:.1f} MiB after the very first start",
        "; ".join(f"{name} {found[name, 1]:.0f} MiB with 1, {found[name, 1000]:.0f} MiB with 1,000" for name in names),
        (small[0] <= 12 and large[0] <= 64) if many == 100_000 else (False if small[0] > 12 or large[0] > 64 else None),
    ))
    rows.append(Result(
        "start", f"start to READY and `check`, {many:,} disks in YAML", "1 s",
        f"READY {again[0]:.2f} s ({again[1]:.2f} s of CPU), with a new journal {fresh[0]:.2f} s; "
        f"`check` {check_s:.2f} s ({check_cpu:.2f} s of CPU)", "-",
        (max(again[0], fresh[0], check_s) <= 1) if many == 100_000 else None,
    ))
    return rows


def idle(bench):
    disks, for_s = 10_000, bench.of(300, 30)
    found = {}
    with night(bench.programs, disks, NEVER) as (_, daemon, _):
        daemon.settle()
        with folder() as place, Cloud(bench.programs, place, disks) as cloud:
            due = time.time() + 7200
            processes = {}
            try:
                for peer in peers.residents(bench.tools):
                    processes[peer.name] = peer.start(place, cloud, disks, due)
                    processes[peer.name].says("ready")
                time.sleep(5)
                watched = {"ours": daemon, **processes}
                before = {name: process.cpu_s() for name, process in watched.items()}
                began = time.monotonic()
                time.sleep(for_s)
                took = time.monotonic() - began
                found = {name: (process.cpu_s() - before[name]) / took for name, process in watched.items()}
            finally:
                for process in processes.values():
                    process.__exit__()
    ours = found.pop("ours")
    return [Result(
        "idle", f"idle CPU with {disks:,} disks, over {for_s} s", "0.1 % of a core", f"{ours:.3%}",
        "; ".join(f"{name} {share:.3%}" for name, share in found.items()), ours <= 0.001,
    )]


# --- growth ---------------------------------------------------------------------------------------------------------

UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}


def divan(bench, which):
    """Medians in seconds, by the benchmark's argument."""
    done = subprocess.run([*bench.functions, which], cwd=ROOT, check=True, capture_output=True, text=True)
    line = re.compile(r"[├╰]─ (\S+) +[\d.]+ \S+ +│ [\d.]+ \S+ +│ ([\d.]+) (ns|µs|ms|s) ")
    found = {name: float(figure) * UNITS[unit] for name, figure, unit in line.findall(done.stdout)}
    if not found:
        raise RuntimeError(done.stdout)
    return found


def planning(bench):
    by_disks, by_due = divan(bench, "planning_100_due"), divan(bench, "planning_of_1000")
    first, last = by_disks["1000"], by_disks["1000000"]
    growth = ", ".join(f"{int(disks):,}: {took * 1000:.2f} ms" for disks, took in by_disks.items())
    dues = ", ".join(f"{int(due):,}: {took * 1000:.2f} ms" for due, took in by_due.items())
    return [Result(
        "planning", "a planning pass, 100 disks due of so many", "grows with what is due, not with what exists",
        f"{growth} (x {last / first:.2f}); of 1,000 disks so many due: {dues}", "-", last / first <= 1.5,
    )]


def journal(bench):
    """A journal of 10^7 finished runs: 10,000 disks, a thousand days."""
    disks, days = 10_000, bench.of(1000, 40)
    file = runs_of_years(bench, disks, days)
    with folder() as place:
        small = place / "few.sqlite3"
        writes(bench, 1000, small)
        # In turn: what else the disk does meets both.
        took = writes(bench, 200, small, file)
        few, many = (statistics.median(column) for column in zip(*took))
    with folder() as place:
        # No cloud: one that knew nothing of these backups would have each of them looked at, and written.
        configure(place, 9, disks, NEVER, more="history_keep: 4000d\n")
        (place / "state").mkdir()
        # The name alone is moved: the file is large. It comes back, whatever happens.
        there = place / "state/journal.sqlite3"
        file.rename(there)
        try:
            with Daemon(bench.programs, place) as daemon:
                start, start_cpu = daemon.until_ready()
                most = daemon.memory_mib("VmHWM")
                daemon.stop()
            _, status_s, status_cpu = command(bench.programs, place, "status", good=(0, 1))
            _, history_s, _ = command(bench.programs, place, "history", "--disk", disk(7))
        finally:
            there.rename(file)
    runs, size = disks * days, file.stat().st_size / 2**30
    full = days == 1000
    return [Result(
        "journal", f"journal with {runs:,} finished runs of {disks:,} disks ({size:.1f} GiB): start, `status`, one run's write",
        "start 2 s; status 0.2 s; a write no slower than at 10^3",
        f"start {start:.2f} s ({start_cpu:.2f} s of CPU, {most:.0f} MiB at most); `status` {status_s:.2f} s ({status_cpu:.2f} s of CPU); "
        f"`history` of a disk {history_s:.2f} s; a run's five writes {many:.1f} ms, with 1,000 runs {few:.1f} ms (x {many / few:.2f})", "-",
        (start <= 2 and status_s <= 0.2 and many <= 1.1 * few) if full else (False if start > 2 or status_s > 0.2 else None),
    )]


def writes(bench, runs, *files):
    """Milliseconds of the writes of each of so many runs, in each file."""
    done = subprocess.run([bench.tools / "bench-path", "writes", str(runs), *files], check=True, capture_output=True, text=True)
    return [[int(took) / 1000 for took in line.split()] for line in done.stdout.splitlines()]


def runs_of_years(bench, disks, days):
    """A journal with a finished run of each disk and day, made once: from one that the program itself made."""
    schema = (ROOT / "src/journal/migrations/0001_runs.sql").read_bytes()
    file = HOME / f"runs-{disks * days}-{hashlib.sha256(schema).hexdigest()[:12]}.sqlite3"
    if file.exists():
        return file
    for old in HOME.glob(f"runs-{disks * days}-*"):
        old.unlink()
    if shutil.disk_usage(HOME).free < (8 << 30):
        raise RuntimeError("less than 8 GiB are free")
    new = HOME / f"new-{file.name}"
    new.unlink(missing_ok=True)
    # One run that the program wrote, of which the others are copies.
    writes(bench, 1, new)
    with sqlite3.connect(new, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -1000000")
        indexes = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'runs' AND sql IS NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(runs)")]
        shift = {
            "job": "'nightly-0'", "disk": "printf('disk-%08x', d.value)", "target": "'t0'",
            "due": "r.due - 86400 * (? - n.value)",
            **{name: f"r.{name} - 86400000 * (? - n.value)" for name in ("start_at", "began_at", "ended_at")},
            # A backup of its own.
            "body": "replace(r.body, r.body ->> '$.backup', printf('dbp-%08x', d.value * 1000 + n.value))",
        }
        values = ", ".join(shift.get(name, f"r.{name}") for name in columns)
        numbers = [days] * values.count("?")
        db.execute("BEGIN")
        db.execute("CREATE TEMP TABLE one AS SELECT * FROM runs ORDER BY due DESC LIMIT 1")
        db.execute("DELETE FROM runs")
        db.execute(
            f"""WITH RECURSIVE d (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM d WHERE value < {disks} - 1)
                INSERT INTO runs ({', '.join(columns)})
                SELECT {values} FROM d CROSS JOIN (WITH RECURSIVE n (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n
                WHERE value < {days} - 1) SELECT value FROM n) n CROSS JOIN one r""",
            numbers,
        )
        for _, sql in indexes:
            db.execute(sql)
        # It knows what the cloud has, and which disks there are.
        db.execute("UPDATE epoch SET behind = 0")
        db.execute(
            f"""WITH RECURSIVE d (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM d WHERE value < {disks} - 1)
                INSERT INTO schedules SELECT 'nightly-0', printf('disk-%08x', d.value), '0 0 29 2 * UTC', (SELECT max(due) FROM one), 1835395200
                FROM d"""
        )
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    db.close()
    new.rename(file)
    return file


def year(bench):
    days, times = (365, 1) if not bench.quick else (30, 1)
    _, took, spent = command(bench.programs, None, "simulate", "--days", str(days), "--disks", "200", "--seed", "1", "--json")
    whole = took * 365 / days
    figure = f"{took:.1f} s ({spent:.1f} s of CPU)"
    if bench.quick:
        figure = f"{whole:.0f} s, from {days} days in {figure}"
    return [Result("year", "a simulated year, 200 daily disks with faults", "60 s", figure, "-", whole <= 60)]


def week(bench):
    """As many runs as a week of a thousand hourly disks has, of a real process: five thousand disks, every minute."""
    disks, minutes, every_s = bench.of(5_000, 1_000), bench.of(34, 5), 5
    keep = "    keep: { last: 3 }\n"
    with night(bench.programs, disks, '"* * * * *"', lanes=12, job=keep, more="history_keep: 1d\n") as (cloud, daemon, place):
        began, samples = time.time(), []
        while time.time() < began + minutes * 60:
            time.sleep(every_s)
            daemon.read()
            samples.append((time.time() - began, daemon.memory_mib("RssAnon"), daemon.memory_mib()))
        creates = len(accepted(cloud.creates()))
        size = sum(file.stat().st_size for file in (place / "state").iterdir()) / 2**20
    # Of the second half: before it there is still something to get to know.
    late = [sample for sample in samples if sample[0] > minutes * 30]
    slope = statistics.linear_regression([at for at, *_ in late], [mib for _, mib, _ in late]).slope
    a_run = slope * minutes * 60 / creates
    of_week = a_run * 168_000
    first, last = late[0], late[-1]
    return [Result(
        "week", f"memory over as many runs as a week of 1,000 hourly disks has: {disks:,} disks, every minute, {minutes} min, a real process",
        "flat (slope printed)",
        f"{of_week:+.2f} MiB in 168,000 runs ({a_run * 2**20:+.2f} bytes a run); {first[2]:.1f} MiB resident at half time, {last[2]:.1f} MiB at "
        f"the end, of {creates:,} runs ({creates / disks / minutes:.0%} of those due); journal {size:.0f} MiB", "-",
        of_week < 1,
        ["What runs leave behind is what matters, and not the hours between them: the runs are real, the hours are not waited for."],
    )]


# --- the program ----------------------------------------------------------------------------------------------------


def size(bench):
    mib = (bench.programs / "cbs-backupd").stat().st_size / 2**20
    return [Result("size", "binary size, release, stripped", "14 MB", f"{mib * 2**20 / 1e6:.1f} MB", "-", mib * 2**20 <= 14e6)]


def build(bench):
    place = HOME / "clean"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["cargo", "fetch", "--locked"], cwd=ROOT, check=True)
    began = time.monotonic()
    try:
        subprocess.run(
            ["cargo", "build", "--release", "--locked", "--offline", "--bin", "cbs-backupd", "--target-dir", place], cwd=ROOT, check=True
        )
        took = time.monotonic() - began
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return [Result("build", "build time from clean, release", "6 min on two cores", f"{took / 60:.1f} min", "-", took <= 360)]


ROWS = [rate, shared, selected, cpu, lag, throughput, memory, idle, planning, journal, year, week, size, build]
# The rows that one measurement brings besides the one of its name.
BRINGS = {"memory": ["memory", "start"]}
# Those that the programs of benches/src, or its functions, have a part in.
WITH_TOOLS = ["cpu", "lag", "throughput", "memory", "idle", "planning", "journal"]
