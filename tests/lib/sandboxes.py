"""What this host has of policy.sandbox, as the program tells it."""
import json

import proc
import qbatch

AUTO = ["no_new_privs", "no_capabilities", "landlock", "seccomp", "no_core_file", "not_dumpable"]
STRICT = [*AUTO, "own_user", "empty_root"]
HERE = json.loads(proc.run([qbatch.absolute(qbatch.TOOL), "--version", "--json"]).out)["kernel"]["sandbox"]
LACKS = [name for name, there in HERE.items() if not there]
NO_STRICT = f"this host lacks {LACKS}"
