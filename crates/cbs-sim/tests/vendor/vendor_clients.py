"""The vendor's own clients against the simulator: `vendor_clients.py http://127.0.0.1:PORT`.

What they accept, a client of ours may rely on. Prints each case with its calls; exits 1 if one fails.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from unittest import mock

import documented
from tencentcloud.cbs.v20170312 import models
from tencentcloud.cbs.v20170312.cbs_client import CbsClient
from tencentcloud.common import credential as credentials
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.sts.v20180813 import models as sts_models
from tencentcloud.sts.v20180813.sts_client import StsClient

ENDPOINT = sys.argv[1]
REGION = "ap-guangzhou"
DISK, SMALL = "disk-1a2b3c4d", "disk-5e6f7a8b"
ID, KEY = "AKIDvendor", "vendor-secret-key"
ACTIONS = [
    "CreateDiskBackup", "DescribeDiskBackups", "DeleteDiskBackups", "DescribeDisks", "ApplyDiskBackup",
    "CreateSnapshot", "DescribeSnapshots", "DeleteSnapshots",
]

# What was asked and answered in the current case.
said = []


def say(question, answer):
    said.append(f"{question} -> {answer if len(answer) < 200 else answer[:200] + '…'}")


def client(secret_id=ID, secret_key=KEY, token=None, region=REGION, unsigned_payload=False):
    http = HttpProfile(protocol="http", endpoint=ENDPOINT.removeprefix("http://"))
    profile = ClientProfile(httpProfile=http)
    profile.unsignedPayload = unsigned_payload
    return CbsClient(Credential(secret_id, secret_key, token), region, profile)


def call(action, _client=None, **fields):
    """Calls an action by the SDK's typed method; an unknown key in the answer is an error."""
    request = getattr(models, action + "Request")()
    request._deserialize(fields)
    question = f"{action} {json.dumps(fields, ensure_ascii=False)}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            answer = getattr(_client or client(), action)(request)
        except TencentCloudSDKException as error:
            say(question, f"{error.get_code()}: {error.get_message()}")
            raise
    say(question, answer.to_json_string())
    return answer


def error_of(action, _client=None, **fields):
    """Code and text of an error, as the SDK hands them on."""
    try:
        call(action, _client, **fields)
    except TencentCloudSDKException as error:
        assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", error.get_request_id()), error
        assert error.get_message(), error
        return error.get_code(), error.get_message()
    return "ok", ""


def code_of(action, _client=None, **fields):
    return error_of(action, _client, **fields)[0]


def steer(route, value):
    request = urllib.request.Request(f"{ENDPOINT}/_sim/{route}", json.dumps(value).encode(), method="POST")
    urllib.request.urlopen(request).close()


def ledger():
    with urllib.request.urlopen(f"{ENDPOINT}/_sim/ledger") as answer:
        return json.load(answer)


def create(name, disk=DISK):
    return call("CreateDiskBackup", DiskId=disk, DiskBackupName=name).DiskBackupId


def names(**query):
    return [backup.DiskBackupName for backup in call("DescribeDiskBackups", **query).DiskBackupSet]


numbers = itertools.count()


def fresh_disk(**more):
    disk = f"disk-{next(numbers):08}"
    steer("disks", [{"id": disk, "quota": 100, **more}])
    return disk


def tccli(action, _key=KEY, **fields):
    """The answer that the vendor's command line prints, or its complaint."""
    arguments = [word for name, value in fields.items() for word in ("--" + name, value)]
    with tempfile.TemporaryDirectory() as home:
        command = [os.path.join(os.path.dirname(sys.executable), "tccli"), "cbs", action, *arguments]
        command += ["--region", REGION, "--secretId", ID, "--secretKey", _key, "--endpoint", ENDPOINT]
        done = subprocess.run(command, env={**os.environ, "HOME": home}, capture_output=True, text=True)
    say(f"tccli {action} {' '.join(arguments)}", " ".join((done.stdout + done.stderr).split()))
    if done.returncode == 0:
        return json.loads(done.stdout)
    equal(done.returncode, 255)
    return done.stderr


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def case_create_describe_delete():
    backup = create("first")
    assert re.fullmatch(r"dbp-[0-9a-z]{8}", backup), backup
    found = call("DescribeDiskBackups", DiskBackupIds=[backup])
    equal((found.TotalCount, found.DiskBackupSet[0].DiskBackupState), (1, "NORMAL"))
    equal(code_of("DeleteDiskBackups", DiskBackupIds=[backup]), "ok")
    equal(call("DescribeDiskBackups", DiskBackupIds=[backup]).TotalCount, 0)
    equal(code_of("DeleteDiskBackups", DiskBackupIds=[backup]), "ResourceNotFound.NotFound")


