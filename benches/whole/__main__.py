"""Measures whole processes, and writes the table: `.ci/bench` calls this, once all is built and installed."""

import argparse
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import peers
import rows
from result import Result, table
from world import HOME, ROOT

RESULTS = HOME / "results.json"
DOCUMENT = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- .ci/bench writes from here -->\n", "<!-- to here -->\n"
# A core is busy with other work if more than this share of it is.
BUSY = 0.15


def busy_share():
    """Of one core, what runs when nothing of ours does."""
    def ticks():
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4]
    before = ticks()
    time.sleep(1)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK")


def fsync_ms():
    """The median of a hundred, of a page each, where the journals are."""
    took = []
    with (HOME / "fsync").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    (HOME / "fsync").unlink()
    return sorted(took)[50] * 1000


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def machine():
    """Lines on what it was measured on and against; no name and no path."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text(), re.M)[1])
    frozen = dict(line.split("==") for line in said(peers.PYTHON, "-m", "pip", "freeze").splitlines() if "==" in line)
    modules = HOME / "node/node_modules"
    of_node = {name: json.loads((modules / name / "package.json").read_text())["version"] for name in ("node-cron", "tencentcloud-sdk-nodejs")}
    lock = (ROOT / "Cargo.lock").read_text()
    crate = {name: re.search(rf'name = "{name}"\nversion = "(.*)"', lock)[1] for name in ("tokio-cron-scheduler", "governor")}
    return [
        f"{os.cpu_count()} cores ({model[1] if model else platform.processor()}), {memory / 2**20:.0f} GiB; Linux {platform.release()}; "
        f"an fsync of a page takes {fsync_ms():.2f} ms",
        f"{said('rustc', '--version')}; " + "; ".join(f"{name} {version}" for name, version in crate.items()),
        f"{said(peers.PYTHON, '--version')}; APScheduler {frozen['APScheduler']}; tencentcloud-sdk-python {frozen['tencentcloud-sdk-python']}; "
        f"tccli {frozen['tccli']}",
        f"Node {said('node', '--version')}; " + "; ".join(f"{name} {version}" for name, version in of_node.items()),
    ]


def document(results, about):
    """The generated part of the document."""
    lines = [f"- {line}" for line in about]
    notes = [f"- `{result.name}`: {note}" for result in results for note in result.notes]
    marks = []
    if any(result.quick for result in results):
        marks.append("† in short (`--quick`): fewer disks, shorter times.")
    if any(result.busy for result in results):
        marks.append("‡ on a machine busy with other work: times are too long, and shares of processor time are not.")
    if any(result.unoptimized for result in results):
        marks.append("§ beside programs in Rust, or of single paths, that were built without optimizing: only to try the command out.")
    return "\n".join([
        "The machine, and what was measured against:", "", *lines, "", table(results), *marks, "", *notes, "",
    ])


def write(results, about):
    text = DOCUMENT.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    text = text[:begin] + "\n" + document(results, about).strip() + "\n\n" + text[end:]
    text = re.sub(r"^Last revised .*$", f"Last revised {date.today()}.", text, count=1, flags=re.M)
    DOCUMENT.write_text(text)


def main():
    known = {measure.__name__: measure for measure in rows.ROWS}
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--functions", type=str.split, required=True)
    parser.add_argument("names", nargs="*", choices=[[], *known], default=[])
    arguments = parser.parse_args()
    bench = rows.Bench(arguments.programs, arguments.tools, arguments.quick, arguments.functions)
    names = arguments.names or [name for name in known if name != "build"]
    if arguments.build and "build" not in names:
        names.append("build")

    HOME.mkdir(parents=True, exist_ok=True)
    # Whoever ends it finds all processes ended, and the large journal where it was.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lock = (HOME / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another .ci/bench runs")
    # What one that was killed has left.
    shutil.rmtree(HOME / "tmp", ignore_errors=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        before = busy_share()
        try:
            found = known[name](bench)
        except Exception as error:  # One that fails must not take the others along.
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        is_busy = max(before, busy_share()) > BUSY
        for result in found:
            result.unoptimized = arguments.tools.name == "debug" and name in rows.WITH_TOOLS
            result.quick, result.busy = arguments.quick and name not in ("size", "build"), is_busy and name != "size"
            kept[result.name] = result.to_json()
            print(result.row(), file=sys.stderr, flush=True)
        RESULTS.write_text(json.dumps(kept, indent=1))

    order = [row for name in known for row in rows.BRINGS.get(name, [name])]
    all_results = [Result(**kept[name]) for name in order if name in kept]
    print(table(all_results))
    lacking = [name for name in order if name not in kept and name != "build"]
    if lacking:
        print(f"docs/benchmarks.md stays as it is: not measured yet: {', '.join(lacking)}", file=sys.stderr)
    else:
        write(all_results, machine())
    sys.exit(1 if failed else 0)


main()
