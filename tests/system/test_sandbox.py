"""A process that reads strangers' images has given its rights up, and everything works all the same."""
import contextlib
import errno
import json
import os
import resource
import signal
import struct
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import guest
import proc
import qbatch
import strace
from fixture import OTHER_BUILD, ImageTest, main
from kernel import AUTO, HERE, LACKS, NO_STRICT, SEES_OTHERS, STRICT

INTRUDER = os.environ.get("INTRUDER", "")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
TRIED = ("open", "proc", "socket", "execve", "ptrace", "process", "pidfd", "memory", "connect", "affinity", "kill", "rename",
         "unlink", "chmod", "ring", "handle", "limit", "code")


class SandboxTest(ImageTest):
    def environment(self, **variables):
        return {**os.environ, "LD_PRELOAD": INTRUDER, **variables}

    def chain(self, n=3, size="8M"):
        """Overlays whose amend to 0.10 reads their backing file's length, and writes tables."""
        base = self.create("base.qcow2", size=size)
        self.io(base, "write -q -P 5 0 1M")
        images = []
        for i in range(n):
            images.append(self.create(f"o{i}.qcow2", size=size, backing="base.qcow2"))
            self.io(images[-1], "write -q -z 64k 64k", "write -q -P 3 512k 64k")
        return images

    def fleet(self, n, name=""):
        """Images whose amend to 0.10 reads and writes tables."""
        self.raw(f"{name}base.raw", "4M", "write -q -P 9 0 4M")
        first = self.create(f"{name}00.qcow2", size="4M", backing=f"{name}base.raw", backing_fmt="raw", cluster_size=4096)
        self.io(first, "write -q -z -u 0 64k")
        return [first] + [self.copy(first, f"{name}{i:02}.qcow2") for i in range(1, n)]

    def child_of(self, pid, name):
        """The process of that name, once it is there."""
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until:
            for child in family.children(pid):
                if family.name(child) == name:
                    return child
            time.sleep(0.005)
        raise RuntimeError(f"there is no {name}")

    def what_was_tried(self, log):
        with open(log, encoding="utf-8") as f:
            lines = [dict(word.split("=") for word in line.split()) for line in f]
        self.assertTrue(lines)
        return lines


