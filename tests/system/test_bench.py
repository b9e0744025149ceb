"""qbatch-bench measures what it says it measures, and leaves nothing behind."""
import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import context  # noqa: F401
import bitmaps
import guest
import proc
import qbatch
from fixture import GIB, KIB, MIB, run_tests

BENCH = os.path.join(os.path.dirname(qbatch.absolute(qbatch.TOOL)), "qbatch-bench")

FLEETS = ("fleet", "check-fleet", "reclaim", "compact")
SIZES = {"compact": "128M", "raw": "512M"}  # of those that write data

LOOPS = os.geteuid() == 0 and proc.run(["losetup", "--find"]).code == 0


class Bench(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qbatch-test-bench.")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.json = os.path.join(self.dir, "results.json")
        self.work = os.path.join(self.dir, "work")
        os.mkdir(self.work)

    def bench(self, *argv, code=0):
        result = proc.run([BENCH, *argv, "--dir", self.work])
        self.assertEqual(result.code, code, f"{result.argv}\n{result.out}{result.err}")
        return result

    def left(self):
        return os.listdir(self.work)

    def start(self, *argv):
        return subprocess.Popen([BENCH, *argv, "--dir", self.work], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def wait_until_it_works(self, process):
        until = time.monotonic() + 30
        while not any(os.path.isdir(os.path.join(self.work, name, "images")) for name in self.left()):
            self.assertLess(time.monotonic(), until, "no image was ever made")
            self.assertIsNone(process.poll(), "it ended early")
            time.sleep(0.01)

    def wait_for_the_lock(self, name):
        """Until nobody holds the folder: a child that was just made has the lock of its parent for a moment."""
        try:
            folder = os.open(os.path.join(self.work, name), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return
        fcntl.flock(folder, fcntl.LOCK_EX)
        os.close(folder)

    def test_every_case_runs_and_leaves_nothing_behind(self):
        for case in ("expand", "fleet", "scan", "refcount", "check", "check-fleet", "shrink",
                     "snapshots", "bitmaps", "extended-l2", "data-file", "reclaim", "compact", "raw",
                     *["device"] * LOOPS, "one"):
            small = ["--size", SIZES.get(case, "2G")] + (["--images", "5"] if case in FLEETS else [])
            self.bench(case, *small, "--vs", "limit", "--runs", "2", "--export-json", self.json)
            with open(self.json, encoding="utf-8") as f:
                results = json.load(f)["results"]
            self.assertEqual([r["contender"] for r in results], ["qbatch", "limit"])
            for r in results:
                self.assertEqual(len(r["times"]), 2)
                self.assertEqual(r["exit_codes"], [0, 0])
                self.assertLessEqual(r["min"], r["median"])
            self.assertEqual(len(results[1]["ratios"]), 2)
            self.assertEqual(self.left(), [])

    def test_every_case_that_amends_runs_without_verification_too(self):
        """qbatch gets a manifest then, in which a key such as snapshots.delete is a mapping."""
        for case in ("expand", "fleet", "refcount", "shrink", "snapshots", "bitmaps",
                     "extended-l2", "data-file", "reclaim", "compact", "raw", *["device"] * LOOPS, "one"):
            small = ["--size", SIZES.get(case, "2G")] + (["--images", "5"] if case in FLEETS else [])
            self.bench(case, *small, "--verify", "none", "--warmup", "0", "--runs", "1")

    def kept(self, *argv):
        """The image after these runs; the last one was that of the last contender."""
        result = self.bench(*argv, "--warmup", "0", "--keep")
        folder = [l.split()[-1] for l in result.err.splitlines() if l.startswith("kept: ")][0]
        self.addCleanup(shutil.rmtree, folder)
        return os.path.join(folder, "images", "000000.qcow2")

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_bitmaps_are_there_with_every_second_granule_and_both_contenders_remove_them(self):
        for size, number, step, more in ((3 * MIB, 20, 4096, ()), (5 * MIB, 3, 512, ("--cluster-size", "512")),
                                         (GIB, 70, 65536, ("--used", "0"))):
            shape = ["bitmaps", "--size", str(size), "--bitmaps", str(number), "--granularity", str(step), *more]
            image = self.kept(*shape, "--runs", "0")
            proc.must(["qemu-img", "check", image])
            self.assertEqual(bitmaps.shown(image), {f"b{i}": (step, ["auto"]) for i in range(1, number + 1)})
            for name in ("b1", f"b{number}"):
                self.assertEqual(bitmaps.dirty(image, name),
                                 [(at, at + step) for at in range(0, size, 2 * step)])
            for last in ([], ["--vs", "qemu-img"]):
                image = self.kept(*shape, "--runs", "1", *last)
                proc.must(["qemu-img", "check", image])
                self.assertEqual(bitmaps.shown(image), {})

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_both_contenders_make_extended_entries_and_the_disk_reads_the_same(self):
        for shape in (["--every", "1"], ["--every", "3", "--snapshots", "2", "--scatter", "4"],
                      ["--every", "2", "--backing", "no", "--cluster-size", "16K", "--between", "none"]):
            shape = ["extended-l2", "--size", "3G", "--used", "2G", *shape]
            image = self.kept(*shape, "--runs", "1")
            converted = self.kept(*shape, "--runs", "1", "--vs", "qemu-img")
            self.assertFalse(self.is_extended(converted), "qemu-img amended the image itself")
            converted = os.path.join(os.path.dirname(converted), os.pardir, "converted.qcow2")
            for each in (image, converted):
                proc.must(["qemu-img", "check", each])
                self.assertTrue(self.is_extended(each))
            proc.must(["qemu-img", "compare", image, converted])
            own = [sum(e["length"] for e in guest.data_extents(each) if e["depth"] == 0)
                   for each in (image, converted)]  # the rest shows the backing file
            self.assertEqual(*own)
        result = self.bench("extended-l2", "--cluster-size", "8K", code=1)
        self.assertIn("at least 16K", result.err)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_both_contenders_make_an_image_of_a_raw_disk_that_reads_the_same(self):
        for pages, *more in ((9,), (48, "--stretch", "1", "--used", "3M"),
                             (768, "--cluster-size", "4K", "--stretch", "3")):
            shape = ["raw", "--size", "9M", *more, "--runs", "1"]
            image = self.kept(*shape)
            raw = self.kept(*shape, "--vs", "qemu-img")
            converted = os.path.join(os.path.dirname(raw), os.pardir, "converted.qcow2")
            with open(raw, "rb") as f:
                self.assertEqual(f.read().count(b"\xee" * 4096), pages)
            proc.must(["qemu-img", "check", "-q", image])
            proc.must(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, image])
            proc.must(["qemu-img", "compare", image, converted])
            self.assertEqual(guest.info(image)["cluster-size"], guest.info(converted)["cluster-size"])
        self.assertIn("--stretch is 1 to", self.bench("raw", "--stretch", "0", code=1).err)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_both_contenders_grow_the_disk_of_a_data_file_and_nothing_of_its_end_shows(self):
        home = os.getcwd()
        self.addCleanup(os.chdir, home)
        for to, junk, more in ((7 * MIB, 64 * KIB, ()), (3 * MIB, 9 * MIB, ("--every", "2")),
                               (64 * MIB, MIB, ("--cluster-size", "512", "--scatter", "3"))):
            shape = ["data-file", "--size", "2M", "--to", str(to), "--junk", str(junk), *more]
            longer = max(2 * MIB + junk, to)
            for who, disk, data, fill in (("nobody", 2 * MIB, 2 * MIB + junk, 0xee), ("qbatch", to, longer, 0),
                                          ("qemu-img", to, to, 0xee), ("limit", 2 * MIB, longer, 0)):
                with self.subTest(who=who, to=to):
                    os.chdir(home)
                    image = self.kept(*shape, "--runs", "0" if who == "nobody" else "1",
                                      *(["--vs", who] if who in ("qemu-img", "limit") else []))
                    os.chdir(os.path.dirname(image))  # from where QEMU takes the data file's name
                    proc.must(["qemu-img", "check", image])
                    self.assertEqual(guest.info(image)["virtual-size"], disk)
                    self.assertEqual(os.path.getsize(image + ".data"), data)
                    read = proc.must(["qemu-io", "-r", "-c", f"read -P 0 0 {disk}", image])
                    self.assertNotIn("failed", read)
                    with open(image + ".data", "rb") as f:
                        f.seek(2 * MIB)
                        self.assertEqual(set(f.read(min(junk, to - 2 * MIB))), {fill})
        result = self.bench("data-file", "--size", "2G", "--to", "2G", code=1)
        self.assertIn("--to is above --size", result.err)

    def logged(self, name, tool):
        """A program that notes its arguments, a line a start, and starts the tool with them."""
        path, log = os.path.join(self.dir, name), os.path.join(self.dir, name + ".log")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho \"$*\" >>{log}\nexec {tool} \"$@\"\n")
        os.chmod(path, 0o755)
        return path, log

    def lines(self, path):
        with open(path, encoding="utf-8") as f:
            return f.read().splitlines()

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_both_contenders_check_each_image_of_the_fleet_and_all_are_clean(self):
        ours, our_log = self.logged("qbatch", f"{qbatch.absolute(qbatch.TOOL)}")
        theirs, their_log = self.logged("qemu-img", shutil.which("qemu-img"))
        for shape in ([], ["--every", "0", "--snapshots", "2"], ["--every", "3", "--backing", "yes"]):
            for log in (our_log, their_log):
                if os.path.exists(log):
                    os.remove(log)
            image = self.kept("check-fleet", "--images", "7", "--jobs", "3", *shape, "--runs", "1", "--vs", "qemu-img",
                              "--vs", "limit", "--qbatch", ours, "--qemu-img", theirs)
            folder = os.path.dirname(image)
            images = sorted(os.path.join(folder, name) for name in os.listdir(folder))
            self.assertEqual(len(images), 7)
            checks = [line for line in self.lines(our_log) if line.startswith("check")]
            listed = os.path.join(os.path.dirname(folder), "images.list")
            self.assertEqual(checks, [f"check -q -j3 --from-file0 {listed}"])
            answers = proc.must([qbatch.absolute(qbatch.TOOL), *checks[0].split(), "--json"]).splitlines()
            self.assertEqual([json.loads(a).get("path") for a in answers[:-1]], images)
            checks = [line for line in self.lines(their_log) if line.startswith("check")]
            self.assertEqual(sorted(checks), [f"check -q {each}" for each in images])
            for each in images:
                proc.must(["qemu-img", "check", each])

    def images_beside(self, image):
        folder = os.path.dirname(image)
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))

    def test_a_fleet_with_nothing_free_or_a_tail_to_cut_is_refused(self):
        for more, sentence in ((["--stretch", "0"], "--stretch is at least 1"),
                               (["--used", "3M", "--stretch", "16"], "even number of stretches"),
                               (["--every", "2"], "among data only")):
            self.assertIn(sentence, self.bench("reclaim", "--images", "2", *more, code=1).err)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_what_is_compacted_becomes_half_as_long(self):
        shape = ["compact", "--images", "2", "--size", "64M", "--used", "16M"]
        original = self.images_beside(self.kept(*shape, "--runs", "0"))[0]
        for who in ("qbatch", "limit", "qemu-img"):
            with self.subTest(who):
                image = self.kept(*shape, "--runs", "1", *(["--vs", who] if who != "qbatch" else []))
                for each in self.images_beside(image):
                    self.assertLess(os.path.getsize(each), 9 * MIB + 512 * KIB)
                    if who != "limit":  # which cuts off what it has copied
                        proc.must(["qemu-img", "check", each])
                        proc.must(["qemu-img", "compare", original, each])

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_every_second_stretch_takes_space_and_each_contender_gives_it_back(self):
        for more in ([], ["--backing", "yes", "--stretch", "16"], ["--cluster-size", "4K", "--stretch", "64"]):
            shape = ["reclaim", "--images", "3", "--size", "64M", "--used", "2M", *more]
            made = self.images_beside(self.kept(*shape, "--runs", "0"))
            self.assertEqual(len(made), 3)
            for who in ("nobody", "qbatch", "limit", "qemu-img"):
                with self.subTest(who=who, more=more):
                    image = self.kept(*shape, "--runs", "0" if who == "nobody" else "1",
                                      *(["--vs", who] if who in ("qemu-img", "limit") else []))
                    images = self.images_beside(image)
                    self.assertEqual([os.path.basename(i) for i in images], [os.path.basename(m) for m in made])
                    for each, original in zip(images, made):
                        proc.must(["qemu-img", "check", each])
                        proc.must(["qemu-img", "compare", original, each])
                        self.assertEqual(*[guest.info(i).get("backing-filename") for i in (original, each)])
                        own = [e for e in guest.data_extents(each) if e["depth"] == 0 and e["data"]]
                        self.assertEqual(sum(e["length"] for e in own), MIB)
                        space = os.stat(each).st_blocks * 512
                        if who == "nobody":
                            self.assertGreaterEqual(space, 2 * MIB)
                        else:
                            self.assertLess(space, MIB + 512 * KIB)
                            self.assertGreaterEqual(space, MIB)
                        same = os.path.getsize(each) == os.path.getsize(original)
                        self.assertEqual(same, who != "qemu-img", "a copy is shorter, a file with holes is not")

    def devices(self):
        """The loop devices whose bytes lie in the folder."""
        found = []
        for name in glob.glob("/sys/block/loop*/loop/backing_file"):
            try:
                with open(name, encoding="utf-8") as f:
                    found += [name] * (self.work in f.read())
            except OSError:  # it goes this very moment
                pass
        return found

    def on_device(self, *argv):
        """The bytes of the device, which is gone."""
        image = self.kept("device", *argv)
        self.assertFalse(os.path.lexists(image), "a link to a device that may be anybody's")
        self.within_a_minute(lambda: not self.devices(), "the device stayed")
        return image + ".disk"

    @unittest.skipUnless(LOOPS, "a loop device can only be set up by root")
    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_each_contender_finds_room_inside_a_device_that_is_full(self):
        for width, *more in ((64, "--stretch", "4"), (64, "--cluster-size", "4K", "--stretch", "64"),
                             (1, "--to-bits", "1", "--bits", "8", "--stretch", "4")):
            shape = ["--size", "64M", "--used", "32M", *more]
            made = self.on_device(*shape, "--runs", "0")
            old = guest.info(made)["format-specific"]["data"]["refcount-bits"]
            for who in ("qbatch", "limit", "qemu-img"):
                with self.subTest(who=who, more=more):
                    disk = self.on_device(*shape, "--runs", "1", *(["--vs", who] if who != "qbatch" else []))
                    proc.must(["qemu-img", "check", disk])
                    proc.must(["qemu-img", "compare", made, disk])
                    self.assertEqual(guest.info(disk)["format-specific"]["data"]["refcount-bits"],
                                     old if who == "limit" else width)
                    self.assertEqual(os.path.getsize(disk), os.path.getsize(made))
                    self.assertGreater(os.stat(disk).st_blocks, os.stat(made).st_blocks, "nothing was written inside")

    def test_an_image_on_a_device_that_does_not_suit_is_refused(self):
        for more, sentence in ((["--backing", "yes"], "--backing no"), (["--stretch", "1"], "--stretch is at least 6"),
                               (["--to-bits", "16"], "another power of two")):
            self.assertIn(sentence, self.bench("device", "--size", "2G", *more, code=1).err)

    def test_who_may_set_up_no_device_is_told_so(self):
        os.chmod(self.dir, 0o755)
        os.chmod(self.work, 0o777)
        other = {"user": 65534} if os.geteuid() == 0 else {}
        try:
            done = subprocess.run([BENCH, "device", "--size", "2G", "--dir", self.work], capture_output=True,
                                  text=True, check=False, **other)
        except PermissionError:
            self.skipTest("nobody may start the program")
        if done.returncode == 0:
            self.skipTest("everybody may set up loop devices here")
        self.assertIn("no loop device can be set up", done.stderr)
        self.assertEqual(self.left(), [])

    @unittest.skipUnless(LOOPS, "a loop device can only be set up by root")
    def test_the_device_of_a_killed_bench_goes_with_it(self):
        killed = self.start("device", "--size", "2G", "--runs", "10000")
        self.within_a_minute(self.devices, "there was no device")
        killed.kill()
        killed.wait()
        self.within_a_minute(lambda: not self.devices(), "the device stayed")

    def is_extended(self, image):
        return guest.info(image)["format-specific"]["data"]["extended-l2"]

    def test_the_images_are_clean_to_qemu_and_so_is_what_qbatch_makes_of_them(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        shapes = (["--every", "3"], ["--every", "1", "--cluster-size", "4K"],
                  ["--every", "2", "--snapshots", "3"], ["--every", "4", "--scatter", "5"],
                  ["--every", "2", "--between", "none", "--backing", "no"],
                  ["--every", "2", "--used", "100M", "--cluster-size", "512"])
        for shape in shapes:
            for runs in ("0", "1"):  # as they are made; after an amend
                result = self.bench("expand", "--size", "1G", *shape, "--warmup", "0", "--runs", runs,
                                    "--keep")
                kept = [l.split()[-1] for l in result.err.splitlines() if l.startswith("kept: ")]
                proc.must(["qemu-img", "check", os.path.join(kept[0], "images", "000000.qcow2")])
                shutil.rmtree(kept[0])

    def test_interrupt_and_termination_remove_the_folder(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for delay in (0, 0.05, 0.2):
                process = self.start("fleet", "--images", "300", "--vs", "limit", "--runs", "1000")
                self.wait_until_it_works(process)
                time.sleep(delay)
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=60), 75)
                self.assertEqual(self.left(), [])

    def test_what_a_killed_bench_left_goes_with_the_next_one_and_a_running_one_stays(self):
        running = self.start("fleet", "--images", "300", "--runs", "10000")
        self.wait_until_it_works(running)
        theirs = self.left()
        killed = self.start("one", "--runs", "10000")
        while len(self.left()) < 2:
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        for name in set(self.left()) - set(theirs):
            self.wait_for_the_lock(name)
        self.bench("one", "--runs", "1")
        self.assertEqual(self.left(), theirs)
        running.terminate()
        self.assertEqual(running.wait(timeout=60), 75)
        self.assertEqual(self.left(), [])

    def test_what_a_killed_bench_runs_ends_with_it(self):
        command, mark = os.path.join(self.dir, "slow"), os.path.join(self.dir, "pid")
        with open(command, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n[ \"$1\" = --version ] && exit\necho $$ >{mark}.new\n"
                    f"mv {mark}.new {mark}\nexec sleep 1000\n")
        os.chmod(command, 0o755)
        killed = self.start("one", "--qbatch", command)
        self.within_a_minute(lambda: os.path.exists(mark), "the command never ran")
        killed.kill()
        killed.wait()
        with open(mark, encoding="utf-8") as f:
            pid = int(f.read())
        self.within_a_minute(lambda: self.is_gone(pid), "the command went on")

    def within_a_minute(self, happened, otherwise):
        until = time.monotonic() + 60
        while not happened():
            self.assertLess(time.monotonic(), until, otherwise)
            time.sleep(0.01)

    def is_gone(self, pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                return f.read().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def test_a_folder_goes_although_files_are_still_made_in_it(self):
        folder = os.path.join(self.work, "qbatch-bench.000000")
        os.mkdir(folder)
        writer = subprocess.Popen(["sh", "-c", f"n=0; while [ $n -lt 3000 ]; do n=$((n + 1)); : >{folder}/$n || exit; "
                                   "done"], stderr=subprocess.DEVNULL)
        self.addCleanup(writer.wait)
        self.within_a_minute(lambda: len(os.listdir(folder)) > 10, "no file was ever made")
        self.bench("one", "--runs", "1")
        self.assertEqual(self.left(), [])

    def test_a_run_that_fails_is_told_and_cleaned_up(self):
        result = self.bench("one", "--qbatch", "/bin/false", code=1)
        self.assertIn("gave 1", result.err)
        self.bench("one", "--qbatch", "/nonexistent", code=1)
        self.assertEqual(self.left(), [])

    def test_more_disk_than_allowed_is_refused_before_anything_is_made(self):
        result = self.bench("fleet", "--images", "100000", "--max-disk", "1G", code=1)
        self.assertIn("--max-disk", result.err)
        self.assertEqual(self.left(), [])

    def test_compare_exits_with_5_when_slower_beyond_noise(self):
        def write(name, unit):
            path = os.path.join(self.dir, name)
            times = [unit * (1 + i / 1000) for i in range(6)]
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"results": [{"title": "one size=1G", "contender": "qbatch",
                                        "times": times}]}, f)
            return path

        old, slow, near = write("old", 1.0), write("slow", 1.5), write("near", 1.05)
        for new, code in ((old, 0), (near, 0), (slow, 5)):
            result = proc.run([BENCH, "--compare", old, "--with", new, "--fail-on", "10%"])
            self.assertEqual(result.code, code, result.out + result.err)
        self.assertEqual(proc.run([BENCH, "--compare", slow, "--with", old]).code, 0)
        self.assertEqual(proc.run([BENCH, "--compare", "/nonexistent", "--with", old]).code, 2)


if __name__ == "__main__":
    if not os.access(BENCH, os.X_OK):
        raise SystemExit("qbatch-bench is not built")
    run_tests()
