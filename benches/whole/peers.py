"""What people use today, doing the same on the same simulator.

Responsible for starting each as its users would, and for what it takes. Their programs are in benches/peers, their
versions pinned there; `.ci/bench` installs them.
"""

import math
import os
import resource
import subprocess
import time

from world import HOME, ID, KEY, ROOT, Cloud, Process, disk, folder

PYTHON = HOME / "python/bin/python"
TCCLI = HOME / "python/bin/tccli"
# tccli is started anew for each backup: so many are enough to know the next.
SAMPLE = 20


class Peer:
    """A resident process of which each disk's backup is due at an instant."""

    def __init__(self, name, command):
        self.name, self.command = name, command

    def start(self, place, cloud, disks, due, over=1):
        return Process([*self.command(cloud.endpoint, disks, int(due), over)], place, "peer")


def script(program, file):
    return lambda *arguments: [program, file, *arguments]


def rust(programs):
    def command(endpoint, disks, due, over):
        return [programs / "cron-peer", "--endpoint", endpoint, "--disks", disks, "--due", due, "--over", over]
    return command


def residents(tools):
    """Those that stay in memory, as a daemon does."""
    return [
        Peer("Python", script(PYTHON, ROOT / "benches/peers/apscheduler_peer.py")),
        Peer("Node", script("node", HOME / "node/node_cron_peer.mjs")),
        Peer("tokio-cron-scheduler", rust(tools)),
    ]


class Took:
    """What a peer took for so many backups due at once."""

    def __init__(self, cpu, idle_mib, most_mib, lags, doubled):
        # Seconds; MiB; seconds from each disk's due instant to its first create; creates that were one too many.
        self.cpu, self.idle_mib, self.most_mib, self.lags, self.doubled = cpu, idle_mib, most_mib, lags, doubled

    def twice(self):
        """What there is to say of the creates that were one too many."""
        return f", {self.doubled} of them twice" if self.doubled else ""


def night(programs, peer, disks, over=1):
    """All disks once. Each peer has a cloud of its own: one disk has one backup at a time."""
    with folder() as place, Cloud(programs, place, disks) as cloud:
        # Time enough to add the jobs.
        due = math.ceil(time.time()) + 5 + disks // 500
        with peer.start(place, cloud, disks, due, over) as process:
            process.says("ready")
            if time.time() > due - 1:
                raise RuntimeError(f"{peer.name} was not ready in time")
            time.sleep(max(0, due - 1 - time.time()))
            before, idle = process.cpu_s(), process.memory_mib()
            process.says("done")
            took = process.cpu_s() - before
            most = process.memory_mib("VmHWM")
        creates = cloud.creates()
    first = {}
    for one in creates:
        first.setdefault(one["disk_id"], one["at"] - due - int(one["disk_id"][5:], 16) % over)
    if len(first) != disks:
        raise RuntimeError(f"{peer.name}: {len(first)} disks of {disks}")
    return Took(took, idle, most, list(first.values()), len(creates) - disks)


def tccli(programs, calls):
    """Seconds of processor time of a backup, of so many made as cron would make them: a process each."""
    with folder() as place, Cloud(programs, place, calls + 1) as cloud:
        environment = {**os.environ, "HOME": str(place), "NO_PROXY": "127.0.0.1"}

        def create(number):
            subprocess.run(
                [TCCLI, "cbs", "CreateDiskBackup", "--DiskId", disk(number), "--DiskBackupName", "nightly",
                 "--region", "ap-guangzhou", "--secretId", ID, "--secretKey", KEY, "--endpoint", cloud.endpoint],
                check=True, capture_output=True, env=environment,
            )

        # The first writes what the others read: its settings, compiled modules.
        create(calls)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for number in range(calls):
            create(number)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / calls