@unittest.skipIf(SANITIZED or not os.path.exists(INTRUDER) or not HERE["seccomp"], OTHER_BUILD)
class Denied(SandboxTest):
    def assert_denied(self, lines):
        """Each of the calls, in the last of the process's reads and writes."""
        for name in TRIED:
            self.assertEqual(int(lines[-1][name]), errno.EPERM, f"{name}: {lines[-1]}")

    def test_an_amend_cannot_open_run_or_connect_when_it_reads_tables(self):
        image = self.create(size="64M", lazy_refcounts="on")
        log = self.path("log")
        for jobs in ("1", "2"):
            if os.path.exists(log):
                os.unlink(log)
            answer = qbatch.qbatch("amend", "--json", "-j", jobs, "--io", "posix", "-o", "refcount_bits=64", image,
                                   self.copy(image, "b.qcow2"), env=self.environment(INTRUDER_LOG=log))
            self.assertEqual(answer.code, 0, str(answer))
            self.assertEqual(answer.summary["sandbox"]["in_force"], AUTO, str(answer))
            self.assert_denied(self.what_was_tried(log))
            self.assert_sound(image)
            image = self.create(f"next{jobs}.qcow2", size="64M")

    def test_commands_that_read_neither(self):
        images = self.chain()
        for command in ("check", "map", "info"):
            log = self.path(f"log-{command}")
            answer = qbatch.qbatch(command, "--json", "--io", "posix", *images, env=self.environment(INTRUDER_LOG=log))
            self.assertEqual(answer.code, 0, str(answer))
            self.assert_denied(self.what_was_tried(log))

    def test_what_reads_headers_alone_neither(self):
        images = self.fleet(40)  # a shard is no quick run
        over = self.create("over.qcow2", size="1M", backing=os.path.basename(images[0]))
        manifest = self.manifest('version: 1\ngraph: {scan: ["."]}\nimages: [{path: "*.qcow2", compat: "0.10"}]\n')
        for argv in (["graph"], ["--shard=1/2", "--dry-run"]):
            log = self.path(f"log{argv[0]}".replace("/", "-"))
            done = proc.run([qbatch.absolute(qbatch.TOOL), *argv, manifest], cwd=self.folder,
                            env=self.environment(INTRUDER_LOG=log))
            self.assertEqual(done.code, 0, done.err)
            lines = self.what_was_tried(log)
            self.assertGreaterEqual(len(lines), len(images))
            for line in lines:
                self.assert_denied([line])
            self.assertIn("over.qcow2" if argv == ["graph"] else "shard 1/2", done.out)
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "graph", manifest], cwd=self.folder).out,
                         proc.run([qbatch.absolute(qbatch.TOOL), "graph", manifest], cwd=self.folder,
                                  env=self.environment(INTRUDER_LACKS="fork")).out)
        self.assert_sound(over)

    @unittest.skipUnless(strace.reads_memory(), strace.BLIND)
    def test_nor_what_reads_the_chain_of_an_entry(self):
        top = self.chain()[-1]
        manifest = self.manifest(f"version: 1\nimages: [{{chain: {os.path.basename(top)}, lazy_refcounts: on}}]\n")
        log = self.path("log")
        done = proc.run(["strace", "-f", "-qq", "-e", "trace=seccomp,pread64", "-o", log,
                         qbatch.absolute(qbatch.TOOL), "lint", manifest])
        self.assertEqual(done.code, 0, done.err)
        with open(log, encoding="utf-8") as f:
            calls = [(line.split()[0], "header" if "QFI" in line else line.split()[1].split("(")[0]) for line in f]
        readers = {pid for pid, call in calls if call == "header"}
        self.assertEqual(len(readers), 1, calls)
        for reader in readers:
            self.assertEqual([call for pid, call in calls if pid == reader][0], "seccomp", calls)
        died = proc.run(["strace", "-f", "-qq", "-e", "trace=seccomp", "-e", "inject=seccomp:signal=KILL", "-o", log,
                         qbatch.absolute(qbatch.TOOL), "lint", manifest])
        self.assertEqual(died.code, 2, died.err)  # in a run the image fails alone: system.crash_headers
        self.assertIn("two processes that read its backing chain have ended", died.err)

    def test_each_thread_of_the_process_has_given_them_up(self):
        images = self.chain()
        for argv in (["amend", "-j", "3", "-o", "compat=0.10", "--progress=json", *images], ["check", "-j", "3", *images]):
            process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), argv[0], "--io", "posix", *argv[1:]],
                                       env=self.environment(INTRUDER_LOG=self.path("log"), INTRUDER_STOPS="1"),
                                       stdout=subprocess.DEVNULL, stderr=self.opened("err"))
            pid = self.reader(process) if argv[0] == "check" else process.pid
            threads = self.threads_once_stopped(pid)
            self.assertGreaterEqual(len(threads), 3, argv)
            if argv[0] == "check":
                self.assert_no_terminal(pid)
            for status in threads:
                self.assertEqual(status["Seccomp"], "2", status)
                self.assertEqual(status["NoNewPrivs"], "1", status)
                self.assertEqual({int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh")}, {0}, status)
            with open(f"/proc/{pid}/limits", encoding="utf-8") as f:
                self.assertIn(["Max", "core", "file", "size", "0", "0"], [line.split()[:6] for line in f])
            while process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)
            self.assertEqual(process.returncode, 0, argv)

    def opened(self, name):
        """No terminal, but it is not to have it either."""
        file = open(self.path(name), "w", encoding="utf-8")  # noqa: SIM115
        self.addCleanup(file.close)
        return file

    def assert_no_terminal(self, pid):
        """It could read there what is typed, and write what a terminal heeds."""
        if SEES_OTHERS:
            self.assertEqual({os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)}, {"/dev/null"})

    def reader(self, process):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until:
            if reader := family.reader(process.pid):
                return reader
            time.sleep(0.005)
        raise RuntimeError("there is no process that reads images")

    def threads_once_stopped(self, pid):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until:
            statuses = []
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as f:
                    statuses.append({k: v.strip() for k, v in (line.split(":", 1) for line in f)})
            if all(s["State"].startswith("T") for s in statuses):
                return statuses
            time.sleep(0.005)
        raise RuntimeError("it was never stopped")

    def test_off_leaves_them_and_says_so(self):
        image = self.create(size="64M")
        log = self.path("log")
        answer = qbatch.qbatch("amend", "--json", "--io", "posix", "--sandbox=off", "-o", "refcount_bits=64", image,
                               env=self.environment(INTRUDER_LOG=log))
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(answer.summary["sandbox"],
                         {"policy": "off", "in_force": [], "landlock_version": 0, "reason": "policy.sandbox is off"})
        self.assertEqual(self.what_was_tried(log)[-1]["open"], "0")
        plain = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "--sandbox=off", "-o", "refcount_bits=16", image])
        self.assertIn("policy.sandbox is off", plain.out)

    def test_a_process_that_dies_in_between_leaves_the_old_image_or_the_new_one(self):
        image = self.create(size="64M")
        before = guest.read_all(image)
        died = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "--io", "posix", "-o", "refcount_bits=64", image],
                        env=self.environment(INTRUDER_LOG=self.path("log"), INTRUDER_DIES="1"))
        self.assertEqual(died.code, -signal.SIGABRT)
        self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(image))
        self.assertEqual(qbatch.qbatch("amend", "--json", "-o", "refcount_bits=64", image).code, 0)

    # ---- what the kernel lacks ---------------------------------------------------------------
    def test_what_a_kernel_lacks_is_left_out_with_a_notice_and_refused_by_strict(self):
        for lacking in ("landlock", "seccomp"):
            image = self.create(f"{lacking}.qcow2", size="64M")
            env = self.environment(INTRUDER_LACKS=lacking)
            answer = qbatch.qbatch("amend", "--json", "-o", "refcount_bits=64", image, env=env)
            self.assertEqual(answer.code, 0, str(answer))
            self.assertEqual(answer.summary["sandbox"]["in_force"], [n for n in AUTO if n != lacking])
            self.assertEqual(answer.result.err.count("sandbox: "), 1, str(answer))
            before = proc.sha256(image)
            for command in (["amend", "-o", "refcount_bits=16"], ["check"], ["info"], ["map"]):
                answer = qbatch.qbatch(command[0], "--json", "--sandbox=strict", *command[1:], image, env=env)
                self.assertIn(answer.code, (1, 2), str(answer))
                self.assertIn("policy.sandbox is strict", answer.result.err)
                self.assertEqual(answer.records, [], str(answer))
            manifest = self.manifest("version: 1\npolicy: {sandbox: strict}\n"
                                     f"images: [{{chain: {lacking}.qcow2, lazy_refcounts: on}}]\n")
            linted = proc.run([qbatch.absolute(qbatch.TOOL), "lint", manifest], env=env)
            self.assertEqual(linted.code, 2, linted.err)
            self.assertIn("policy.sandbox is strict", linted.err)
            self.assertEqual(proc.sha256(image), before)

    @unittest.skipIf(LACKS, NO_STRICT)
    def test_strict_where_nothing_lacks(self):
        images = self.chain()
        for command in (["amend", "-o", "compat=0.10"], ["check"], ["info"], ["map"]):
            answer = qbatch.qbatch(command[0], "--json", "--sandbox=strict", *command[1:], *images)
            self.assertEqual(answer.code, 0, str(answer))
            self.assertEqual(answer.result.err, "")

    def test_the_program_says_what_there_is(self):
        words = proc.run([qbatch.absolute(qbatch.TOOL), "--version", "-v"]).out
        self.assertIn("sandbox    no new privileges, no capabilities", words)
        image = self.create(size="64M")
        page = self.path("page.html")
        run = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-v", "--html", page, "-o", "refcount_bits=64", image])
        self.assertIn("sandbox: no new privileges, no capabilities", run.out)
        with open(page, encoding="utf-8") as f:
            self.assertIn("a filter of system calls", f.read())

    # ---- many images -------------------------------------------------------------------------
    @unittest.skipIf(LACKS, NO_STRICT)
    def test_a_large_run_has_given_them_up_before_it_reads_any_image(self):
        for jobs in ("1", "2"):
            images = self.fleet(50, name=f"j{jobs}-")
            log = self.path(f"log-{jobs}")
            answer = qbatch.qbatch("amend", "--json", "-j", jobs, "--io", "posix", "--sandbox=strict", "-o", "compat=0.10",
                                   *images, env=self.environment(INTRUDER_LOG=log))
            self.assertEqual(answer.code, 0, str(answer)[-400:])
            self.assertEqual(answer.summary["sandbox"]["in_force"], STRICT)
            lines = self.what_was_tried(log)
            self.assertGreater(len(lines), 100)
            for line in lines:
                self.assert_denied([line])
            for image in images[::7]:
                self.assert_sound(image)

    def test_each_thread_of_a_large_run_and_of_one_in_steps(self):
        images = self.fleet(12)
        many = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", compat: "0.10"}]
            """)
        steps = self.manifest("""
            version: 1
            rollout: {steps: [1]}
            images: [{path: "0[0-4].qcow2", compat: "0.10"}]
            """, name="steps.yaml")
        for manifest, flags in ((many, ["--dry-run"]), (steps, []), (many, [])):
            process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--io", "posix", "-j", "2", "--progress=json", *flags,
                                        manifest], env=self.environment(INTRUDER_LOG=self.path("log"), INTRUDER_STOPS="1"),
                                       stdout=subprocess.DEVNULL, stderr=self.opened("err"))
            images_process = self.child_of(process.pid, "qbatch-images")
            threads = self.threads_once_stopped(images_process)
            self.assert_no_terminal(images_process)
            self.assertGreaterEqual(len(threads), 2)  # the display's is its parent's
            for status in threads:
                self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), status)
                self.assertEqual({int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh")}, {0}, status)
            while process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(images_process, signal.SIGCONT)
                time.sleep(0.01)
            self.assertEqual(process.returncode, 0)
        for image in images:
            self.assert_sound(image)

    @unittest.skipIf(LACKS, NO_STRICT)
    def test_an_undo_and_what_frees_what_it_needs(self):
        images = self.fleet(12)
        state = self.path("state")
        manifest = self.manifest("""
            version: 1
            defaults: {keep_undo: on}
            images: [{path: "*.qcow2", compat: "0.10"}]
            """)
        before = guest.read_all(images[5])
        for flags in ([], ["--discard-undo"]):
            run = qbatch.qbatch("--json", "--state", state, manifest)
            self.assertEqual(run.code, 0, str(run)[-400:])
            log = self.path("log-" + "".join(flags))
            answer = qbatch.qbatch("undo", "--json", "--state", state, "--io", "posix", "-j", "2", "--sandbox=strict",
                                   "last", *flags, env=self.environment(INTRUDER_LOG=log))
            self.assertEqual((answer.code, answer.summary["changed"]), (0, 12), str(answer)[-400:])
            self.assertEqual(answer.summary["sandbox"]["in_force"], STRICT)
            lines = self.what_was_tried(log)
            while lines[0]["open"] == "0":  # the journal is read before
                del lines[0]
            for line in lines:
                self.assert_denied([line])
            self.assertGreater(len(lines), 12)
            for image in images:
                self.assert_sound(image)
            self.assert_same_layers(before, guest.read_all(images[5]))

    def test_a_kernel_that_makes_no_process_leaves_the_run_as_it_is(self):
        images = self.fleet(9)
        env = self.environment(INTRUDER_LACKS="fork")
        before = [proc.sha256(i) for i in images]
        answer = qbatch.qbatch("amend", "--json", "--sandbox=strict", "-o", "lazy_refcounts=on", *images, env=env)
        self.assertEqual((answer.code, answer.records), (2, []), str(answer)[-400:])
        self.assertIn("cannot start the process that reads images", answer.result.err)
        self.assertEqual([proc.sha256(i) for i in images], before)
        answer = qbatch.qbatch("amend", "--json", "-o", "lazy_refcounts=on", *images, env=env)
        self.assertEqual(answer.code, 0, str(answer)[-400:])
        self.assertEqual(answer.summary["sandbox"]["in_force"], [])
        self.assertEqual(answer.result.err.count("sandbox: cannot start"), 1, answer.result.err)


class StillWorks(SandboxTest):
    """What a confined process has others do."""

    def test_backing_files_are_opened_by_the_rules(self):
        images = self.chain()
        os.chmod(self.path("base.qcow2"), 0o600)
        answer = qbatch.qbatch("amend", "--json", "-o", "compat=0.10", *images)
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 3, str(answer))
        for image in images:
            self.assert_sound(image)
        if os.geteuid() != 0:
            return
        mine = self.create("mine.qcow2", size="64M", backing="base.qcow2")
        os.chown(mine, 12345, 12345)
        for command in (["amend", "-o", "size=128M"], ["map"]):
            answer = qbatch.qbatch(command[0], "--json", *command[1:], mine, images[0])
            self.assertEqual(answer.error, "backing_refused", str(answer))
            self.assertIsNone(answer.records[1]["error"], str(answer))

    def test_reports_get_their_names(self):
        images = self.chain()
        for names in (["--html", "a.html", "--junit", "a.xml", "--summary", "a.json", "--joblog", "a.log"],):
            answer = qbatch.qbatch("amend", "--json", *names, "-o", "lazy_refcounts=on", *images, cwd=self.folder)
            self.assertEqual(answer.code, 0, str(answer))
        answer = qbatch.qbatch("check", "--json", "--html", "c.html", "--junit", "c.xml", *images, cwd=self.folder)
        self.assertEqual(answer.code, 0, str(answer))
        left = sorted(n for n in os.listdir(self.folder) if not n.endswith(".qcow2"))
        self.assertEqual(left, ["a.html", "a.json", "a.log", "a.xml", "c.html", "c.xml"])

    def test_an_image_that_waits_for_another_is_opened_later(self):
        base = self.create("base.qcow2", size="8M")
        over = self.create("over.qcow2", size="8M", backing="base.qcow2")
        answer = qbatch.qbatch("amend", "--json", "-o", "compat=0.10", over, base)
        self.assertEqual([r["status"] for r in answer.records], ["changed", "changed"], str(answer))

    def test_a_locked_image_is_tried_again(self):
        first, second = self.create("a.qcow2", size="64M"), self.create("b.qcow2", size="64M")
        used = self.use(second)
        manifest = self.manifest("""
            version: 1
            policy: {on_locked: wait, lock_timeout: 60}
            images: [{path: "?.qcow2", refcount_bits: 64}]
            """)
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", manifest], stdout=subprocess.PIPE, text=True)
        while self.refcount_bits(first) != 64:
            time.sleep(0.01)
        used.stdin.close()
        used.wait()
        out, _ = process.communicate(timeout=proc.TIMEOUT_SECONDS)
        self.assertEqual(process.returncode, 0, out)
        self.assertEqual(self.refcount_bits(second), 64)

    def refcount_bits(self, image):
        with open(image, "rb") as f:
            return 1 << int.from_bytes(f.read(100)[96:100], "big")

    def test_overlays_that_a_scan_finds_keep_their_base_from_shrinking(self):
        images = [self.create(f"{i:02}.qcow2", size="8M") for i in range(12)]
        os.mkdir(self.path("more"))
        over = self.create("more/over.qcow2", size="8M", backing="../03.qcow2")
        manifest = self.manifest("""
            version: 1
            graph: {scan: [more]}
            policy: {allow_shrink: true}
            images: [{path: "*.qcow2", size: 4M}]
            """)
        answer = qbatch.qbatch("--json", manifest)
        status = {os.path.basename(r["path"]): r["status"] for r in answer.records}
        self.assertEqual(status, {os.path.basename(i): "failed" if i == images[3] else "changed" for i in images})
        self.assertIn("more/over.qcow2", next(r for r in answer.records if r["error"])["error"]["message"])
        self.assert_sound(over)

    def test_a_few_of_many_images_are_locked_or_no_images(self):
        images = [self.create(f"{i:03}.qcow2") for i in range(140)]
        used = self.use(images[70])
        with open(images[3], "wb") as f:
            f.write(b"no image" * 100)
        os.unlink(images[139])
        answer = qbatch.qbatch("amend", "--json", "-o", "lazy_refcounts=on", *images)
        used.stdin.close()
        used.wait()
        wrong = {images[3]: "not_qcow2", images[70]: "locked", images[139]: "not_found"}
        self.assertEqual({r["path"]: r["error"]["code"] for r in answer.records if r["error"]}, wrong)
        self.assertEqual(answer.summary["changed"], 137)

    def test_few_open_files_are_enough(self):
        images = [self.create(f"{i:03}.qcow2") for i in range(100)]
        answer = qbatch.qbatch("amend", "--json", "-o", "lazy_refcounts=on", *images,
                               preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90)))
        self.assertEqual((answer.code, answer.summary["changed"]), (0, 100), str(answer)[-400:])

    def test_a_busy_host_and_the_disk_itself_are_asked(self):
        """What is read, or opened a second time, when the process cannot open any more."""
        self.raw("base.raw", "16M", "write -q -P 9 0 16M")
        first = self.create("00.qcow2", size="16M", backing="base.raw", backing_fmt="raw")
        self.io(first, "write -q -z -u 0 12M")
        images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, 10)]
        load = "load: 100, " if os.path.exists("/proc/pressure/io") else ""
        manifest = self.manifest(f"""
            version: 1
            limits: {{{load}wave: 10}}
            policy: {{verify: content}}
            images: [{{path: "*.qcow2", compat: "0.10", zero_method: write}}]
            """)
        before = guest.read_all(images[9])
        answer = qbatch.qbatch("--json", manifest)
        self.assertEqual((answer.code, answer.summary["changed"]), (0, 10), str(answer)[-400:])
        alone = qbatch.qbatch("amend", "--json", "--sandbox=off", "--verify", "content", "-o", "compat=1.1", images[5])
        self.assertEqual({r["verify"]["source"] for r in answer.records}, {alone.records[0]["verify"]["source"]})
        for image in images:
            self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(images[9]))

    def test_a_window_is_one_of_local_time(self):
        """The zone is six hours before the rest of the world, and the window open there alone."""
        hour = (time.gmtime().tm_hour + 6) % 24
        zone = self.path("zone")
        header = b"TZif2" + b"\0" * 15
        kind = struct.pack(">lBB", 6 * 3600, 0, 0) + b"ABC\0"
        one = header + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + kind
        with open(zone, "wb") as f:
            f.write(one + one + b"\n<ABC>-6\n")
        images = [self.create(f"{i:02}.qcow2") for i in range(9)]
        manifest = self.manifest(f"""
            version: 1
            limits: {{window: "{(hour + 23) % 24:02}:00-{(hour + 2) % 24:02}:00"}}
            images: [{{path: "*.qcow2", lazy_refcounts: on}}]
            """)
        answer = qbatch.qbatch("--json", "--deadline", "20", manifest, env={**os.environ, "TZ": ":" + zone})
        self.assertEqual((answer.code, answer.summary["changed"]), (0, len(images)), str(answer)[-400:])

    def kill_helper(self, manifest, *flags):
        """Starts a run, kills its helper after the first result, and returns what it came to."""
        with open(self.path("err"), "w+", encoding="utf-8") as err:
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", *flags, manifest], text=True,
                                   stdout=subprocess.PIPE, stderr=err)
            first = run.stdout.readline()
            images_process = self.child_of(run.pid, "qbatch-images")
            os.kill(self.child_of(images_process, "qbatch-opener"), signal.SIGKILL)
            *records, summary = (json.loads(line) for line in [first, *run.stdout])
            run.stdout.close()
            run.wait()
            err.seek(0)
            return run.returncode, records, summary, err.read()

    SLOW = """
        version: 1
        limits: {wave: 4, rate: 512k}
        MORE
        images: [{path: "*.qcow2", compat: "0.10", zero_method: write}]
        """

    def test_a_run_whose_helper_dies_goes_on_with_another(self):
        """Whoever kills it, and whatever the policy says of failures: none of these images failed."""
        for more in ("", "policy: {on_error: stop}"):
            images = self.fleet(40)
            before = guest.read_all(images[39])
            manifest = self.manifest(self.SLOW.replace("MORE", more))
            flags = ["--no-state"] if more else ["--state", self.path("state")]
            code, records, summary, err = self.kill_helper(manifest, *flags)
            self.assertEqual((code, summary["failed"], summary["skipped"]), (0, 0, 0), err)
            self.assertEqual(len({r["path"] for r in records}), 40)
            self.assertEqual(summary["changed"] + summary["unchanged"], 40)
            self.assertEqual(err.count("lost the one that opens files for it"), 1, err)
            for image in images:
                self.assert_sound(image)
            self.assert_same_layers(before, guest.read_all(images[39]))
            for image in images:
                os.unlink(image)

    def test_a_step_whose_helper_dies_fails_and_can_be_resumed(self):
        """What it has not opened yet fails, and nothing is damaged."""
        images = self.fleet(40)
        before = guest.read_all(images[39])
        manifest = self.manifest(self.SLOW.replace("MORE", "rollout: {steps: [30], order: manifest}"))
        code, records, summary, err = self.kill_helper(manifest, "--state", self.path("state"))
        self.assertEqual(code, 1, err)
        self.assertEqual({r["error"]["code"] for r in records if r["error"]}, {"internal", "cancelled"})
        for image in images:
            self.assert_sound(image)
        answer = qbatch.qbatch("--json", "--state", self.path("state"), "--resume", manifest)
        self.assertEqual(answer.code, 0, str(answer)[-400:])
        self.assertEqual(answer.summary["changed"], 40 - summary["changed"])
        self.assert_same_layers(before, guest.read_all(images[39]))
        self.assert_sound(images[39])

    def test_the_helper_goes_with_its_caller(self):
        images = self.chain()
        if SANITIZED or not os.path.exists(INTRUDER):
            self.skipTest(OTHER_BUILD)
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "check", "--io", "posix", *images],
                                   env=self.environment(INTRUDER_LOG=self.path("log"), INTRUDER_STOPS="1"),
                                   stdout=subprocess.DEVNULL)
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as f:
            helper = f.read().split()
            while not helper:
                f.seek(0)
                helper = f.read().split()
        process.kill()
        process.wait()
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while os.path.exists(f"/proc/{helper[0]}") and time.monotonic() < until:
            with open(f"/proc/{helper[0]}/stat", encoding="utf-8") as f:
                if f.read().rpartition(")")[2].split()[0] == "Z":
                    break
            time.sleep(0.005)
        else:
            self.assertFalse(os.path.exists(f"/proc/{helper[0]}"))


if __name__ == "__main__":
    main()
