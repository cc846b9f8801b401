"""What the vendor documents of its Security Token Service, and what its command line writes: JSON.

Of each action the documented answer, and the profile that `tccli configure` leaves.
"""

import json
import os
import subprocess
import sys
import tempfile

import tccli

answers = {}
with open(os.path.join(os.path.dirname(tccli.__file__), "services/sts/v20180813/examples.json")) as file:
    for action in ("AssumeRole", "AssumeRoleWithWebIdentity"):
        answers[action] = json.load(file)["actions"][action][0]["output"]
        file.seek(0)

with tempfile.TemporaryDirectory() as home:
    program = os.path.join(os.path.dirname(sys.executable), "tccli")
    command = [program, "configure", "set", "--profile", "ops", "secretId", "AKIDtccli", "secretKey", "of-tccli"]
    subprocess.run(command, env={**os.environ, "HOME": home}, check=True, capture_output=True)
    with open(os.path.join(home, ".tccli/ops.credential")) as file:
        profile = file.read()

json.dump({"answers": answers, "profile": profile}, sys.stdout)
