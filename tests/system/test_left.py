"""Images that were in use are amended once their guest has stopped: libvirt's hook, and what it has started."""
import glob
import json
import os
import shutil
import subprocess
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
HOOK, LEFT = (os.path.join(SOURCE, "configs/libvirt", name) for name in ("qbatch-hook", "qbatch-left"))
BUILD = os.environ.get("QB_BUILD", os.path.join(SOURCE, "build"))


class Hook(ImageTest):
    def call(self, *argv, **kwargs):
        """As libvirt does: the guest's definition may stay unread.  No program can be found."""
        return proc.run([HOOK, *argv], stdin="<domain/>" * 100000, env={"PATH": "/nowhere", "QBATCH_LEFT": self.folder},
                        **kwargs)

    def test_a_file_for_each_fleet_once_libvirt_is_done_with_the_guest(self):
        for name in ("web", "data bases"):
            os.mkdir(self.path(name))
        for operation in ("prepare", "start", "started", "stopped", "reconnect", "migrate", "attach"):
            done = self.call("guest", operation, "begin", "-")
            self.assertEqual((done.code, done.out, done.err), (0, "", ""))
        self.assertEqual(glob.glob(self.path("*/*")), [])
        done = self.call("guest", "release", "end", "-")
        self.assertEqual((done.code, done.out, done.err), (0, "", ""))
        self.assertEqual(sorted(glob.glob(self.path("*/*"))), [self.path("data bases/stopped"), self.path("web/stopped")])

    def test_it_succeeds_whatever_happens(self):
        self.assertEqual(self.call("guest", "release", "end", "-").code, 0)  # no fleet
        self.assertEqual(self.call().code, 0)
        os.mkdir(self.path("web"))
        os.mkdir(self.path("web/stopped"))  # cannot be written
        done = self.call("guest", "release", "end", "-")
        self.assertEqual((done.code, done.err), (0, ""))
        shutil.rmtree(self.path("web"))
        os.mkdir(self.path("web"), 0o500)
        self.assertEqual(self.call("guest", "release", "end", "-", preexec=self.as_nobody()).code, 0)

    def as_nobody(self):
        os.chmod(self.folder, 0o755)
        return proc.become_nobody if os.geteuid() == 0 else None


class Left(ImageTest):
    def setUp(self):
        super().setUp()
        self.images = [self.create(f"{n}.qcow2", compat="0.10") for n in range(3)]
        self.state, self.flags = self.path("state"), self.path("flags")
        os.mkdir(self.flags)
        self.fleet = self.manifest('version: 1\nimages: [{path: "*.qcow2", size: +1M}]\n')

    def guest(self, image):
        """Uses the image until it is stopped."""
        used = subprocess.Popen(["qemu-io", "-f", "qcow2", image], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        used.stdin.write(b"length\n")
        used.stdin.flush()
        used.stdout.readline()
        self.addCleanup(self.stop, used)
        return used

    @staticmethod
    def stop(used):
        if not used.stdin.closed:
            used.stdin.close()
            used.wait()
            used.stdout.close()

    def environment(self, **more):
        return {**os.environ, "QBATCH": qbatch.absolute(qbatch.TOOL), "STATE_DIRECTORY": self.state, "QBATCH_SETTLE": "0",
                **more}

    def run_fleet(self, *flags):
        return proc.run([qbatch.absolute(qbatch.TOOL), "-q", *flags, self.fleet], env=self.environment())

    def left(self, **more):
        return proc.run([LEFT, self.fleet, self.flags], env=self.environment(**more))

    def sizes(self):
        return [json.loads(proc.must(["qemu-img", "info", "-U", "--output=json", image]))["virtual-size"] >> 20
                for image in self.images]

    def test_an_image_is_taken_once_its_guest_has_stopped(self):
        used = self.guest(self.images[1])
        self.assertEqual(self.run_fleet().code, 3)
        self.assertEqual(self.left().code, 3)  # in use still
        self.assertEqual(self.sizes(), [2, 1, 2])
        self.stop(used)
        open(os.path.join(self.flags, "stopped"), "w", encoding="utf-8").close()
        done = self.left()
        self.assertEqual((done.code, self.sizes()), (0, [2, 2, 2]), done.err)
        self.assertEqual(os.listdir(self.flags), [])
        done = self.left()
        self.assertEqual((done.code, done.out, self.sizes()), (0, "", [2, 2, 2]))
        for image in self.images:
            self.assert_sound(image)

    def test_a_manifest_with_any_name(self):
        self.fleet = shutil.move(self.fleet, self.path('the "new" fle\\et $1.yaml'))
        used = self.guest(self.images[1])
        self.assertEqual(self.run_fleet().code, 3)
        self.stop(used)
        done = self.left()
        self.assertEqual((done.code, self.sizes()), (0, [2, 2, 2]), done.err)

    def test_a_guest_that_stops_meanwhile_is_not_missed(self):
        used = self.guest(self.images[1])
        self.assertEqual(self.run_fleet().code, 3)
        self.stop(used)
        slow = self.path("slow")  # the next guest stops while the first one's image is amended
        with open(slow, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\n: >"{self.flags}/stopped"\nexec "{qbatch.absolute(qbatch.TOOL)}" "$@"\n')
        os.chmod(slow, 0o755)
        self.assertEqual(self.left(QBATCH=slow).code, 0)
        self.assertEqual(os.listdir(self.flags), ["stopped"])

    def test_only_runs_of_this_manifest_that_have_ended_with_images_in_use(self):
        used = self.guest(self.images[1])
        other = self.manifest('version: 1\nimages: [{path: "1.qcow2", lazy_refcounts: on, compat: "1.1"}]\n', "other.yaml")
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "-q", other], env=self.environment()).code, 3)
        self.stop(used)
        os.truncate(self.images[2], 40)
        self.assertEqual(self.run_fleet().code, 1)  # failed, not in use
        done = self.left()
        self.assertEqual((done.code, done.out), (0, ""), done.err)
        with open(self.images[1], "rb") as f:
            self.assertEqual(f.read(8)[7], 2, "a run of another manifest was resumed")

    def test_a_run_that_was_interrupted_is_left_to_people(self):
        self.manifest('version: 1\nlimits: {wave: 1, iops: 4}\nimages: [{path: "*.qcow2", size: +1M}]\n')
        used = self.guest(self.images[0])
        running = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "-q", self.fleet], env=self.environment(),
                                   stderr=subprocess.DEVNULL)
        before = os.stat(self.images[1]).st_mtime_ns
        while os.stat(self.images[1]).st_mtime_ns == before:
            self.assertIsNone(running.poll())
        running.terminate()
        self.assertEqual(running.wait(), 75)
        self.stop(used)
        before = self.sizes()
        self.assertEqual((self.left().code, self.sizes()), (0, before))


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not here")
class Units(ImageTest):
    def test_systemd_understands_them(self):
        root = self.path("root")
        proc.must(["cmake", "--install", BUILD, "--prefix", root + "/usr"])
        units = glob.glob(f"{root}/usr/lib/systemd/system/*@.*")
        self.assertEqual(len(units), 5)
        done = proc.run(["systemd-analyze", "verify", "--man=no", *units],
                        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{root}/usr/lib/systemd/system:"})
        said = [line for line in done.err.splitlines() if "qbatch" in line]
        self.assertEqual(said, [])


if __name__ == "__main__":
    main()
