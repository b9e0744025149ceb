"""A site of hosts on this machine: each an sshd with a network, a process table and a root file system of its own.

They share the kernel and nothing else: the network is one of the test's own, without a way out, and what a host writes is
thrown away with it, except /srv/vm (images) and /var/lib/qbatch (runs), which are folders of the test and outlive it, and
/srv/shared, which is the same folder on each.
"""
import os
import shutil
import subprocess
import time
import unittest

import proc
import qbatch
from fixture import ImageTest

NETWORK = "192.0.2"  # reserved for documentation: nobody's
BOOT_SECONDS = 30

BOOT = r"""
set -e
folder=$1 name=$2 tool=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder/layers"
mkdir "$folder/layers/upper" "$folder/layers/work"
root=$folder/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" overlay "$root"
echo "$name" >/proc/sys/kernel/hostname
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/run/sshd" "$root/srv/vm" "$root/srv/shared" "$root/var/lib/qbatch" "$root/usr/local/bin"
mount --bind "$folder/vm" "$root/srv/vm"
mount --bind "$folder/../shared" "$root/srv/shared"
mount --bind "$folder/state" "$root/var/lib/qbatch"
[ "$tool" = none ] || cp "$tool" "$root/usr/local/bin/qbatch"
sed -i 's/^root:[^:]*:/root:*:/' "$root/etc/shadow"
mkdir "$root/run/keys"
cp "$folder/../keys/host" "$folder/../keys/user.pub" "$root/run/keys/"
cat >"$root/run/sshd_config" <<END
HostKey /run/keys/host
AuthorizedKeysFile /run/keys/user.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
ip link set lo up
read -r ready # the network is there
exec chroot "$root" /usr/sbin/sshd -D -e -f /run/sshd_config
"""


def missing(*programs):
    """Why hosts cannot be had, or None."""
    for program, package in (("/usr/sbin/sshd", "openssh-server"), ("ssh", "openssh-client"), ("ip", "iproute2"),
                             *programs):
        if not shutil.which(program):
            return f"{package} is not installed"
    if os.geteuid() != 0:
        return "takes root"
    if proc.run(["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "true"]).code:
        return "namespaces cannot be made"
    return None


class Host:
    def __init__(self, site, number):
        self.site, self.number = site, number
        self.name, self.address = f"host{number}", f"{NETWORK}.{10 + number}"
        self.folder = os.path.join(site.folder, self.name)
        for part in ("layers", "root", "vm", "state"):
            os.makedirs(os.path.join(self.folder, part))
        os.chmod(os.path.join(self.folder, "state"), 0o700)
        self.vm, self.process = os.path.join(self.folder, "vm"), None

    def boot(self):
        tool = qbatch.absolute(qbatch.TOOL) if self.site.with_tool else "none"
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child",
                 "sh", "-c", BOOT, "sh", self.folder, self.name, tool],
                stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.join_network()
        self.process.stdin.write(b"ready\n")
        self.process.stdin.close()
        until = time.monotonic() + BOOT_SECONDS
        while self.ssh("true").code:
            if self.process.poll() is not None or time.monotonic() > until:
                with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"{self.name} does not boot: {log.read()}")
            time.sleep(0.05)

    def join_network(self):
        own, there, pid = os.readlink("/proc/self/ns/net"), f"v{self.number}", self.process.pid
        while os.readlink(f"/proc/{pid}/ns/net") == own:  # not unshared yet
            time.sleep(0.01)
        self.site.run("ip", "link", "add", there, "type", "veth", "peer", "name", "eth0",
                      "address", f"02:00:00:00:00:{self.number:02x}", "netns", pid)  # the same after each boot
        self.site.run("ip", "link", "set", there, "master", "br0", "up")
        inside = ["nsenter", "-t", pid, "--net", "ip"]
        proc.must([*inside, "addr", "add", f"{self.address}/24", "dev", "eth0"])
        proc.must([*inside, "link", "set", "eth0", "up"])

    def ssh(self, *command):
        return self.site.controller("ssh", "-F", self.site.ssh_config, self.name, *command)

    def die(self):
        """As if its power was cut, but for what the kernel has not written yet."""
        self.process.kill()
        self.process.wait()
        while self.site.controller("ip", "link", "show", f"v{self.number}").code == 0:
            time.sleep(0.02)  # its network, and with that its last process, is still there


class Site:
    """`count` hosts, and the network from which a controller sees them."""

    def __init__(self, folder, count, with_tool=True):
        self.folder, self.with_tool = folder, with_tool
        self.net = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.net.stdout.readline()
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "br0", "type", "bridge")
        self.run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "br0")
        self.run("ip", "link", "set", "br0", "up")
        self.make_keys()
        self.shared = os.path.join(folder, "shared")
        os.mkdir(self.shared)
        self.hosts = [Host(self, n + 1) for n in range(count)]
        self.configure_ssh()
        for host in self.hosts:
            host.boot()

    def make_keys(self):
        keys = os.path.join(self.folder, "keys")
        os.mkdir(keys)
        for name in ("host", "user"):
            proc.must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(keys, name)])

    def configure_ssh(self):
        self.ssh_config = os.path.join(self.folder, "ssh_config")
        with open(self.ssh_config, "w", encoding="utf-8") as f:
            for host in self.hosts:
                f.write(f"Host {host.name}\n  HostName {host.address}\n")
            f.write(f"Host *\n  User root\n  IdentityFile {self.folder}/keys/user\n  BatchMode yes\n"
                    "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
                    "  ConnectTimeout 5\n  ServerAliveInterval 2\n  ServerAliveCountMax 2\n")

    def inside(self, argv):
        return ["nsenter", "-t", self.net.pid, "--net", "--", *argv]

    def controller(self, *argv, **kwargs):
        """Runs a program where the hosts can be seen."""
        return proc.run(self.inside(argv), **kwargs)

    def run(self, *argv):
        return proc.must(self.inside(argv))

    def stop(self):
        for host in self.hosts:
            if host.process and host.process.poll() is None:
                host.process.kill()
                host.process.wait()
        self.net.stdin.close()
        self.net.stdout.close()
        self.net.wait()


class SiteTest(ImageTest):
    """Hosts that all tests of a class share; each test begins without images and runs."""
    COUNT, WITH_TOOL = 4, True
    site = None

    @classmethod
    def setUpClass(cls):
        import tempfile
        cls.site_folder = tempfile.mkdtemp(prefix="qbatch-site-")
        cls.addClassCleanup(shutil.rmtree, cls.site_folder, ignore_errors=True)
        try:
            cls.site = Site(cls.site_folder, cls.COUNT, cls.WITH_TOOL)
        except RuntimeError as error:
            if "overlay" in str(error):
                raise unittest.SkipTest(f"hosts cannot be made: {error}") from None
            raise
        cls.addClassCleanup(cls.site.stop)
        cls.hosts = cls.site.hosts

    def setUp(self):
        super().setUp()
        for folder in [self.site.shared, *(os.path.join(h.folder, part) for h in self.hosts for part in ("vm", "state"))]:
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def images(self, host, count, **options):
        """Images of one host: their paths here.  There they are in /srv/vm."""
        made = []
        for n in range(count):
            path = self.create(os.path.join(host.vm, f"{n:03}.qcow2"), **options)
            self.io(path, f"write -q -P {n % 250 + 1} 0 64k")
            made.append(path)
        return made