def case_filters_and_order():
    disk = fresh_disk()
    made = [create(f"point-{number}", disk) for number in range(5)]
    of_disk = [{"Name": "disk-id", "Values": [disk]}]
    equal(names(Filters=of_disk, Order="DESC", OrderField="CREATE_TIME", Limit=1), ["point-4"])
    # By the documentation the oldest comes first, where nothing is said.
    equal(names(Filters=of_disk, Limit=2, Offset=1), ["point-1", "point-2"])
    both = [*of_disk, {"Name": "disk-backup-id", "Values": [made[2], made[3]]}]
    equal(names(Filters=both), ["point-2", "point-3"])
    equal(names(Filters=[{"Name": "disk-id", "Values": [SMALL]}]), [])
    equal(code_of("DescribeDiskBackups", DiskBackupIds=made, Filters=of_disk), "InvalidParameter")
    equal(code_of("DescribeDiskBackups", Filters=[{"Name": "name", "Values": ["x"]}]), "InvalidFilter")
    equal(code_of("DeleteDiskBackups", DiskBackupIds=made), "ok")
    equal(names(Filters=of_disk), [])


def case_paging():
    disk = fresh_disk()
    made = [create(f"page-{number}", disk) for number in range(25)]
    of_disk = [{"Name": "disk-id", "Values": [disk]}]
    pages = []
    for offset in range(0, 32, 8):
        page = call("DescribeDiskBackups", Filters=of_disk, Offset=offset, Limit=8)
        equal(page.TotalCount, 25)
        pages.append([backup.DiskBackupId for backup in page.DiskBackupSet])
    equal([len(page) for page in pages], [8, 8, 8, 1])
    equal(sum(pages, []), made)
    equal(len(names(Filters=of_disk)), 20)
    equal(len(names(Filters=of_disk, Limit=100)), 25)
    equal(names(Filters=of_disk, Offset=25), [])
    equal(code_of("DescribeDiskBackups", Limit=101), "InvalidParameterValue")


def case_a_backup_becomes_a_snapshot():
    disk = fresh_disk(quota=1)
    backup = create("promoted", disk)
    equal(code_of("CreateDiskBackup", DiskId=disk), "ResourceInsufficient.OverQuota")
    deadline = "2099-01-08T09:47:55+00:00"
    fields = {"DiskId": disk, "DiskBackupId": backup, "SnapshotName": "promoted"}
    equal(code_of("CreateSnapshot", **fields, Deadline="2022-01-08T09:47:55+00:00"), "InvalidParameterValue")
    snapshot = call("CreateSnapshot", **fields, Deadline=deadline).SnapshotId
    assert re.fullmatch(r"snap-[0-9a-z]{8}", snapshot), snapshot
    by_name = [{"Name": "disk-id", "Values": [disk]}, {"Name": "snapshot-name", "Values": ["promoted"]}]
    found = call("DescribeSnapshots", Filters=by_name)
    equal([(one.SnapshotId, one.SnapshotState) for one in found.SnapshotSet], [(snapshot, "NORMAL")])
    # The backup is consumed, and its place free.
    equal(call("DescribeDiskBackups", DiskBackupIds=[backup]).TotalCount, 0)
    create("next", disk)
    equal(code_of("CreateSnapshot", **fields), "ResourceNotFound.NotFound")
    equal(code_of("DeleteSnapshots", SnapshotIds=[snapshot]), "ok")
    equal(call("DescribeSnapshots", SnapshotIds=[snapshot]).TotalCount, 0)
    equal(code_of("DeleteSnapshots", SnapshotIds=[snapshot]), "InvalidSnapshotId.NotFound")


