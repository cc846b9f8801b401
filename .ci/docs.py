#!/usr/bin/env python3
"""Carries out what the Markdown files and man pages say, with the binaries that `cargo build` made.

    .ci/docs.py [FILE ...]         default: all *.md and man/*.8 that git knows

A fenced block's info string says what becomes of it:

    sh                  run in a temporary folder; must exit with 0
    sh background       the same, left running; must end with 0 at SIGTERM, when its document ends
    sh no-run: WHY      not run
    yaml [NAME]         written to NAME in that folder and given to `cbs-backupd check`
    yaml no-check: WHY  not given to it
    json                one value, or one a line
    text                for the eye alone
    text output         the output of the `sh` block before it, to the letter

Commands reach a simulated cloud by environment variables, and `cargo run --release --` means the binary at hand. The
folder stands in for a machine: /etc/cbs-backupd, /var/lib/cbs-backupd and /root are in it, what .ci/machine has stands in
for the programs of its names, and `settle` is a second. An example of a man page is a `sh` block; one of `run`, in the background.
Besides: every relative link and its anchor leads somewhere, every source file that is named exists, every event
that is shown is one of docs/events.md, and each document of ARCHITECTURE.md and docs/ says when it was last revised.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
MACHINE = ROOT / ".ci/machine"
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)
# What a background command says when others may rely on it.
READY = re.compile(r"daemon\.ready|listening on (\S+)")
PATIENCE_S = 300

# A backup that the cloud has already: young enough for any `objective`.
DUE = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
CLOUD = {
    "credentials": [{"secret_id": "AKIDdocs", "secret_key": "docs"}],
    "timings": {"create_ms": [1000, 2000], "rollback_ms": [1000, 2000]},
    "disks": [
        {"id": "disk-1a2b3c4d", "quota": 10, "instances": ["ins-1a2b3c4d"], "tags": {"backup": "nightly"}},
        {
            "id": "disk-5e6f7a8b",
            "quota": 10,
            "state": "UNATTACHED",
            "tags": {"backup": "nightly"},
            "backups": [{"id": "dbp-0a1b2c3d", "name": f"ops1_db-nightly_{DUE:%Y%m%dT%H%M%SZ}", "created": f"{DUE:%Y-%m-%dT%H:%M:%SZ}"}],
        },
    ],
}
# What a man page's examples are about.
CONFIGURATION = """
owner: ops1
targets:
  default: { region: ap-guangzhou }
jobs:
  - name: db-nightly
    disks: [disk-1a2b3c4d, disk-5e6f7a8b]
    schedule: "30 18 * * *"
    keep: { last: 3 }
