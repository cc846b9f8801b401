"""What the vendor's Python SDK makes of the same calls: reads them from stdin as JSON, writes what it would send.

The SDK writes JSON in its own way, so it is given the bytes to sign; it chooses everything else.
"""

import hashlib
import json
import sys
import warnings
from unittest.mock import patch

from tencentcloud.cbs.v20170312 import models
from tencentcloud.cbs.v20170312.cbs_client import CbsClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.common.sign import Sign


class Sent(BaseException):
    """Ends a call where its bytes would leave; the SDK lets it pass."""


def typed(action, fields):
    """The SDK's request with these fields; one that it does not know is an error."""
    request = getattr(models, action + "Request")()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request._deserialize(fields)
    return request


def send(call):
    """The headers that the SDK would send for a call, and the fields that it would write as its body."""
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=call["host"]), language="en-US")
    client = CbsClient(Credential(call["id"], call["key"], call["token"]), "ap-guangzhou", profile)
    request = typed(call["action"], json.loads(call["body"]))
    seen = {}

    def write(fields):
        seen["fields"] = fields
        return call["body"]

    def leave(request):
        assert (request.method, request.uri, request.data) == ("POST", "/", call["body"]), vars(request)
        seen["headers"] = request.header
        raise Sent

    client.request.send_request = leave
    with patch("time.time", lambda: call["at"]), patch("json.dumps", write):
        try:
            getattr(client, call["action"])(request)
        except Sent:
            pass
    return seen


def with_the_action(call, headers):
    """The signature when the action is signed, too: the SDK does not, the vendor's documentation does.

    The canonical request is that of its page on TC3; the key is derived by the SDK.
    """
    canonical = (
        f"POST\n/\n\ncontent-type:application/json\nhost:{call['host']}\nx-tc-action:{call['action'].lower()}\n\n"
        f"content-type;host;x-tc-action\n{hashlib.sha256(call['body'].encode()).hexdigest()}"
    )
    scope = headers["Authorization"].split("Credential=")[1].split(",")[0].split("/", 1)[1]
    to_sign = "\n".join([
        "TC3-HMAC-SHA256", headers["X-TC-Timestamp"], scope, hashlib.sha256(canonical.encode()).hexdigest()
    ])
    date, service, _ = scope.split("/")
    signature = Sign.sign_tc3(call["key"], date, service, to_sign)
    return (
        f"TC3-HMAC-SHA256 Credential={call['id']}/{scope}, "
        f"SignedHeaders=content-type;host;x-tc-action, Signature={signature}"
    )


answers = []
for call in json.load(sys.stdin):
    answer = send(call)
    answers.append({**answer, "with_the_action": with_the_action(call, answer["headers"])})
json.dump(answers, sys.stdout)
