"""A Slurm cluster on this machine: slurmctld, munged and two slurmd on a loopback of their own, in one folder."""
import os
import shutil
import socket
import subprocess
import time

import proc

START_SECONDS, REVOKED_SECONDS, NODES = 60, 4, ("n1", "n2")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/builtin
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname={host} Port=17818 CPUs=1
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname={host} Port=17819 CPUs=1
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why there can be no cluster, or None."""
    for program, package in (("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("sbatch", "slurm-client"),
                             ("munged", "munge"), ("ip", "iproute2")):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            return f"{package} is not installed"
    if os.geteuid() != 0:
        return "takes root"
    if proc.run(["unshare", "--net", "true"]).code:
        return "namespaces cannot be made"
    return None


class Cluster:
    def __init__(self, folder):
        self.folder, self.daemons, self.put_back = folder, {}, {}
        os.chmod(folder, 0o755)
        os.mkdir(f"{folder}/state")
        with open(f"{folder}/key", "wb") as f:
            f.write(os.urandom(1024))
        os.chmod(f"{folder}/key", 0o600)
        with open(f"{folder}/slurm.conf", "w", encoding="utf-8") as f:
            f.write(CONFIGURATION.format(host=socket.gethostname(), folder=folder))
        self.net = subprocess.Popen(["unshare", "--net", "sh", "-c",
                                     "ip link set lo up && ip addr add 192.0.2.1/32 dev lo; echo; exec cat"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.net.stdout.readline()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        folder = self.folder
        self.daemon("munged", "--force", "--foreground", "--key-file", f"{folder}/key", "--socket",
                    f"{folder}/munge.sock", "--pid-file", f"{folder}/munge.pid", "--log-file", f"{folder}/munge.log",
                    "--seed-file", f"{folder}/seed", "--num-threads", "2")
        self.until(lambda: os.path.exists(f"{folder}/munge.sock"), "munged")
        self.daemon("slurmctld", "-D", "-i")
        for node in NODES:
            self.daemon("slurmd", "-D", "-N", node, called=node)
        self.until(lambda: self.idle() == 2, "two nodes")

    def inside(self, argv):
        return ["nsenter", "-t", str(self.net.pid), "--net", "--", *[str(a) for a in argv]]

    def environment(self, **more):
        return {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin", "SLURM_CONF": f"{self.folder}/slurm.conf", **more}

    def daemon(self, *argv, called=None):
        name = called or argv[0]
        with open(f"{self.folder}/{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(self.inside(argv), env=self.environment(), stdin=subprocess.DEVNULL,
                                                  stdout=out, stderr=out, start_new_session=True)

    def call(self, *argv, **env):
        return proc.run(self.inside(argv), env=self.environment(**env), cwd=self.folder)

    def must(self, *argv, **env):
        done = self.call(*argv, **env)
        if done.code:
            raise RuntimeError(f"{done.argv}: {done.out}{done.err}{self.logs()}")
        return done.out

    def idle(self):
        states = self.call("sinfo", "-h", "-N", "-o", "%T").out.split()
        return sum(state == "idle" for state in states)

    def until(self, true, what, seconds=START_SECONDS):
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise RuntimeError(f"no {what}: {self.logs()}")
            time.sleep(0.1)

    def logs(self):
        said = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith((".out", ".log")):
                with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as f:
                    said.append(f"== {name}\n{f.read()[-1500:]}")
        return "\n".join(said)

    def tasks(self, job):
        """{task: state} of an array's tasks, as long as the controller remembers them."""
        out = self.call("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%K %T").out
        return dict(line.split() for line in out.splitlines() if line.strip())

    def lose(self, node):
        """The node dies: its daemon, and what it had started; the controller is told, as its time-out would tell it.

        The managers of steps go first: one that sees its script die would tell the controller of a failed job.
        """
        self.daemons[node].kill()
        self.daemons[node].wait()
        started = [pid for pid, environ in environments() if environ.get("SLURMD_NODENAME") == node
                   and environ.get("SLURM_CONF") == f"{self.folder}/slurm.conf"]
        managers = {parent for parent in map(parent_of, started) if parent and comm_of(parent) == "slurmstepd"}
        if not managers:
            raise RuntimeError(f"nothing runs on {node}: {self.logs()}")
        for pid in [*managers, *started]:
            kill(pid)
        self.must("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def hurry(self, job):
        """A job that was put back waits for two minutes; not here.

        Some of it is needed: a node refuses a job whose credential is not of a later second than the one at which
        that job's last credential was revoked there, and the controller then calls the job failed.
        """
        lines = self.call("squeue", "-h", "-r", "-t", "pending", "-j", job, "-o", "%i %r").out.splitlines()
        waiting = {line.split()[0] for line in lines if line.split()[-1] == "BeginTime"}
        now = time.monotonic()
        self.put_back = {task: self.put_back.get(task, now) for task in waiting}
        for task, since in self.put_back.items():
            if now - since > REVOKED_SECONDS:
                self.call("scontrol", "update", f"JobId={task}", "StartTime=now")

    def stop(self):
        self.call("scancel", "--signal=KILL", "--full", "-u", "root")
        for daemon in reversed(list(self.daemons.values())):
            if daemon.poll() is None:
                daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid, environ in environments():
            if environ.get("SLURM_CONF") == f"{self.folder}/slurm.conf":
                kill(pid)
        self.net.stdin.close()
        self.net.stdout.close()
        self.net.wait()


def kill(pid):
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass


def environments():
    """(process, its environment when it began) of every process that may be looked at."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    pairs = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            yield int(name), dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def comm_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return None


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None
