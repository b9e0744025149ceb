"""How many system calls and instructions an image takes in a fleet whose headers change, and in one that is checked."""
import collections
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import ImageTest, main

FEW, MANY = 1200, 1800  # some waves each; the difference is without what a run takes once

# valgrind counts an instruction for each byte that one instruction sets, which is chosen by the processor's caches.
PLAIN_MEMSET = "glibc.cpu.x86_rep_stosb_threshold=100000000"


def calls_of(log):
    """By name, from strace's table."""
    rows = (line.split() for line in log.splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[0][0].isdigit()}


class Fleets(ImageTest):
    def images(self, *fleets):
        first = self.create(size="1M", lazy_refcounts="off")
        os.truncate(first, 320 << 10)  # whole clusters, or the first amend makes them so
        for n in fleets:
            os.makedirs(self.path(f"fleet/{n}"))
            for i in range(n):
                shutil.copyfile(first, self.path(f"fleet/{n}/{i:04}.qcow2"))

    def amend(self, n, value, jobs=("-j2",), keep_undo="off"):
        return ["-q", *jobs, self.manifest(f"""
            version: 1
            defaults: {{lazy_refcounts: "{value}", keep_undo: {keep_undo}}}
            images: [{{path: "fleet/{n}/*.qcow2"}}]
            """)]


