"""Running programs: captured, with a time limit, never through a shell."""
import ctypes
import errno
import glob
import hashlib
import os
import signal
import socket
import subprocess
import time

TIMEOUT_SECONDS = 120
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Result:
    def __init__(self, argv, code, out, err, timed_out=False):
        self.argv, self.code, self.out, self.err, self.timed_out = argv, code, out, err, timed_out

    @property
    def crashed(self):
        return (self.code < 0 or self.code >= 128 or "AddressSanitizer" in self.err
                or "runtime error:" in self.err)


def run(argv, cwd=None, timeout=TIMEOUT_SECONDS, stdin="", preexec=None, env=None):
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(argv, cwd=cwd, timeout=timeout, input=stdin, text=True, errors="replace",
                              capture_output=True, preexec_fn=preexec, env=env)
    except subprocess.TimeoutExpired:
        return Result(argv, 124, "", f"no answer within {timeout} seconds", timed_out=True)
    return Result(argv, done.returncode, done.stdout, done.stderr)


def catches(pid, number):
    """Whether that process has a handler for the signal: before, it would die of it."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            caught = next(line.split()[1] for line in f if line.startswith("SigCgt:"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def wait_until_it_catches(process, number):
    until = time.monotonic() + TIMEOUT_SECONDS
    while not catches(process.pid, number):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args} never had a handler for signal {number}")
        time.sleep(0.005)


def wait_until_it_listens(process, path):
    """On a Unix socket, whose file is there a moment before anybody may connect."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                return client.connect(path)
            except OSError as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{process.args} does not listen: {error}") from None
        time.sleep(0.002)


def children(pid):
    found = []
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(task, encoding="utf-8") as f:
                found += [int(word) for word in f.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def adopt_orphans():
    """From now on processes whose parent dies become children of this one."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def kill_whole(process, folder):
    """SIGKILL, and waits until what it had started has gone too, which follows a moment later, and
    its locks in the folder: the kernel takes a ring apart when its process has gone already.
    A child may make another process until its last thread dies, which is when it can be
    waited for, and its own children are this process's."""
    if process.poll() is None:
        adopt_orphans()
        before = set(children(os.getpid()))
        process.kill()
        process.wait()
        until = time.monotonic() + TIMEOUT_SECONDS
        while rest := set(children(os.getpid())) - before:
            if not any(os.waitpid(pid, os.WNOHANG)[0] for pid in rest):
                time.sleep(0.001)
            if time.monotonic() > until:
                raise RuntimeError(f"processes of {process.args} outlived it: {rest}")
        while amends_in(folder):
            if time.monotonic() > until:
                raise RuntimeError(f"locks of {process.args} outlived it")
            time.sleep(0.001)
    process.communicate()


def amends_in(folder):
    """Whether files there have the lock of an amend, of no process that can be found: OFD locks."""
    inodes = {entry.inode() for entry in os.scandir(folder)}
    with open("/proc/locks", encoding="utf-8") as f:
        locks = [line.split() for line in f]
    return any(lock[-2:] == ["101", "203"] and int(lock[-3].split(":")[2]) in inodes for lock in locks)


def become_nobody():
    """For preexec: gives up root's rights."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def must(argv, **kwargs):
    result = run(argv, **kwargs)
    if result.code != 0:
        raise RuntimeError(f"{result.argv} gave {result.code}: {result.err or result.out}")
    return result.out


def data_runs(fd):
    """The ranges [first, end) of an open file that are not holes."""
    at, size = 0, os.lseek(fd, 0, os.SEEK_END)
    while at < size:
        try:
            first = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a device knows no holes
                yield at, size
            return
        at = os.lseek(fd, first, os.SEEK_HOLE)
        yield first, at


def sha256(path):
    """A digest of the content, of no other program's: whatever is a hole in it, and at no cost for that."""
    block, seen = 1 << 16, -1
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for first, end in data_runs(f.fileno()):
            for at in range(max(first // block, seen + 1), -(-end // block)):
                seen = at
                piece = os.pread(f.fileno(), block, at * block)
                if piece.strip(b"\0"):
                    digest.update(at.to_bytes(8, "big") + piece)
        digest.update(f.seek(0, os.SEEK_END).to_bytes(8, "big"))
    return digest.hexdigest()


def copy_sparse(source, target):
    with open(source, "rb") as src, open(target, "wb") as dst:
        for first, end in data_runs(src.fileno()):
            src.seek(first)
            dst.seek(first)
            while first < end:
                piece = src.read(min(1 << 20, end - first))
                if not piece:
                    break
                dst.write(piece)
                first += len(piece)
        dst.truncate(os.fstat(src.fileno()).st_size)