"""
# Debian's packages of what the documents use besides.
TOOLS = ["jq", "sqlite3"]


class Wrong(Exception):
    """A document says what is not so."""


class Background:
    """A command that runs until its document ends."""

    def __init__(self, command, folder, environment):
        self.log = folder / f"background-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 30
        while not (ready := READY.search(self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > until:
                raise Wrong(f"is not ready:\n{self.log.read_text()}")
            time.sleep(0.05)
        self.address = ready[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            code = self.process.wait(timeout=30)
        except (ProcessLookupError, subprocess.TimeoutExpired) as error:
            self.process.kill()
            raise Wrong(f"a background command did not end well: {error}") from error
        if code != 0:
            raise Wrong(f"a background command ended with {code}:\n{self.log.read_text()[-2000:]}")


def tracked():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def run(command, folder, environment):
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    if done.returncode != 0:
        raise Wrong(f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def block(info, body, document, folder, environment, events, running):
    """Does what a block says; gives a word on what was done. What a command prints is left in `output`, in the folder."""
    output = folder / "output"
    language, _, rest = info.partition(" ")
    if rest.startswith(("no-run: ", "no-check: ")):
        return rest
    if language == "sh":
        for sibling in document.parent.iterdir():
            if sibling.is_file() and sibling.name in body and not (folder / sibling.name).exists():
                (folder / sibling.name).write_bytes(sibling.read_bytes())
        body = body.replace("cargo run --release --", "cbs-backupd")
        for path, there in [("/etc/cbs-backupd", "."), ("/var/lib/cbs-backupd", "state"), ("/root", "root")]:
            body = re.sub(rf"(?<![\w.]){path}(?![\w-])", str(folder / there), body)
        if rest == "background":
            command = ["bash", "-euc", f"exec {body.strip()}"]
            running.enter_context(Background(command, folder, environment))
            return "runs"
        if not rest:
            output.write_text(run(["bash", "-euo", "pipefail", "-c", body], folder, environment))
            return "ran"
    elif language == "yaml":
        name = rest or "config.yaml"
        (folder / name).write_text(body)
        run(["cbs-backupd", "check", "--config", name], folder, environment)
        return "checked"
    elif language == "json" and not rest:
        try:
            values = [json.loads(body)]
        except ValueError:
            values = [json.loads(line) for line in body.splitlines()]
        for value in values:
            if isinstance(value, dict) and value.get("event") not in [None, *events]:
                raise Wrong(f"{value['event']} is no event of docs/events.md")
        return "read"
    elif language == "text" and not rest:
        return "shown"
    elif language == "text" and rest == "output":
        lines = lambda text: [line.rstrip() for line in text.strip().splitlines()]
        if lines(body) != lines(output.read_text()):
            raise Wrong(f"the output is not this, but\n{output.read_text()}")
        return "compared"
    raise Wrong(f"`{info}` is no info string of a block; see .ci/docs.py")


def examples(page):
    """The examples of a man page, as blocks: line, info string, body."""
    for match in re.finditer(r"^\.EX\n((?:.*\n)*?)\.EE$", page, re.M):
        body = match[1].replace("\\-", "-").replace("\\*(Aq", "'").replace("\\e", "\\")
        info = "sh"
        if body.startswith("cbs-backupd run"):
            info = "sh background"
        elif body.startswith("cbs-backupd demo"):
            info = "sh no-run: README.md has it, and it takes two minutes"
        elif body.startswith("cbs-backupd notify-test"):
            info = "sh no-run: nobody is there to be told"
        yield page.count("\n", 0, match.start()) + 1, info, body


def carry_out(document, text, events):
    """Runs the blocks of a document, in order, in one folder."""
    is_page = document.parent.name == "man"
    blocks = [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in FENCE.finditer(text)]
    blocks = list(examples(text)) if is_page else blocks
    if not blocks:
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        folder = Path(folder)
        (folder / "cloud.json").write_text(json.dumps(CLOUD))
        (folder / "root").mkdir()
        if is_page:
            (folder / "config.yaml").write_text(CONFIGURATION)
        environment = {
            "HOME": str(folder),
            "PATH": f"{MACHINE}:{BIN}:{os.environ['PATH']}",
            "NO_PROXY": "127.0.0.1",
            "MACHINE": str(folder),
            "CBS_BACKUPD_CONFIG": str(folder / "config.yaml"),
            "CBS_BACKUPD__SETTLE": "1s",
            "TENCENTCLOUD_SECRET_ID": CLOUD["credentials"][0]["secret_id"],
            "TENCENTCLOUD_SECRET_KEY": CLOUD["credentials"][0]["secret_key"],
        }
        command = ["cbs-sim", "--listen", "127.0.0.1:0", "--state", "cloud.json"]
        # Popen looks a program up in our own PATH, not in the one it hands on.
        os.environ["PATH"] = environment["PATH"]
        cloud = running.enter_context(Background(command, folder, environment))
        environment["CBS_BACKUPD__STATE_DIR"] = str(folder / "state")
        environment["CBS_BACKUPD__TARGETS__DEFAULT__ENDPOINT"] = cloud.address
        running.callback(run, ["systemctl", "stop", "cbs-backupd"], folder, environment)
        if is_page and document.stem != "cbs-backupd-run":
            run(["systemctl", "start", "cbs-backupd"], folder, environment)
        for line, info, body in blocks:
            begun = time.monotonic()
            try:
                done = block(info, body, document, folder, environment, events, running)
            except (Wrong, subprocess.TimeoutExpired, ValueError) as error:
                raise Wrong(f"line {line}: {error}") from error
            print(f"{document.relative_to(ROOT)}:{line}: {info.split()[0]}: {done}, {time.monotonic() - begun:.1f} s")


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def references(document, text, files):
    """What a document points at: links and the names of files."""
    prose = FENCE.sub("", text)
    if re.search(r"\n\n    \S", prose):
        raise Wrong("an indented block of code: nothing checks it; fence it")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists():
            raise Wrong(f"the link {target} leads nowhere")
        if anchor and anchor not in anchors(there.read_text()):
            raise Wrong(f"the link {target}: there is no such heading")
    for name in re.findall(r"`([\w./-]+\.(?:rs|md|py|service|toml))`", prose):
        if not any(file == name or file.endswith(f"/{name}") for file in files):
            raise Wrong(f"there is no file `{name}`")


def revised(document, text):
    if document.parent.name == "docs" or document.name == "ARCHITECTURE.md":
        if not re.search(r"^Last revised \d{4}-\d\d-\d\d\.$", text, re.M):
            raise Wrong("does not say `Last revised YYYY-MM-DD.`")


def install():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"{' and '.join(missing)} is missing; installing Debian's (as root)")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "--no-install-recommends", *missing], check=True)


def main():
    install()
    files = tracked()
    documents = sys.argv[1:] or [file for file in files if re.fullmatch(r".*\.md|man/.*\.8", file)]
    events = re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/events.md").read_text(), re.M)
    faults = 0
    for document in map(Path.resolve, map(Path, documents)):
        text = document.read_text()
        try:
            if document.suffix == ".md":
                references(document, text, files)
                revised(document, text)
            carry_out(document, text, events)
        except Wrong as wrong:
            faults += 1
            print(f"{document.relative_to(ROOT)}: {wrong}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
