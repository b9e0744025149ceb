"""Processes and their children, by /proc."""
import contextlib


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(word) for word in f.read().split()]
    return []


def name(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()
    return ""


def reader(pid):
    """The process that reads images for this one; 0: there is none."""
    return next((child for child in children(pid) if name(child) == "qbatch-images"), 0)


def is_there(pid):
    """Not if it has ended and nobody has asked how."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rpartition(")")[2].split()[0] != "Z"
    return False