@unittest.skipUnless(strace.works(), strace.MISSING)
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "a sanitizer makes calls of its own")
class Calls(Fleets):
    def counted(self, *argv):
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-c", "-o", log.name, qbatch.absolute(qbatch.TOOL), *argv],
                            env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            return calls_of(log.read())

    def each(self, calls):
        """Of an image; a barrier and its waits are shared by a wave: they are less than half a call."""
        (fewest, few), (most, many) = calls.items()
        names = sorted(set(few) | set(many))
        each = {name: (many.get(name, 0) - few.get(name, 0)) / (most - fewest) for name in names}
        each.pop("total", None)
        return {name: round(n, 2) for name, n in each.items() if n > 0.01}

    def test_an_image_takes_twelve_calls_and_five_to_find_other_users(self):
        self.images(FEW, MANY)
        each = self.each({n: self.counted(*self.amend(n, "on")) for n in (FEW, MANY)})
        self.assertLess(each.pop("futex", 0), 1, each)  # of a wave's loops; more of them wait when traced
        self.assertLess(sum(each.values()), 12 + 5 + 0.6, each)
        self.assertLess(each.get("mprotect", 0), 0.2, each)  # the heap of a thread

    def test_the_heap_does_not_shrink_and_grow_with_each_image_that_is_checked(self):
        fleets = (200, 400)
        self.images(*fleets)
        each = self.each({n: self.counted("check", "-q", "-j4", "--from-file", self.listed(n)) for n in fleets})
        self.assertLess(sum(each.get(name, 0) for name in ("brk", "madvise", "mprotect", "mmap", "munmap")), 0.2, each)
        self.assertLess(sum(each.values()), 28, each)

    def test_images_that_are_checked_are_opened_many_at_a_time(self):
        fleets = (400, 1000)
        self.images(*fleets)
        each = self.each({n: self.counted("check", "-q", "-j2", "--from-file", self.listed(n)) for n in fleets})
        self.assertLess(sum(each.get(name, 0) for name in ("recvmsg", "sendmsg", "writev")), 1, each)
        for name in ("futex", "read", "clock_nanosleep"):  # of who waits for others, which differs when traced
            each.pop(name, None)
        self.assertLess(sum(each.values()), 22, each)

    def test_images_that_are_undone_are_claimed_many_at_a_time(self):
        fleets = (512, 1024)
        self.images(*fleets)
        counts = {}
        for n in fleets:
            state = self.path(f"state-{n}")
            proc.must([qbatch.TOOL, "-q", "--state", state, *self.amend(n, "on", keep_undo="on")])
            counts[n] = self.counted("undo", "-q", "-j2", "--state", state, "last")
        each = self.each(counts)
        self.assertLess(sum(each.get(name, 0) for name in ("recvmsg", "sendmsg", "writev", "openat")), 0.4, each)
        self.assertLess(sum(each.values()), 38, each)

    def test_the_extents_of_an_image_are_asked_for_once(self):
        image, fleets = self.create(size="4M"), (100, 200)
        self.io(image, "write -q 0 1M")
        proc.must(["qemu-io", "-d", "unmap", "-c", "discard -q 256k 512k", "--image-opts",
                   f"driver=qcow2,file.driver=file,file.filename={image},pass-discard-request=off"])
        for n in fleets:
            os.makedirs(self.path(f"fleet/{n}"))
            for i in range(n):
                shutil.copyfile(image, self.path(f"fleet/{n}/{i:04}.qcow2"))
        each = self.each({n: self.counted("-q", "-j2", self.manifest(f"""
            version: 1
            defaults: {{reclaim: {{free: on}}}}
            images: [{{path: "fleet/{n}/*.qcow2"}}]
            """)) for n in fleets})
        self.assertGreater(each.get("fallocate", 0), 0.9, each)
        self.assertLess(each.get("ioctl", 0), 1.5, each)
        self.assertLess(each.get("sync_file_range", 0), 1.5, each)

    def test_clusters_that_move_are_read_into_the_buffer_that_is_written(self):
        few, many = (self.scattered(n) for n in (64, 256))
        counts = {n: self.counted("amend", "-q", "-o", "reclaim.compact=on", image)
                  for n, image in ((64, few), (256, many))}
        each = self.each(counts)
        self.assertLess(each.get("mmap", 0) + each.get("munmap", 0) + each.get("brk", 0), 0.1, each)
        self.assertLess(each.get("sync_file_range", 0), 0.1, each)

    def scattered(self, n):
        """Of 2n stretches every second one is free, so that a compaction moves n / 2, one by one."""
        image = self.create(f"scattered-{n}.qcow2", size="256M")
        self.io(image, f"write -q -P 7 0 {2 * n * 128}k")
        argv = ["qemu-io", "-t", "unsafe", "-d", "unmap"]
        for i in range(n):
            argv += ["-c", f"discard -q {i * 256}k 128k"]
        proc.must([*argv, "--image-opts",
                   f"driver=qcow2,file.driver=file,file.filename={image},pass-discard-request=off"])
        return image

    def listed(self, n):
        path = self.path(f"{n}.txt")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(self.path(f"fleet/{n}/{i:04}.qcow2") + "\n" for i in range(n))
        return path

    def opened(self, *argv):
        """The lines of strace that open files or give up rights, of a run over one image."""
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-e", "trace=openat,seccomp", "-o", log.name,
                             qbatch.absolute(qbatch.TOOL), *argv], env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            return log.read().splitlines()

    def test_limits_of_control_groups_are_read_once_and_while_that_is_allowed(self):
        self.images(1)
        lines = self.opened("-q", self.amend(1, "on")[-1])  # the number of workers is not chosen
        groups = [line.split('"')[1] for line in lines if "cgroup" in line]
        self.assertEqual(len(groups), len(set(groups)), groups)
        self.assertEqual(sum(name == "/proc/self/cgroup" for name in groups), 1, groups)
        confined = [i for i, line in enumerate(lines) if " seccomp(" in line]
        self.assertFalse([line for line in lines[confined[0]:] if "cgroup" in line] if confined else [], lines)

    def test_tables_of_files_have_their_size_before_there_are_threads(self):
        """Later, each time that one doubles, whoever opens a file waits for ten milliseconds."""
        n = 600
        self.images(n)
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-e", "trace=fcntl,clone,clone3,openat2", "-o", log.name,
                             qbatch.absolute(qbatch.TOOL), *self.amend(n, "on")], env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            lines = log.read().splitlines()
        size, threads, opened = {}, set(), {}
        for line in lines:
            process, call = line.split(None, 1)
            if made := re.search(r"F_DUPFD_CLOEXEC, (\d+)", call):
                if int(made[1]) >= size.get(process, 0):
                    self.assertNotIn(process, threads, line)
                size[process] = int(made[1]) + 1
            if "CLONE_THREAD" in call:
                threads.add(process)
            if "openat2" in call and (fd := re.search(r"= (\d+)$", call)):
                opened[process] = max(opened.get(process, 0), int(fd[1]))
        self.assertEqual(len(size), 2, lines[:50])  # the process of images, and that of the opener
        self.assertGreater(max(size.values()), n)
        opener = size.keys() & opened.keys() - {max(size, key=size.get)}
        self.assertTrue(opener, (size, opened))
        self.assertGreater(min(size[process] for process in opener), max(opened.values()))

    def test_the_files_of_a_manifest_are_looked_up_several_at_a_time(self):
        self.images(FEW)
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-qq", "-e", "trace=newfstatat,fstatat64,statx", "-o", log.name,
                             qbatch.absolute(qbatch.TOOL), "--dry-run", *self.amend(FEW, "on")],
                            env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            # those before the first by a process that opens images
            looks = [line.split()[0] for line in log.read().split(" statx(")[0].splitlines() if ".qcow2" in line]
        self.assertGreater(len(set(looks)), 1, collections.Counter(looks))
        self.assertEqual(len(looks), FEW)

    def waves(self, n, value, *injections):
        """How many images each wave has."""
        argv = [qbatch.absolute(qbatch.TOOL), "--report", self.path("report"), *self.amend(n, value)]
        done = strace.run(argv, *injections).result if injections else proc.run(argv)
        self.assertEqual(done.code, 0, done.err)
        with open(self.path("report"), encoding="utf-8") as f:
            counted = collections.Counter(json.loads(line).get("wave") for line in f)
        counted.pop(None, None)
        self.assertEqual(sum(counted.values()), n)
        return [counted[wave] for wave in sorted(counted)]

    def test_waves_are_small_until_a_barrier_takes_longer_than_the_work(self):
        n = 1500
        self.images(n, 500)
        self.assertEqual(self.waves(500, "on"), [500])  # in one
        self.assertLessEqual(max(self.waves(n, "on")[:2]), 128)  # no barrier was waited for
        slow = self.waves(n, "off", "syncfs:delay_enter=1s")
        self.assertGreater(max(slow), 256, slow)
        self.assertLessEqual(max(slow), 512, slow)

    def test_a_run_that_has_ended_is_opened_once_by_later_ones(self):
        self.images(1)
        os.mkdir(self.path("state"), 0o700)
        for value in ("on", "off", "on"):
            self.opened("--state", self.path("state"), *self.amend(1, value))
        names = set(os.listdir(self.path("state")))
        lines = self.opened("--state", self.path("state"), *self.amend(1, "off"))
        opened = [os.path.basename(line.split('"')[1]) for line in lines if '.journal"' in line]
        self.assertEqual(sorted(name for name in opened if name in names), sorted(names), opened)


