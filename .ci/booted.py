"""A machine of its own: Debian with systemd as the first process, in namespaces, from a root file system that is made once.

Responsible for making it, booting it, running commands in it, and for leaving nothing behind, however the caller ends. It
refuses to know what is tested.
"""

import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target/systemd"
# What the tests and the package use beyond the smallest Debian.
INCLUDE = ["systemd", "dbus", "procps", "ca-certificates"]
NSPAWN = ["--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--resolv-conf=off",
          "--timezone=off", "--console=pipe", "--boot"]
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Skipped(Exception):
    """This machine does not allow it."""


def install(programs):
    """Installs the Debian packages of programs that are not there."""
    missing = sorted({package for program, package in programs.items() if not shutil.which(program)})
    if missing:
        print(f"missing, and installed now (as root): {' '.join(missing)}", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdin=subprocess.DEVNULL)
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def allowed():
    """Raises Skipped, with the reason, where namespaces or control groups may not be made."""
    if os.geteuid() != 0:
        raise Skipped("it takes root")
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True, text=True,
    )
    if tried.returncode != 0:
        raise Skipped(f"namespaces are not allowed here: {tried.stderr.strip()}")


def release():
    """The machine's own Debian release: what was built here finds its libraries there."""
    text = Path("/etc/os-release").read_text()
    name = re.search(r"^VERSION_CODENAME=(\w+)", text, re.M)
    if not name or not re.search(r"^ID=debian$", text, re.M):
        raise Skipped("this machine is no Debian, and what is built on it need not run on one")
    return name[1]


def mirrors(codename):
    """Where the machine's own apt takes that release from."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    lines = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        origin, uri, name, component = line.split(" ", 3)
        if origin == "Debian" and name.split("-")[0] == codename:
            lines.setdefault(f"deb {uri} {name}", []).append(component)
    return [f"{line} {' '.join(components)}" for line, components in lines.items()]


def root_file_system():
    """An archive of one, made once for what goes into it."""
    codename = release()
    sources = mirrors(codename)
    if not sources:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdin=subprocess.DEVNULL)
        sources = mirrors(codename)
    if not sources:
        raise AssertionError("apt's sources have no Debian")
    mark = hashlib.sha256("\n".join([codename, *INCLUDE, *sources]).encode()).hexdigest()[:12]
    archive = PLACE / f"{codename}-{mark}.tar"
    if not archive.exists():
        begun = time.monotonic()
        PLACE.mkdir(parents=True, exist_ok=True)
        part = archive.with_name(f"{archive.stem}.{os.getpid()}.part.tar")
        # Proxies and the like, as the machine's own apt has them.
        dumped = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
        settings = [f"--aptopt={line}" for line in dumped.splitlines() if re.match(r"Acquire::(https?|ftp|Retries)\b", line)]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INCLUDE)}", *settings]
        try:
            subprocess.run([*command, codename, str(part), *sources], check=True, stdin=subprocess.DEVNULL)
            part.rename(archive)
        finally:
            part.unlink(missing_ok=True)
        for old in set(PLACE.glob("*.tar")) - {archive}:
            old.unlink()
        print(f"{archive.name}: made in {time.monotonic() - begun:.0f} s", flush=True)
    return archive


class Groups:
    """A control group of the machine's own in each hierarchy that systemd keeps: two machines at once are no affair of each other."""

    def __init__(self):
        self.paths = []
        mounted = {}
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
                mounted[kind] = Path(fields.split()[4])
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, name, path = line.split(":", 2)
            kind = {"": "cgroup2", "name=systemd": "cgroup"}.get(name)
            if kind in mounted:
                group = mounted[kind] / path.lstrip("/") / f"cbs-backupd-ci-{os.getpid()}"
                try:
                    for left in group.parent.glob("cbs-backupd-ci-*"):
                        if is_gone(left):
                            remove_group(left)
                    group.mkdir()
                except OSError as error:
                    self.remove()
                    raise Skipped(f"control groups may not be made here: {error}") from error
                self.paths.append(group)

    def enter(self):
        for path in self.paths:
            (path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        for path in self.paths:
            remove_group(path)


def is_gone(path):
    """Whether what bears the number of a process outlived it: who was killed could not clean up."""
    return not Path(f"/proc/{path.name.rsplit('-', 1)[1]}").exists()


def remove_group(path):
    """Removes a control group of ours, and the processes in it."""
    for file in path.rglob("cgroup.procs"):
        for pid in file.read_text().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
    for folder, _, _ in os.walk(path, topdown=False):
        until(f"{folder} is empty", lambda folder=folder: removed(folder), 10)


def removed(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def until(what, condition, seconds):
    """Waits for a condition; what it gave when it held."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return found


class Machine:
    """A booted machine; as a context manager it is gone afterwards."""

    def __enter__(self):
        allowed()
        install({"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap"})
        archive = root_file_system()
        for left in PLACE.glob("machine-*"):
            if is_gone(left):
                shutil.rmtree(left)
        self.process = None
        self.groups = Groups()
        self.folder = PLACE / f"machine-{os.getpid()}"
        # An interruption is to unwind, and so to clean up.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
        signal.signal(signal.SIGHUP, lambda *_: sys.exit("interrupted"))
        try:
            self.boot(archive)
        except BaseException:
            self.__exit__()
            raise
        return self

    def boot(self, archive):
        begun = time.monotonic()
        self.root = self.folder / "root"
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "-xf", archive, "-C", self.root], check=True)
        (self.root / "etc/machine-id").write_text("")
        self.console = self.folder / "console"
        parent = os.getpid()

        def child():
            self.groups.enter()
            # Should this caller be killed, systemd-nspawn powers the machine off.
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                ["systemd-nspawn", *NSPAWN, f"--directory={self.root}", "--machine=cbs-backupd-ci"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=child, start_new_session=True,
            )
        self.leader = until("the first process", self.first_process, 20)
        until("systemd answers", lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip()
              in ("running", "degraded"), 60)
        print(f"booted in {time.monotonic() - begun:.1f} s: {self.run('systemctl', '--version').stdout.splitlines()[0]}", flush=True)

    def first_process(self):
        if self.process.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended:\n{self.console.read_text(errors='replace')}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            # The first process takes all others with it.
            os.kill(getattr(self, "leader", None) or self.process.pid, signal.SIGKILL)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.groups.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise AssertionError(f"{self.folder} could not be removed")

    def run(self, *command, check=True, text=None, seconds=150):
        """Runs a command in the machine, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
             "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=", *command],
            input=text, stdin=None if text is not None else subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def write(self, path, text, mode=0o644):
        """Writes a file of the machine."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def copy(self, source, path):
        """Copies a file into the machine."""
        (self.root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.root / path.lstrip("/"))

    def outside(self, pid):
        """The number by which this machine's host knows a process."""
        namespace = os.readlink(f"/proc/{self.leader}/ns/pid")
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == namespace:
                    inside = re.search(r"^NSpid:.*\t(\d+)$", (entry / "status").read_text(), re.M)
                    if inside and int(inside[1]) == pid:
                        return int(entry.name)
            except OSError:
                continue
        raise AssertionError(f"process {pid} is not there")
