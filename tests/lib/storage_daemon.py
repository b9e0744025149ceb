"""A qemu-storage-daemon, and what a guest and a backup program do with it."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

import proc

MISSING = None if shutil.which("qemu-storage-daemon") else "qemu-storage-daemon is not installed"
TRIES = 3


class Failed(RuntimeError):
    """A command's error, as QEMU words it."""


class Daemon:
    def __init__(self, folder):
        self.folder, self.buffer, self.nodes = folder, b"", []
        self.log = open(os.path.join(folder, "daemon.log"), "w+", encoding="utf-8")
        path = os.path.join(folder, "qmp")
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--chardev", f"socket,id=qmp,path={path},server=on,wait=off",
             "--monitor", "chardev=qmp"], stdout=self.log, stderr=self.log)
        self.qmp = self.connect(path)
        self.message()
        self.command("qmp_capabilities")

    def connect(self, path):
        while True:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(path)
                return client
            except OSError:
                client.close()
                if self.process.poll() is not None:
                    raise Failed(self.words()) from None
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends as a guest's QEMU does: persistent bitmaps are stored."""
        self.process.terminate()
        self.process.wait()
        self.qmp.close()
        words = self.words()
        self.log.close()
        if words:
            raise Failed(words)

    def words(self):
        self.log.seek(0)
        return self.log.read()

    def message(self):
        while b"\n" not in self.buffer:
            more = self.qmp.recv(65536)
            if not more:
                raise Failed(self.words())
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, /, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        for _ in range(TRIES):
            self.qmp.sendall(json.dumps(request).encode() + b"\n")
            answer = self.answer()
            if "return" in answer:
                return answer["return"]
            if "JSON parse error" not in answer["error"]["desc"]:
                break
            self.drain()
        raise Failed(answer["error"]["desc"])

    def answer(self):
        while True:
            answer = self.message()
            if "error" in answer or "return" in answer:
                return answer

    def drain(self):
        """QEMU 7.2 on a busy host may take a request apart, and complain of each piece: it carried out none."""
        self.qmp.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while self.qmp.recv(65536):
                pass
        self.qmp.settimeout(None)
        self.buffer = b""

    # ---- disks ------------------------------------------------------------------------------
    def open(self, node, image, **options):
        self.command("blockdev-add", driver="qcow2", node_name=node,
                     file={"driver": "file", "filename": image}, **options)

    def close(self, node):
        self.command("blockdev-del", node_name=node)

    def guest(self, node, *commands):
        """qemu-io commands of a guest that has the disk."""
        path = os.path.join(self.folder, "nbd")
        self.command("nbd-server-start", addr={"type": "unix", "data": {"path": path}})
        self.command("block-export-add", type="nbd", id="guest", node_name=node, name="disk",
                     writable=True)
        argv = ["qemu-io", "-f", "raw"]
        for command in [*commands, "flush"]:
            argv += ["-c", command]
        proc.must([*argv, f"nbd+unix:///disk?socket={path}"])
        self.command("nbd-server-stop")

    # ---- bitmaps ----------------------------------------------------------------------------
    def add_bitmap(self, node, name, **options):
        self.command("block-dirty-bitmap-add", node=node, name=name, persistent=True, **options)

    def bitmaps(self, node):
        """{name: (granularity, dirty bytes, recording)}"""
        found = next(n for n in self.command("query-named-block-nodes") if n["node-name"] == node)
        return {b["name"]: (b["granularity"], b["count"], b["recording"])
                for b in found.get("dirty-bitmaps", [])}

    def sha(self, node, name):
        """Of all bits, by QEMU."""
        return self.command("x-debug-block-dirty-bitmap-sha256", node=node, name=name)["sha256"]

    # ---- jobs -------------------------------------------------------------------------------
    def job(self, command, /, **arguments):
        self.command(command, job_id="job", auto_dismiss=False, **arguments)
        self.conclude()

    def conclude(self):
        while True:
            jobs = self.command("query-jobs")
            if jobs[0]["status"] == "ready":
                self.command("job-complete", id="job")
            elif jobs[0]["status"] == "concluded":
                self.command("job-dismiss", id="job")
                if "error" in jobs[0]:
                    raise Failed(jobs[0]["error"])
                return
            time.sleep(0.01)

    def backup(self, node, target, sync, **options):
        self.open("target", target)
        self.job("blockdev-backup", device=node, target="target", sync=sync, **options)
        self.close("target")
