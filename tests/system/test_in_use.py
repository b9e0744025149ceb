"""An image that somebody else uses without QEMU's locks, and file systems whose locks say little."""
import contextlib
import errno
import fcntl
import mmap
import os
import shutil
import signal
import subprocess
import unittest

import context  # noqa: F401
import ground
import proc
import qbatch
from fixture import ImageTest, main

NEWCOMER = os.environ.get("NEWCOMER", "")
ROOT = os.geteuid() == 0


# ---- who has an image open ----------------------------------------------------------------------
@contextlib.contextmanager
def opened(image, flags):
    fd = os.open(image, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def mapped(image, flags, prot):
    """Mapped; the descriptor is closed."""
    with opened(image, flags) as fd:
        # Of Python's own, mmap keeps a descriptor open all the same.
        view = mmap.mmap(fd, 4096, prot=prot)
    try:
        yield
    finally:
        view.close()


@contextlib.contextmanager
def flocked(image, how):
    with opened(image, os.O_RDONLY) as fd:
        fcntl.flock(fd, how)
        yield


@contextlib.contextmanager
def looped(image, *flags):
    device = proc.must(["losetup", "--find", "--show", *flags, image]).strip()
    try:
        yield
    finally:
        proc.must(["losetup", "--detach", device])


@contextlib.contextmanager
def in_qemu(*argv):
    """qemu-io has it open and waits."""
    holder = subprocess.Popen(["qemu-io", *argv], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    holder.stdin.write("length\n")
    holder.stdin.flush()
    holder.stdout.readline()
    try:
        yield
    finally:
        holder.stdin.close()
        holder.wait(30)
        holder.stdout.close()


def unlocked(image, *more):
    return in_qemu(*more, "--image-opts", f"driver=qcow2,file.driver=file,file.locking=off,"
                                          f"file.filename={image}")


USERS = {  # who, how, and what qbatch calls it; None: no obstacle
    "plain_writer": (lambda i: opened(i, os.O_RDWR), "open for writing"),
    "appender": (lambda i: opened(i, os.O_WRONLY | os.O_APPEND), "open for writing"),
    "mapped_writer": (lambda i: mapped(i, os.O_RDWR, mmap.PROT_READ | mmap.PROT_WRITE),
                      "open for writing"),
    "loop_device": (looped, "open for writing"),
    "qemu_without_locks": (unlocked, "open for writing"),
    "qemu": (lambda i: in_qemu("-f", "qcow2", i), "another process"),
    "qemu_reader": (lambda i: in_qemu("-r", "-f", "qcow2", i), "another process"),
    "flock_exclusive": (lambda i: flocked(i, fcntl.LOCK_EX), "flock"),
    "flock_shared": (lambda i: flocked(i, fcntl.LOCK_SH), "flock"),
    "reader": (lambda i: opened(i, os.O_RDONLY), None),
    "mapped_reader": (lambda i: mapped(i, os.O_RDONLY, mmap.PROT_READ), None),
    "path": (lambda i: opened(i, os.O_PATH), None),
    "read_only_loop": (lambda i: looped(i, "--read-only"), None),
    "qemu_reader_without_locks": (lambda i: unlocked(i, "-r"), None),
    "qemu_forced_reader": (lambda i: in_qemu("-r", "-U", "-f", "qcow2", i), None),
    "nobody": (lambda i: contextlib.nullcontext(), None),
}


class Used(ImageTest):
    """One image for each kind of user, who is there while qbatch runs over all of them."""
    who = USERS

    def fill(self, there):
        first = self.create("first.qcow2")
        self.io(first, "write -q -P 1 0 64k")
        for name in self.who:
            shutil.copyfile(first, f"{there}/{name}.qcow2")

    @contextlib.contextmanager
    def users(self, there):
        with contextlib.ExitStack() as stack:
            for name, (how, _) in self.who.items():
                stack.enter_context(how(f"{there}/{name}.qcow2"))
            yield

    def run_over(self, there, value, *flags):
        manifest = self.manifest(f"""
            version: 1
            images: [{{path: "{there}/*.qcow2", lazy_refcounts: {value}, keep_undo: on}}]
            """)
        return qbatch.qbatch("--json", *flags, manifest)

    def by_name(self, answer):
        return {os.path.basename(r["path"])[:-len(".qcow2")]: r for r in answer.records}

    def assert_seen(self, answer, status, skipped="skipped"):
        records = self.by_name(answer)
        self.assertEqual(set(records), set(self.who), str(answer))
        for name, (_, words) in self.who.items():
            with self.subTest(name):
                record = records[name]
                self.assertEqual(record["status"], skipped if words else status, str(record))
                if words:
                    self.assertEqual(record["error"]["code"], "locked")
                    self.assertIn(words, record["error"]["message"])
                else:
                    self.assertFalse(record["writers_unseen"] or record["without_locks"])

    def look(self, there):
        before = {name: proc.sha256(f"{there}/{name}.qcow2") for name in self.who}
        with self.users(there):
            self.assert_seen(self.run_over(there, "on", "--dry-run"), "would_change")
            self.assertEqual(before, {n: proc.sha256(f"{there}/{n}.qcow2") for n in self.who})
            answer = self.run_over(there, "on")
            self.assertEqual(answer.code, 3, str(answer))
            self.assert_seen(answer, "changed")
            for name, (_, words) in self.who.items():
                if words:
                    self.assertEqual(proc.sha256(f"{there}/{name}.qcow2"), before[name], name)
        answer = self.run_over(there, "on")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual({r["status"] for r in answer.records}, {"changed", "unchanged"})
        for name in self.who:
            self.assert_sound(f"{there}/{name}.qcow2")

    def on(self, there):
        self.fill(there)
        self.look(there)


@unittest.skipUnless(ROOT, "loop devices take root")
class ByFileSystem(Used):
    def stand_on(self, make, *args):
        try:
            with make(self.folder, *args) as there:
                self.on(there)
        except ground.NotHere as why:
            self.skipTest(str(why))

    def test_where_tests_usually_are(self):
        os.mkdir(self.path("here"))
        self.on(self.path("here"))

    def test_on_xfs(self):
        self.stand_on(ground.disk, "xfs")

    def test_on_ext4(self):
        self.stand_on(ground.disk, "ext4", "64M")

    def test_on_a_subvolume_of_btrfs(self):
        self.stand_on(ground.subvolume)

    def test_on_tmpfs(self):
        self.stand_on(ground.tmpfs)

    def test_on_fuse(self):
        # The recorder's files cannot be mapped.
        self.who = {name: user for name, user in USERS.items() if "mapped" not in name}
        self.stand_on(ground.fuse, "bindfs")

    def fill_lower(self, there):
        """A file with another name becomes another inode when it is first opened for writing."""
        self.fill(there)
        os.mkdir(f"{there}/links")
        for name in self.who:
            os.link(f"{there}/{name}.qcow2", f"{there}/links/{name}")

    def test_on_an_overlay_whose_lower_files_become_upper_ones(self):
        try:
            with ground.overlay(self.folder, self.fill_lower) as there:
                self.look(there)
        except ground.NotHere as why:
            self.skipTest(str(why))


class Undo(ImageTest):
    """The same is asked before an undo, and before what it needs is given up."""

    def setUp(self):
        super().setUp()
        self.image = self.create(compat="1.1")
        self.io(self.image, "write -q -P 1 0 64k", "write -q -z 0 64k", "write -q -z -u 64k 64k")
        self.state = ["--state", self.path("state")]
        answer = self.run_manifest("""
            version: 1
            images: [{path: a.qcow2, compat: "0.10", keep_undo: on}]
            """, *self.state)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.sha = proc.sha256(self.image)

    def test_neither_touches_an_image_in_use(self):
        for how in (lambda: opened(self.image, os.O_RDWR),
                    lambda: flocked(self.image, fcntl.LOCK_SH)):
            for flags in ([], ["--discard-undo"], ["--dry-run"]):
                with self.subTest(flags=flags), how():
                    answer = qbatch.qbatch("undo", "--json", *self.state, *flags, "last")
                    self.assertEqual(answer.error, "locked", str(answer))
                    self.assertNotEqual(answer.code, 0, str(answer))
                    self.assertEqual(proc.sha256(self.image), self.sha)
        answer = qbatch.qbatch("undo", "--json", *self.state, "last")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_sound(self.image)


class Waiting(ImageTest):
    def test_a_run_that_waits_is_told_when_the_writer_has_gone(self):
        image = self.create()
        argv = [qbatch.absolute(qbatch.TOOL), "--json", self.manifest("""
            version: 1
            policy: {on_locked: wait, lock_timeout: 60}
            images: [{path: a.qcow2, lazy_refcounts: on}]
            """)]
        with opened(image, os.O_RDWR):
            waiting = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(0.5)
        out, _ = waiting.communicate(timeout=60)
        self.assertEqual(waiting.returncode, 0, out)
        self.assertIn('"changed"', out)


# ---- what is held, and for how long -------------------------------------------------------------
@unittest.skipUnless(os.path.exists(NEWCOMER), "NEWCOMER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "the sanitizer wants to be loaded first")
class Newcomers(ImageTest):
    def with_newcomer(self, *argv, **variables):
        env = {**os.environ, "LD_PRELOAD": NEWCOMER, **{k: str(v) for k, v in variables.items()}}
        return qbatch.qbatch(*argv, cwd=self.folder, env=env)

    def amend(self, image, *flags, options="lazy_refcounts=on", **variables):
        return self.with_newcomer("amend", "--json", *flags, "-o", options, image, **variables)

    def test_who_opens_the_image_while_the_lease_is_held_does_not_kill_the_program(self):
        answer = self.amend(self.create(), NEWCOMER_OPENS=1)
        self.assertIn("waits for the lease", answer.result.err)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))

    def test_what_a_guest_appends_before_the_lock_is_held_is_seen(self):
        for options in ("lazy_refcounts=on", "compat=0.10", "size=9M"):
            for flags in ([], ["--dry-run"]):
                with self.subTest(options=options, flags=flags):
                    image = self.create(size="8M", compat="1.1")
                    self.io(image, "write -q -P 1 0 64k", "write -q -z 64k 64k")
                    grown = self.copy(image, "grown")
                    self.io(grown, "write -q -P 2 4M 1M")
                    self.assertGreater(os.path.getsize(grown), os.path.getsize(image))
                    answer = self.amend(image, *flags, options=options, NEWCOMER_GROWS=grown)
                    self.assertEqual(answer.code, 0, str(answer))
                    self.assertEqual(answer.status, "would_change" if flags else "changed")
                    self.assertEqual(answer.first["space"]["file_size_before_bytes"],
                                     os.path.getsize(grown))
                    self.assert_sound(image)
                    self.assert_reads(image, "4M", "1M", 2)
                    self.assert_reads(image, 0, "64k", 1)

    def test_a_kernel_that_refuses_locks(self):
        for number in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            with self.subTest(errno.errorcode[number]):
                image = self.create()
                sha = proc.sha256(image)
                answer = self.amend(image, NEWCOMER_ERRNO=number)
                self.assertEqual((answer.code, answer.error), (1, "no_locks"), str(answer))
                self.assertIn(os.strerror(number), answer.first["error"]["message"])
                self.assertEqual(proc.sha256(image), sha)
                answer = self.amend(image, "--on-no-locks", "continue", NEWCOMER_ERRNO=number)
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertTrue(answer.first["without_locks"])


class Leases(ImageTest):
    def test_an_image_under_a_lease_of_another_program_is_locked_and_not_waited_for(self):
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGIO, before)
        for kind, flags in ((fcntl.F_RDLCK, os.O_RDONLY), (fcntl.F_WRLCK, os.O_RDWR)):
            image = self.create()
            with self.subTest(kind), opened(image, flags) as fd:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
                answer = qbatch.amend(image, lazy_refcounts="on")
                self.assertEqual((answer.code, answer.error), (3, "locked"), str(answer))
                self.assertIn("lease", answer.first["error"]["message"])

    @unittest.skipUnless(ROOT, "only root becomes somebody else")
    def test_who_is_not_the_owner_is_told_what_was_not_asked(self):
        image = self.create()
        os.chmod(self.folder, 0o755)
        os.chmod(image, 0o666)
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                qbatch.absolute(qbatch.TOOL), "amend", "--json", "-o"]
        if proc.run([*argv[:4], "test", "-x", argv[4]]).code:
            self.skipTest("nobody may not run the program here")
        answer = qbatch.Answer(proc.run([*argv, "lazy_refcounts=on", image]))
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertTrue(answer.first["writers_unseen"], str(answer))
        with flocked(image, fcntl.LOCK_SH):
            answer = qbatch.Answer(proc.run([*argv, "lazy_refcounts=off", image]))
        self.assertEqual((answer.code, answer.error), (3, "locked"), str(answer))


