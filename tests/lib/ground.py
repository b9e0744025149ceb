"""File systems mounted for a test: contexts that give a folder, or raise NotHere."""
import contextlib
import os
import subprocess
import tempfile
import time

import proc


class NotHere(Exception):
    """This machine lacks what it takes."""


@contextlib.contextmanager
def mounted(folder, *argv):
    os.makedirs(folder, exist_ok=True)
    done = proc.run(["mount", *argv, folder])
    if done.code:
        raise NotHere(f"cannot mount: {done.err.strip()}")
    try:
        yield folder
    finally:
        if proc.run(["umount", folder]).code:
            proc.run(["umount", "-l", folder])


@contextlib.contextmanager
def disk(folder, kind, size="320M"):
    """A new file system of this kind in a file."""
    image = os.path.join(folder, f"{kind}.disk")
    proc.must(["truncate", "-s", size, image])
    if proc.run([f"mkfs.{kind}", "-q", image]).code:
        raise NotHere(f"cannot make {kind}")
    with mounted(os.path.join(folder, kind), "-o", "loop", image) as there:
        yield there


@contextlib.contextmanager
def subvolume(folder):
    with disk(folder, "btrfs") as there:
        proc.must(["btrfs", "-q", "subvolume", "create", f"{there}/sub"])
        yield f"{there}/sub"


@contextlib.contextmanager
def tmpfs(folder):
    with mounted(os.path.join(folder, "tmpfs"), "-t", "tmpfs", "-o", "size=64M", "test") as there:
        yield there


@contextlib.contextmanager
def overlay(folder, fill=None):
    """Over a lower folder, which `fill` fills before, and an upper one on another file system."""
    with tmpfs(folder) as upper:
        lower, there = os.path.join(folder, "lower"), os.path.join(folder, "overlay")
        os.makedirs(lower)
        os.makedirs(f"{upper}/u")
        os.makedirs(f"{upper}/w")
        if fill:
            fill(lower)
        with mounted(there, "-t", "overlay", "-o",
                     f"index=off,lowerdir={lower},upperdir={upper}/u,workdir={upper}/w",
                     "test"):
            yield there


@contextlib.contextmanager
def fuse(folder, subtype=None):
    """A folder seen through FUSE, under the name of some file system."""
    recorder = server_of("witness-recorder")
    top = tempfile.mkdtemp(dir=folder)
    live, there = os.path.join(top, "live"), os.path.join(top, "mnt")
    os.makedirs(live)
    os.makedirs(there)
    argv = [recorder, os.path.join(top, "log"), live, there, "-f"]
    with served(argv + (["-o", f"subtype={subtype}"] if subtype else []), there):
        yield there


class FarDisk:
    """ext4 on a disk each of whose reads takes a while, however many there are."""

    def __init__(self, folder, device, most):
        self.folder, self.device, self.most = folder, device, most

    def forget_all(self):
        """What the file system knows of itself, too."""
        proc.must(["umount", self.folder])
        proc.must(["mount", self.device, self.folder])
        self.reads()

    def forget(self, *paths, beyond=0):
        """The page cache has nothing of these files but their first bytes; the counts begin anew."""
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, beyond, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        self.reads()

    def reads(self):
        """(the most that were in flight, how many) since this was asked last."""
        with open(self.most, encoding="ascii") as f:
            return tuple(map(int, f.read().split()))


@contextlib.contextmanager
def far_disk(folder, microseconds, size="64G"):
    top = tempfile.mkdtemp(dir=folder)
    there, image, files = (os.path.join(top, name) for name in ("mnt", "image", "files"))
    os.makedirs(there)
    proc.must(["truncate", "-s", size, image])
    with served([server_of("far-disk"), image, str(microseconds), there, "-f", "-o", "max_threads=256"], there):
        device = proc.run(["losetup", "--find", "--show", "--direct-io=on", f"{there}/disk"])
        if device.code:
            raise NotHere(f"no loop device: {device.err.strip()}")
        device = device.out.strip()
        try:
            proc.must(["mkfs.ext4", "-q", device])
            with mounted(files, device):
                yield FarDisk(files, device, f"{there}/most")
        finally:
            proc.run(["losetup", "--detach", device])


def server_of(name):
    """A program of the tests that serves a FUSE file system."""
    path = os.path.join(os.environ.get("QB_BUILD", "build"), "tests/witness", name)
    if not os.path.exists(path) or not os.path.exists("/dev/fuse"):
        raise NotHere("there is no FUSE")
    return path


@contextlib.contextmanager
def served(argv, there):
    server = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    while not os.path.ismount(there):
        if server.poll() is not None:
            raise NotHere("FUSE cannot be mounted")
        time.sleep(0.005)
    try:
        yield
    finally:
        if proc.run(["fusermount3", "-u", there]).code:
            proc.run(["fusermount3", "-uz", there])
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
