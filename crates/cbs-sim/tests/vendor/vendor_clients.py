"""The vendor's own clients against the simulator: `vendor_clients.py http://127.0.0.1:PORT`.

What they accept, a client of ours may rely on. Prints a line for each case; exits 1 if one fails.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import warnings

from tencentcloud.cbs.v20170312 import models
from tencentcloud.cbs.v20170312.cbs_client import CbsClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

ENDPOINT = sys.argv[1]
REGION = "ap-guangzhou"
DISK, SMALL = "disk-1a2b3c4d", "disk-5e6f7a8b"
ID, KEY = "AKIDvendor", "vendor-secret-key"


def client(secret_id=ID, secret_key=KEY, token=None, region=REGION, unsigned_payload=False):
    http = HttpProfile(protocol="http", endpoint=ENDPOINT.removeprefix("http://"))
    profile = ClientProfile(httpProfile=http)
    profile.unsignedPayload = unsigned_payload
    return CbsClient(Credential(secret_id, secret_key, token), region, profile)


def call(action, _client=None, **fields):
    """Calls an action by the SDK's typed method; an unknown key in the answer is an error."""
    request = getattr(models, action + "Request")()
    request._deserialize(fields)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return getattr(_client or client(), action)(request)


def code_of(action, _client=None, **fields):
    try:
        call(action, _client, **fields)
    except TencentCloudSDKException as error:
        assert error.get_request_id(), error
        return error.get_code()
    return "ok"


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


def tccli(*arguments):
    """Exit code, output and complaint of the vendor's command line."""
    with tempfile.TemporaryDirectory() as home:
        command = [os.path.join(os.path.dirname(sys.executable), "tccli"), "cbs", *arguments]
        command += ["--region", REGION, "--secretId", ID, "--secretKey", KEY, "--endpoint", ENDPOINT]
        done = subprocess.run(command, env={**os.environ, "HOME": home}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def matches_model(value, type_name, where):
    """Compares keys and types of an answer with the SDK's model; null is allowed for anything."""
    if value is None:
        return
    if item := re.fullmatch(r"list of (\w+)", type_name):
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        for number, element in enumerate(value):
            matches_model(element, item[1], f"{where}[{number}]")
        return
    plain = {"str": str, "int": int, "bool": bool, "float": float}.get(type_name)
    if plain:
        assert type(value) is plain, f"{where}: {value!r} is no {type_name}"
        return
    model = getattr(models, type_name.rsplit(".", 1)[-1].strip("`"))
    types = dict(re.findall(r":type (\w+): (.+)", model.__init__.__doc__))
    equal(sorted(value), sorted(types))
    for key, its_type in types.items():
        matches_model(value[key], its_type, f"{where}.{key}")


def case_create_describe_delete():
    backup = create("first")
    assert re.fullmatch(r"dbp-[0-9a-z]{8}", backup), backup
    found = call("DescribeDiskBackups", DiskBackupIds=[backup])
    equal((found.TotalCount, found.DiskBackupSet[0].DiskBackupState), (1, "NORMAL"))
    equal(code_of("DeleteDiskBackups", DiskBackupIds=[backup]), "ok")
    equal(call("DescribeDiskBackups", DiskBackupIds=[backup]).TotalCount, 0)
    equal(code_of("DeleteDiskBackups", DiskBackupIds=[backup]), "ResourceNotFound.NotFound")


def case_filters_and_paging():
    made = [create(f"page-{number}") for number in range(5)]
    of_disk = [{"Name": "disk-id", "Values": [DISK]}]
    equal(names(Filters=of_disk, Limit=2, Offset=1), ["page-3", "page-2"])
    equal(names(Filters=of_disk, Order="ASC", OrderField="CREATE_TIME", Limit=1), ["page-0"])
    equal(names(Filters=[{"Name": "disk-id", "Values": [SMALL]}]), [])
    equal(code_of("DescribeDiskBackups", DiskBackupIds=made, Filters=of_disk), "InvalidParameter")
    equal(code_of("DescribeDiskBackups", Limit=101), "InvalidParameterValue")
    equal(code_of("DeleteDiskBackups", DiskBackupIds=made), "ok")


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


def case_an_unsigned_payload():
    equal(code_of("DescribeDisks", client(unsigned_payload=True), Limit=1), "ok")


def case_a_missing_disk_and_a_full_one():
    equal(code_of("CreateDiskBackup", DiskId="disk-99999999"), "InvalidDiskId.NotFound")
    create("only", SMALL)
    equal(code_of("CreateDiskBackup", DiskId=SMALL), "ResourceInsufficient.OverQuota")


def case_another_region():
    equal(code_of("DescribeDisks", client(region="ap-nowhere")), "UnsupportedRegion")
    equal(call("DescribeDisks", client(region="ap-shanghai")).TotalCount, 0)


def case_a_throttle():
    steer("limits", {"CreateDiskBackup": 0})
    try:
        create("throttled")
    except TencentCloudSDKException as error:
        equal(error.get_code(), "RequestLimitExceeded")
        assert "which exceeds the frequency limit `0` for a second." in error.get_message(), error
    else:
        raise AssertionError("not throttled")
    finally:
        steer("limits", {"CreateDiskBackup": 1000})


def case_tccli():
    status, output, _ = tccli("CreateDiskBackup", "--DiskId", DISK, "--DiskBackupName", "by-tccli")
    equal(status, 0)
    backup = json.loads(output)["DiskBackupId"]
    status, output, _ = tccli("DescribeDiskBackups", "--DiskBackupIds", json.dumps([backup]))
    equal((status, json.loads(output)["DiskBackupSet"][0]["DiskBackupName"]), (0, "by-tccli"))
    status, _, complaint = tccli("CreateDiskBackup", "--DiskId", "disk-99999999")
    equal(status, 255)
    assert "code:InvalidDiskId.NotFound" in complaint, complaint


def case_answers_have_the_keys_and_types_of_the_models():
    backup = create("shape")
    for action, fields in [
        ("CreateDiskBackup", {"DiskId": DISK}),
        ("DescribeDiskBackups", {"DiskBackupIds": [backup]}),
        ("DescribeDisks", {}),
        ("DeleteDiskBackups", {"DiskBackupIds": [backup]}),
    ]:
        answer = json.loads(client().call(action, fields))["Response"]
        for listing in (value for value in answer.values() if isinstance(value, list)):
            assert listing, f"{action}: nothing to compare"
        matches_model(answer, action + "Response", action)


def main():
    failed = 0
    for name, case in list(globals().items()):
        if not name.startswith("case_"):
            continue
        try:
            case()
            print("ok    ", name[5:])
        except Exception as error:  # The other cases still have something to say.
            failed += 1
            print("FAILED", name[5:], "-", type(error).__name__, error)
    sys.exit(1 if failed else 0)


main()
