"""What the vendor documents of an action, as far as its clients carry it: fields, types, values, nulls, an answer.

Read from the docstrings of the SDK's models, and from the examples of the command line.
"""

import json
import os
import re
from typing import NamedTuple

import tccli
from tencentcloud.cbs.v20170312 import models


class Field(NamedTuple):
    type: str  # "str", "list of Disk"
    words: str

    @property
    def may_be_null(self):
        return "可能返回 null" in self.words

    @property
    def values(self):
        """The closed set of its texts, if there is one."""
        return re.findall(r"<li>\s*([A-Z][A-Z0-9_]+)", self.words) if self.type == "str" else []

    @property
    def filters(self):
        """The names that a list of filters may bear."""
        return [name.replace("tag:tag-key", "tag:any") for name in re.findall(r"<li>([a-z:-]+)(?: - |<ul>)", self.words)]


def fields(model):
    found = re.findall(r":param _(\w+): (.*?)\s*:type \w+: ([^\n]+)", getattr(models, model).__init__.__doc__, re.S)
    # `:class:`…models.Placement`` is an object of that model.
    return {name: Field(re.sub(r":class:.*\.(\w+)`", r"\1", kind), words) for name, words, kind in found}


def check(value, field, where):
    """Whether a value of an answer is one that the documentation allows."""
    if value is None:
        assert field.may_be_null, f"{where} is null"
        return
    if item := re.fullmatch(r"list of (\w+)", field.type):
        assert type(value) is list, f"{where}: {value!r} is no list"
        for number, element in enumerate(value):
            check(element, Field(item[1], ""), f"{where}[{number}]")
        return
    if plain := {"str": str, "int": int, "bool": bool, "float": float}.get(field.type):
        assert type(value) is plain, f"{where}: {value!r} is no {field.type}"
        # An empty text is that of a thing which is not there, such as the instance of a disk.
        assert not field.values or value in ("", *field.values), f"{where}: {value!r} is none of {field.values}"
        return
    check_object(value, field.type, where)


def check_object(value, model, where):
    its_fields = fields(model)
    assert sorted(value) == sorted(its_fields), f"{where}: the keys differ by {set(value) ^ set(its_fields)}"
    for key, field in its_fields.items():
        check(value[key], field, f"{where}.{key}")


def example(action, service="cbs/v20170312"):
    """The content of the documented answer."""
    with open(os.path.join(os.path.dirname(tccli.__file__), "services", service, "examples.json")) as file:
        return json.loads(json.load(file)["actions"][action][0]["output"])["Response"]


def check_like(value, documented, where):
    """Whether a value has what the documented one has, in its type; a null says nothing of its type."""
    if value is None or documented is None:
        return
    assert type(value) is type(documented), f"{where}: {value!r}, where the documentation has {documented!r}"
    if isinstance(documented, dict):
        for key in documented:
            assert key in value, f"{where} lacks {key}"
            check_like(value[key], documented[key], f"{where}.{key}")
    if isinstance(documented, list) and documented and value:
        for number, element in enumerate(value):
            check_like(element, documented[0], f"{where}[{number}]")
