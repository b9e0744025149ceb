"""Kubernetes' own description of its objects, from the npm package kubernetes-models: validators and types."""
import json
import os
import re
import shutil

import proc

MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build-npm/node_modules")
MODELS = os.path.join(MODULES, "kubernetes-models")
VALIDATE = """
const path = process.argv[1], kind = process.argv[2];
const model = require(path)[kind];
try { new model(JSON.parse(require("fs").readFileSync(0))).validate(); } catch (error) { console.log(error.message); }
"""


def missing():
    if not shutil.which("node"):
        return "node is not here"
    return None if os.path.isdir(MODELS) else "kubernetes-models is not here: npm was not there when tools were installed"


def types(path):
    """{field: (file of its type, its name) or None} of the interface that a file of types begins with."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    imported = {}
    for names, module in re.findall(r'import \{ ([^}]+) \} from "([^"]+)"', text):
        where = os.path.normpath(os.path.join(os.path.dirname(path), module)) if module.startswith(".") \
            else os.path.join(MODULES, module)
        for name in names.split(", "):
            imported[name] = where + ".d.ts"
    body = re.search(r"export interface \w+[^{]*\{(.*?)\n\}", text, re.S)
    if not body:  # a plain type, such as a quantity
        return None
    fields = {}
    for name, kind in re.findall(r'^    "([^"]+)"\??: (.*)$', body.group(1), re.M):
        found = [word for word in re.findall(r"\w+", kind) if word in imported]
        fields[name] = imported[found[0]] if found else None
    return fields


def unknown(value, path, at=""):
    """Keys that the API does not have: its validators let them pass."""
    if isinstance(value, list):
        return [bad for n, item in enumerate(value) for bad in unknown(item, path, f"{at}[{n}]")]
    fields = types(path) if path and isinstance(value, dict) else None
    if fields is None:
        return []
    bad = [f"{at}.{key}" for key in value if key not in fields]
    for key, item in value.items():
        bad += unknown(item, fields.get(key), f"{at}.{key}")
    return bad


def complaints(thing):
    """What the API would refuse in an object, or ignore."""
    version, kind = thing["apiVersion"], thing["kind"]
    path = os.path.join(MODELS, version, kind)
    done = proc.run(["node", "-e", VALIDATE, path, kind], stdin=json.dumps(thing))
    said = (done.out + (done.err if done.code else "")).strip()
    return ([said] if said else []) + unknown(thing, path + ".d.ts")
