"""The answers that the vendor documents for its actions, as its command line carries them, by action."""

import json
import os
import sys

import tccli

with open(os.path.join(os.path.dirname(tccli.__file__), "services/cbs/v20170312/examples.json")) as file:
    actions = json.load(file)["actions"]
json.dump({action: examples[0]["output"] for action, examples in actions.items() if examples}, sys.stdout)
