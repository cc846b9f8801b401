"""What somebody would write with APScheduler and the vendor's SDK: a resident process, one job a disk.

`apscheduler_peer.py ENDPOINT DISKS DUE OVER`: due at DUE, in seconds since the epoch, spread over so many seconds. Says
`ready` once all jobs are added, and `done` once each was answered; then it waits to be killed. Calls keep their
connections, and twenty are under way at once.
"""

import sys
import threading
from datetime import datetime, timedelta, timezone

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from tencentcloud.cbs.v20170312 import models
from tencentcloud.cbs.v20170312.cbs_client import CbsClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

endpoint, disks, due, over = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
http = HttpProfile(protocol="http", endpoint=endpoint.removeprefix("http://"), keepAlive=True)
client = CbsClient(Credential("AKIDbench", "the-secret-key"), "ap-guangzhou", ClientProfile(httpProfile=http))
answered = threading.Semaphore(0)


def create(disk):
    request = models.CreateDiskBackupRequest()
    request.DiskId = disk
    request.DiskBackupName = "nightly"
    client.CreateDiskBackup(request)
    answered.release()


scheduler = BackgroundScheduler(
    executors={"default": ThreadPoolExecutor(20)},
    job_defaults={"misfire_grace_time": 3600, "coalesce": True},
    timezone=timezone.utc,
)
for number in range(disks):
    at = datetime.fromtimestamp(due, timezone.utc) + timedelta(seconds=number % over)
    scheduler.add_job(
        create, "cron", [f"disk-{number:08x}"], hour=at.hour, minute=at.minute, second=at.second, id=str(number)
    )
scheduler.start()
print("ready", flush=True)
for _ in range(disks):
    answered.acquire()
print("done", flush=True)
threading.Event().wait()