def case_disks_by_tag():
    tagged = call("DescribeDisks", Filters=[{"Name": "tag:backup", "Values": ["nightly"]}])
    equal([(disk.DiskId, disk.DiskBackupQuota) for disk in tagged.DiskSet], [(DISK, 100)])


def case_a_name_of_another_script():
    name = "备份 <&> é \"\\"
    backup = create(name)
    equal(names(DiskBackupIds=[backup]), [name])
    equal(ledger()["requests"][-2]["name"], name)


def case_wrong_credentials():
    for wrong, expected in [
        (client(secret_key="wrong"), "AuthFailure.SignatureFailure"),
        (client(secret_id="AKIDnobody"), "AuthFailure.SecretIdNotFound"),
        (client("AKIDtemporary", "temporary-secret-key", "old-token"), "AuthFailure.TokenFailure"),
    ]:
        equal(code_of("DescribeDisks", wrong), expected)
    equal(code_of("DescribeDisks", client("AKIDtemporary", "temporary-secret-key", "vendor-token")), "ok")


HOST = ENDPOINT.removeprefix("http://")
ROLE = "qcs::cam::uin/100:roleName/"

# The SDK's sources of credentials choose https, and their hosts, by themselves.
credentials.HttpProfile = lambda: HttpProfile(protocol="http")
credentials.CVMRoleCredential._role_endpoint = ENDPOINT + "/latest/meta-data/cam/security-credentials/"


