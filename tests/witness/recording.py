"""Runs a program on the recording file system, and reads the log (log.h) back."""
import os
import struct
import subprocess
import time
from dataclasses import dataclass

import proc

END, OPEN, WRITE, SIZE, SPACE, SYNC, RENAME, UNLINK = range(8)
RECORD = struct.Struct("=QQQQQiiiIII")
KEEP_SIZE = 1  # of fallocate(2)
MOUNTING_FAILED = (3, 4)  # what fuse_main answers then


class NoFuse(Exception):
    """This machine lets nobody here mount a FUSE file system."""


@dataclass
class Operation:
    number: int  # its place in the sequence
    inode: int
    offset: int
    length: int
    kind: int
    flags: int
    data: bytes
    from_ring: bool
    end: int = 1 << 62  # the number of its end; far away where there is none
    result: int = 0

    @property
    def changes(self):
        return self.kind in (WRITE, SIZE, SPACE) and self.result >= 0


def read_log(path):
    with open(path, "rb") as f:
        raw = f.read()
    operations, at = {}, 0
    while at < len(raw):
        (number, begun, inode, offset, length, kind, flags, result, size, _,
         from_ring) = RECORD.unpack_from(raw, at)
        at += RECORD.size
        if kind == END:
            operations[begun].end, operations[begun].result = number, result
        else:
            operations[number] = Operation(number, inode, offset, length, kind, flags,
                                           raw[at:at + size], bool(from_ring))
        at += size
    return list(operations.values())


class Mount:
    """The folder `live`, seen at `mnt` while the log is written: a context."""

    def __init__(self, recorder, folder):
        self.recorder, self.folder = recorder, folder
        self.mnt = os.path.join(folder, "mnt")

    def __enter__(self):
        os.makedirs(self.mnt, exist_ok=True)
        self.words = open(os.path.join(self.folder, "recorder.txt"), "w+", encoding="utf-8")
        self.server = subprocess.Popen([self.recorder, "log", "live", "mnt", "-f"],
                                       cwd=self.folder, stderr=self.words)
        for _ in range(2000):
            if os.path.ismount(self.mnt):
                return self.mnt
            if self.server.poll() is not None:
                break
            time.sleep(0.005)
        self.fail()

    def fail(self):
        code = self.server.poll()
        self.server.kill()
        self.words.seek(0)
        words = f"the recorder gave {code}: {self.words.read().strip()}"
        self.words.close()
        raise NoFuse(words) if code in MOUNTING_FAILED else RuntimeError(words)

    def __exit__(self, *_):
        for flags in ("-u", "-uz"):
            if proc.run(["fusermount3", flags, self.mnt]).code == 0:
                break
        try:
            self.server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.words.close()
