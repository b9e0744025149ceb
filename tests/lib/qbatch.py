"""Running qbatch: by command line or manifest, the answer decoded."""
import atexit
import json
import os
import shutil
import tempfile

import schema
from proc import run

# Runs remember themselves where nothing is left of it.
os.environ["STATE_DIRECTORY"] = tempfile.mkdtemp(prefix="qbatch-state-")
atexit.register(shutil.rmtree, os.environ["STATE_DIRECTORY"], ignore_errors=True)

TOOL = os.environ.get("QBATCH", os.path.join(os.path.dirname(__file__), "../../build/qbatch"))

CHECKED_LINES = 40  # of an answer, against the schema of reports: it takes 1 ms a line


class Answer:
    """What one run said: exit code, a record per image, the summary."""

    def __init__(self, result):
        self.result, self.code = result, result.code
        self.records, self.summary, self.noise = [], None, []
        for line in result.out.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                self.noise.append(line)
                continue
            if len(self.records) < CHECKED_LINES:
                self.check_line(record)
            if record.get("type") in ("image", "check", "info", "map"):
                self.records.append(record)
            elif record.get("type") == "summary":
                self.summary = record

    def check_line(self, record):
        if schema.jsonschema and os.path.basename(self.result.argv[0]) == "qbatch":
            tool = self.result.argv[0]
            name, wrong = schema.definition_of(record, tool if os.sep in tool else absolute(TOOL))
            if not name:
                raise AssertionError(f"not what `qbatch schema report` says: {wrong}")

    @property
    def crashed(self):
        return self.result.crashed

    @property
    def first(self):
        return self.records[0] if self.records else {}

    @property
    def status(self):
        return self.first.get("status")

    @property
    def error(self):
        return (self.first.get("error") or {}).get("code")

    def __str__(self):
        return (f"{' '.join(self.result.argv)}\nexit {self.code}\n{self.result.out}"
                f"{self.result.err}")


def absolute(tool):
    return os.path.abspath(tool) if os.sep in tool else tool


def qbatch(*argv, tool=None, **kwargs):
    return Answer(run([absolute(tool or TOOL), *argv], **kwargs))


def option_string(options):
    """-o syntax: a comma inside a value is doubled, and a list is an option for each of its texts."""
    return ",".join(f"{k}={str(v).replace(',', ',,')}" for k, values in options.items()
                    for v in (values if isinstance(values, list) else [values]))


def amend(image, shrink=False, flags=(), tool=None, cwd=None, **options):
    """`qbatch amend` on one image or a list of them."""
    images = [image] if isinstance(image, (str, os.PathLike)) else list(image)
    argv = ["amend", "--json", *flags, *(["-o", option_string(options)] if options else [])]
    return qbatch(*argv, *(["--shrink"] if shrink else []), *images, tool=tool, cwd=cwd)