def can_list(source):
    """Whether the SDK signs well with a source of its own; the credential that it then has."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=HOST))
    equal(call("DescribeDisks", CbsClient(source, REGION, profile), DiskIds=[DISK]).TotalCount, 1)
    return source.get_credential_info()


def case_a_machines_role():
    source = credentials.CVMRoleCredential()
    first = can_list(source)
    equal((source.get_role_name(), all(first)), ("backup", True))
    equal(can_list(source), first)
    left = source._expired_ts - time.time()
    assert 7190 < left <= 7200, left
    steer("end-issued", {})
    equal(code_of("DescribeDisks", client(*first)), "AuthFailure.TokenFailure")
    source._expired_ts = 0
    assert can_list(source) != first


def case_an_assumed_role():
    assumed = lambda role: credentials.STSAssumeRoleCredential(ID, KEY, ROLE + role, "test", 900, endpoint=HOST)
    first, second = can_list(assumed("backup")), can_list(assumed("backup"))
    assert first[0] != second[0]
    for role, expected in [("nobody", "ResourceNotFound.RoleNotFound"), ("guarded", "UnauthorizedOperation")]:
        try:
            assumed(role).token
        except TencentCloudSDKException as error:
            equal(error.get_code(), expected)
        else:
            raise AssertionError(f"{role} was assumed")


def case_an_assumed_role_with_an_external_id():
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=HOST))
    request = sts_models.AssumeRoleRequest()
    request.RoleArn, request.RoleSessionName, request.ExternalId = ROLE + "guarded", "test", "of-ours"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = StsClient(Credential(ID, KEY), REGION, profile).AssumeRole(request)
    of = answer.Credentials
    equal(code_of("DescribeDisks", client(of.TmpSecretId, of.TmpSecretKey, of.Token)), "ok")
    equal(code_of("DescribeDisks", client(of.TmpSecretId, of.TmpSecretKey)), "AuthFailure.TokenFailure")
    # In the shape of the documented answer.
    documented.check_like(json.loads(answer.to_json_string()), documented.example("AssumeRole", "sts/v20180813"), "AssumeRole")


def a_workload(file):
    source = credentials.DefaultTkeOIDCRoleArnProvider().get_credential()
    source.endpoint = HOST
    assert all(can_list(source))
    file.write("-no-more")
    file.flush()
    try:
        source.refresh()
    except TencentCloudSDKException as error:
        equal(error.get_code(), "InvalidParameter.WebIdentityTokenError")
    else:
        raise AssertionError("any token will do")


def case_a_workload_of_a_cluster():
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("of-the-pod")
        file.flush()
        pod = {
            "TKE_REGION": REGION,
            "TKE_PROVIDER_ID": "cls-1",
            "TKE_ROLE_ARN": ROLE + "pod",
            "TKE_WEB_IDENTITY_TOKEN_FILE": file.name,
        }
        # Not for the cases after it: the command line heeds them too.
        with mock.patch.dict(os.environ, pod):
            a_workload(file)


def case_an_unsigned_payload():
    equal(code_of("DescribeDisks", client(unsigned_payload=True), Limit=1), "ok")


def case_a_missing_disk_and_a_full_one():
    equal(code_of("CreateDiskBackup", DiskId="disk-99999999"), "InvalidDiskId.NotFound")
    create("only", SMALL)
    equal(code_of("CreateDiskBackup", DiskId=SMALL), "ResourceInsufficient.OverQuota")


def case_another_region():
    equal(code_of("DescribeDisks", client(region="ap-nowhere")), "UnsupportedRegion")
    equal(call("DescribeDisks", client(region="ap-shanghai")).TotalCount, 0)


def throttled(action, attempt):
    """What an attempt gives when the action may not be called at all."""
    steer("limits", {action: 0})
    try:
        return attempt()
    finally:
        steer("limits", {action: 1000})


THROTTLED = (
    r"Your current request times equals to `\d+` in a second, which exceeds the frequency limit `0` for a second. "
    "Please reduce the frequency of calls."
)


def case_a_throttle():
    attempt = lambda: error_of("CreateDiskBackup", DiskId=DISK, DiskBackupName="throttled")
    code, text = throttled("CreateDiskBackup", attempt)
    equal(code, "RequestLimitExceeded")
    assert re.fullmatch(THROTTLED, text), text
    assert "throttled" not in names(Limit=100)


def case_tccli_creates_describes_deletes():
    backup = tccli("CreateDiskBackup", DiskId=DISK, DiskBackupName="by tccli 备份")["DiskBackupId"]
    found = tccli("DescribeDiskBackups", DiskBackupIds=json.dumps([backup]))
    equal((found["TotalCount"], found["DiskBackupSet"][0]["DiskBackupName"]), (1, "by tccli 备份"))
    equal(list(tccli("DeleteDiskBackups", DiskBackupIds=json.dumps([backup]))), ["RequestId"])
    equal(tccli("DescribeDiskBackups", DiskBackupIds=json.dumps([backup]))["TotalCount"], 0)


def case_tccli_pages():
    disk = fresh_disk()
    made = [create(f"page-{number}", disk) for number in range(3)]
    of_disk = json.dumps([{"Name": "disk-id", "Values": [disk]}])
    page = lambda offset: tccli("DescribeDiskBackups", Filters=of_disk, Offset=str(offset), Limit="2")
    pages = [page(0), page(2)]
    equal([page["TotalCount"] for page in pages], [3, 3])
    equal([[backup["DiskBackupId"] for backup in page["DiskBackupSet"]] for page in pages], [made[:2], made[2:]])


def case_a_rollback():
    disk = fresh_disk(state="UNATTACHED")
    backup = create("before", disk)
    equal(code_of("ApplyDiskBackup", DiskId=DISK, DiskBackupId=backup, AutoStopInstance=True), "ResourceUnavailable.NotSupported")
    call("ApplyDiskBackup", DiskId=disk, DiskBackupId=backup)
    rolled = call("DescribeDisks", DiskIds=[disk]).DiskSet[0]
    equal((rolled.DiskState, rolled.Rollbacking), ("ROLLBACKING", True))
    equal(call("DescribeDiskBackups", DiskBackupIds=[backup]).DiskBackupSet[0].DiskBackupState, "ROLLBACKING")
    busy = code_of("ApplyDiskBackup", DiskId=disk, DiskBackupId=backup)
    equal(busy, "ResourceInUse.DiskRollbacking")
    attached = fresh_disk()
    backup = create("attached", attached)
    assert "code:InvalidDisk.Busy" in tccli("ApplyDiskBackup", DiskId=attached, DiskBackupId=backup)
    done = tccli("ApplyDiskBackup", DiskId=attached, DiskBackupId=backup, AutoStopInstance="True", AutoStartInstance="True")
    equal(list(done), ["RequestId"])


def case_tccli_is_told_what_went_wrong():
    create_on = lambda disk, **more: tccli("CreateDiskBackup", DiskId=disk, DiskBackupName="wrong", **more)
    for complaint, code, text in [
        (create_on(DISK, _key="wrong"), "AuthFailure.SignatureFailure", ".*signature.*"),
        (create_on("disk-99999999"), "InvalidDiskId.NotFound", ".*disk-99999999.*"),
        (throttled("CreateDiskBackup", lambda: create_on(DISK)), "RequestLimitExceeded", THROTTLED),
    ]:
        assert re.search(f"code:{code} message:{text} requestId:[0-9a-f-]{{36}}", complaint), complaint
    assert "wrong" not in names(Limit=100)


def case_answers_are_as_documented():
    """Keys, types, values, nulls: by the SDK's models, and by the documented answers."""
    states = documented.fields("Disk")["DiskState"].values
    equal(len(states), 8)
    shared = {"instances": ["ins-1", "ins-2"], "tags": {"a": "b"}}
    disks = [fresh_disk(state=state, **more) for state in states for more in ({}, shared)]
    backup = create("shape", fresh_disk())
    snapshot = call("CreateSnapshot", DiskId=DISK, SnapshotName="shape").SnapshotId
    unattached = fresh_disk(state="UNATTACHED")
    for action, fields in [
        ("CreateDiskBackup", {"DiskId": DISK}),
        ("DescribeDiskBackups", {"DiskBackupIds": [backup]}),
        ("DescribeDisks", {"DiskIds": disks}),
        ("DescribeDisks", {}),
        ("DeleteDiskBackups", {"DiskBackupIds": [backup]}),
        ("CreateSnapshot", {"DiskId": DISK}),
        ("DescribeSnapshots", {"SnapshotIds": [snapshot]}),
        ("DeleteSnapshots", {"SnapshotIds": [snapshot]}),
        ("ApplyDiskBackup", {"DiskId": unattached, "DiskBackupId": create("back", unattached)}),
    ]:
        answer = json.loads(client().call(action, fields))["Response"]
        say(f"{action} {fields}", json.dumps(answer, ensure_ascii=False))
        for listing in (value for value in answer.values() if isinstance(value, list)):
            assert listing, f"{action}: nothing to compare"
        documented.check_object(answer, action + "Response", action)
        documented.check_like(answer, documented.example(action), action)


