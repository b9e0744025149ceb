"""What a playbook does, a line of JSON for each result; ansible-core has no such callback."""
import json

from ansible.parsing.ajson import AnsibleJSONEncoder
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: json_lines
type: stdout
short_description: A line of JSON for each result
description: For tests.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "stdout", "json_lines"

    def line(self, **what):
        print(json.dumps(what, cls=AnsibleJSONEncoder), flush=True)

    def result(self, kind, result):
        self.line(kind=kind, host=result._host.name, task=result._task.get_name(), result=result._result)

    def v2_runner_on_ok(self, result):
        self.result("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.result("failed", result)

    def v2_runner_on_unreachable(self, result):
        self.result("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        self.line(kind="stats", stats={host: stats.summarize(host) for host in stats.processed})
