"""What the kernel of this host lets a program have, as qbatch tells it."""
import json

import proc
import qbatch

SAID = json.loads(proc.run([qbatch.absolute(qbatch.TOOL), "--version", "--json"]).out)["kernel"]

AUTO = ["no_new_privs", "no_capabilities", "landlock", "seccomp", "no_core_file", "not_dumpable"]
STRICT = [*AUTO, "own_user", "empty_root"]  # of policy.sandbox
HERE = SAID["sandbox"]
LACKS = [name for name, there in HERE.items() if not there]
NO_STRICT = f"this host lacks {LACKS}"

with open("/proc/self/status", encoding="utf-8") as f:
    EFFECTIVE = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff:"))
SEES_OTHERS = bool(EFFECTIVE >> 19 & 1)  # CAP_SYS_PTRACE: memory and files of processes that are not dumpable

RING = SAID["io_uring"]["usable"]
NO_RING = f"no io_uring here: {SAID['io_uring']['error']}"