@unittest.skipUnless(strace.works(), strace.MISSING)
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "a sanitizer makes calls of its own")
class History(Fleets):
    """What journals of earlier runs, which are kept for long, cost each later one: their last record."""
    LAST = 100_000  # bytes: what is read for that, and for the first record, some times over

    def setUp(self):
        super().setUp()
        self.images(400, 1)
        os.mkdir(self.path("state"), 0o700)

    def run_of(self, n, value, *more):
        return ["--state", self.path("state"), "-q", self.manifest(f"""
            version: 1
            defaults: {{lazy_refcounts: "{value}"{"".join(", " + key for key in more)}}}
            images: [{{path: "fleet/{n}/*.qcow2"}}]
            """, name=f"{n}.yaml")]

    def must(self, *argv):
        done = qbatch.qbatch(*argv)
        self.assertEqual(done.code, 0, str(done))

    def read(self, journal, *argv):
        """How many bytes of the journal this reads."""
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-y", "-e", "trace=read,pread64", "-s", "0", "-o", log.name,
                             qbatch.absolute(qbatch.TOOL), *argv], env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            ends = (re.search(r"= (\d+)$", line) for line in log.read().splitlines() if journal in line)
            return sum(int(end[1]) for end in ends if end)

    def kept(self):
        """A run whose journal has much to undo, and its size."""
        self.must(*self.run_of(400, "on", "keep_undo: on"))
        journal, = os.listdir(self.path("state"))
        size = os.path.getsize(self.path(f"state/{journal}"))
        self.assertGreater(size, 3 * self.LAST)
        return journal, size

    def test_of_a_run_that_was_undone(self):
        journal, size = self.kept()
        self.must("undo", "--state", self.path("state"), "-q", journal.removesuffix(".journal"))
        self.assertLess(self.read(journal, *self.run_of(1, "on")), self.LAST)  # another manifest
        self.assertGreater(self.read(journal, *self.run_of(400, "off")), size)
        self.assertLess(self.read(journal, *self.run_of(400, "on")), self.LAST)
        self.assertLess(self.read(journal, "status", "--state", self.path("state")), self.LAST)

    def test_of_a_run_that_is_kept_for_its_undo(self):
        journal, size = self.kept()
        for i in range(52):  # more than are kept for a while
            self.must(*self.run_of(1, "off" if i % 2 else "on"))
        self.assertLess(self.read(journal, *self.run_of(1, "on")), self.LAST)
        self.assertGreater(os.path.getsize(self.path(f"state/{journal}")), size)
        self.must("undo", "--state", self.path("state"), "-q", journal.removesuffix(".journal"))


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "instructions of the sanitizer")
class Instructions(Fleets):
    """By one worker, without a process that valgrind could not follow."""

    def counted(self, *argv):
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-valgrind-") as log:
            done = proc.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                             f"--log-file={log.name}", qbatch.absolute(qbatch.TOOL), "--sandbox=off", "-j1", *argv],
                            env={**os.environ, "GLIBC_TUNABLES": PLAIN_MEMSET})
            self.assertEqual(done.code, 0, done.err)
            return int(re.search(r"Collected : (\d+)", log.read()).group(1))

    def test_of_an_image_whose_header_changes(self):
        """43,000 to 51,000, as threads find each other waiting; 9,800 of them follow the path name by name, as
        valgrind knows no openat2."""
        few, many = 600, 1800
        self.images(few, many)
        counted = {n: self.counted(*self.amend(n, "on", jobs=())) for n in (few, many)}
        each = (counted[many] - counted[few]) / (many - few)
        self.assertLess(each, 65_000)


@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "memory of the sanitizer")
class Pages(Fleets):
    """What the process that began, and forked the one that works on the images, takes."""

    def faults(self, *argv):
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *argv])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
            minor = int(f.read().rpartition(")")[2].split()[7])
        self.assertEqual(process.wait(), 0)
        return minor

    def test_a_result_does_not_copy_the_page_that_its_job_shares_with_the_other_process(self):
        self.images(FEW, 3 * FEW)
        faults = [self.faults(*self.amend(n, "on")) for n in (FEW, 3 * FEW)]
        self.assertLess((faults[1] - faults[0]) / (2 * FEW), 0.28)  # 0.33 with the copies


if __name__ == "__main__":
    main()
