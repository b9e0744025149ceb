"""Running programs: captured, with a time limit, never through a shell."""
import hashlib
import os
import subprocess

TIMEOUT_SECONDS = 120


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


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def data_runs(fd):
    """The ranges [first, end) of an open file that are not holes."""
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            first = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, first, os.SEEK_HOLE)
        yield first, at


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
