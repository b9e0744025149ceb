"""An image that lies on a block device: a loop device whose node has the image's name for a while, so that relative
names of backing files mean what they meant."""
import contextlib
import os
import random
import subprocess
import tempfile

from recipe import IMAGE

SECTOR = 512
MOST = 32 << 20  # old bytes that are written


def possible():
    """Whether loop devices can be set up here, and nodes in the folder for temporary files be opened."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, IMAGE)
        with open(path, "wb") as f:
            f.truncate(65536)
        try:
            with node(folder), open(path, "rb") as device:
                return len(device.read()) == 65536
        except (OSError, subprocess.CalledProcessError):
            return False


def lengthen(folder, more):
    """By old bytes; of a very long stretch, the first."""
    path = os.path.join(folder, IMAGE)
    size = os.path.getsize(path) + more
    with open(path, "ab") as f:
        f.write(random.Random(more).randbytes(min(more, MOST)))
    os.truncate(path, size)


def pad(folder, rng):
    """The device ends with the image, or somewhere past it."""
    size = os.path.getsize(os.path.join(folder, IMAGE))
    more = SECTOR * rng.choice([0, rng.randrange(16), rng.randrange(1000), rng.randrange(20000)])
    lengthen(folder, -size % SECTOR + more)


@contextlib.contextmanager
def node(folder):
    path, disk = os.path.join(folder, IMAGE), os.path.join(folder, "disk")
    os.rename(path, disk)
    device = subprocess.run(["losetup", "--find", "--show", disk], check=True, capture_output=True,
                            text=True).stdout.strip()
    try:
        os.mknod(path, 0o600 | 0o060000, os.stat(device).st_rdev)
        yield
    finally:
        if os.path.lexists(path):
            os.unlink(path)
        subprocess.run(["losetup", "--detach", device], check=True)
        os.rename(disk, path)