def case_what_may_be_asked_is_as_documented():
    """Each field, each of its values, each filter is known; nothing else is."""
    sample = {"str": "disk-1", "int": 1, "bool": True, "list of str": ["disk-1"]}
    for action in ACTIONS:
        for name, field in documented.fields(action + "Request").items():
            values = field.values or [sample.get(field.type)]
            if field.type == "list of Filter":
                assert field.filters, action
                values = [[{"Name": name, "Values": ["x"]}] for name in field.filters]
            for value in values:
                code = code_of(action, **{name: value})
                known = ("ok", "MissingParameter", "InvalidDiskId.NotFound", "ResourceNotFound.NotFound")
                known += ("InvalidSnapshotId.NotFound",)
                assert code in known, f"{action} {name}={value}: {code}"
        try:
            client().call(action, {"Novelty": 1})
        except TencentCloudSDKException as error:
            equal(error.get_code(), "UnknownParameter")
        else:
            raise AssertionError(f"{action} takes anything")


def main():
    failed = 0
    for name, case in list(globals().items()):
        if not name.startswith("case_"):
            continue
        said.clear()
        try:
            case()
            print("ok    ", name[5:])
        except Exception as error:  # The other cases still have something to say.
            failed += 1
            print("FAILED", name[5:], "-", type(error).__name__, error)
        for line in said:
            print("      ", line)
    sys.exit(1 if failed else 0)


main()