# ---- file systems without locks that reach everybody --------------------------------------------
class NoLocks(ImageTest):
    @contextlib.contextmanager
    def mounted_as(self, subtype):
        try:
            with ground.fuse(self.folder, subtype) as there:
                image = self.create()
                shutil.copyfile(image, f"{there}/a.qcow2")
                yield f"{there}/a.qcow2"
        except ground.NotHere as why:
            self.skipTest(str(why))

    def test_an_image_on_a_networked_fuse_file_system_fails_untouched(self):
        with self.mounted_as("sshfs") as image:
            record = self.refused(image, "no_locks", lazy_refcounts="on")
            self.assertIn("fuse.sshfs", record["error"]["message"])
            self.assertIn("policy.on_no_locks", record["error"]["hint"])
            self.refused(image, "no_locks", flags=["--dry-run"], lazy_refcounts="on")

    def test_the_policy_or_the_option_lets_it_continue(self):
        with self.mounted_as("glusterfs") as image:
            for value, flags, policy, code in (
                    ("on", [], "continue", 0), ("off", [], "fail", 1),
                    ("off", ["--on-no-locks", "continue"], "fail", 0),
                    ("on", ["--on-no-locks", "fail"], "continue", 1)):
                answer = self.run_manifest(f"""
                    version: 1
                    policy: {{on_no_locks: {policy}}}
                    images: [{{path: {image}, lazy_refcounts: {value}, keep_undo: on}}]
                    """, "--state", self.path("state"), *flags)
                self.assertEqual(answer.code, code, str(answer))
                self.assertEqual(answer.first["without_locks"], code == 0, str(answer))
            self.assert_sound(image)
            out = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "--on-no-locks", "continue",
                            "-o", "lazy_refcounts=on", image]).out
            self.assertIn("note: the file system has no locks", out)

    def test_an_undo_asks_the_same(self):
        with self.mounted_as("rclone") as image:
            argv = ["--json", "--state", self.path("state"), "--on-no-locks", "continue"]
            answer = qbatch.qbatch(*argv, self.manifest(f"""
                version: 1
                images: [{{path: {image}, lazy_refcounts: on, keep_undo: on}}]
                """))
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
            answer = qbatch.qbatch("undo", *argv[:3], "last")
            self.assertEqual((answer.code, answer.error), (1, "no_locks"), str(answer))
            answer = qbatch.qbatch("undo", *argv, "last")
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))

    def test_other_values_are_refused(self):
        answer = qbatch.amend(self.create(), flags=["--on-no-locks", "skip"], lazy_refcounts="on")
        self.assertEqual(answer.code, 2, str(answer))
        answer = self.run_manifest("""
            version: 1
            policy: {on_no_locks: ignore}
            images: [{path: a.qcow2, lazy_refcounts: on}]
            """)
        self.assertEqual(answer.code, 2, str(answer))


if __name__ == "__main__":
    main()
