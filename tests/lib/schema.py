"""Lines for programs, held to `qbatch schema report`."""
import functools
import json
import os

from proc import must

try:
    import jsonschema
except ImportError:
    jsonschema = None

# Which of the schema's definitions a line is of, by its type; an image of --report has none.
DEFINITIONS = {"image": ("image", "run_image"), "summary": ("summary", "total", "rejected", "check_summary", "read_summary"),
               "check": ("check",), "info": ("image_info",), "map": ("image_map",), "progress": ("progress",),
               "run": ("listed_run", "run"), "backup": ("backup",), "pruned": ("pruned",), "prune_summary": ("prune_summary",),
               "answer": ("answer", "run_now")}


def _closed(schema):
    """The schema with nothing permitted that it does not name: a new field needs an entry."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def _opened(schema):
    """The schema with nothing required: a line of an earlier version."""
    if isinstance(schema, list):
        return [_opened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _opened(value) for key, value in schema.items() if key != "required"}


@functools.lru_cache(maxsize=None)
def report_schema(tool):
    return json.loads(must([os.path.abspath(tool), "schema", "report"]))


@functools.lru_cache(maxsize=None)
def _validator(tool, definition, change):
    schema = report_schema(tool)
    return jsonschema.Draft202012Validator(
        {"$defs": change(schema["$defs"]), "$ref": f"#/$defs/{definition}"})


def definition_of(record, tool, change=_closed):
    """(the definition that the line conforms to, None), or (None, what is wrong with it)."""
    wrong = []
    for name in DEFINITIONS[record.get("type", "image")]:
        errors = list(_validator(tool, name, change).iter_errors(record))
        if not errors:
            return name, None
        wrong.append(f"{name}: " + "; ".join(f"{'.'.join(map(str, e.path))}: {e.message[:200]}" for e in errors[:3]))
    return None, f"{wrong} in {json.dumps(record)[:2000]}"


def earlier_definition_of(record, tool):
    return definition_of(record, tool, _opened)
