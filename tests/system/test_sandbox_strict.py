"""policy.sandbox: strict. The process that reads images has a user of its own and sees no path; all is as with auto."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import ground
import guest
import proc
import qbatch
import reflinks
from fixture import OTHER_BUILD, ImageTest, main
from kernel import LACKS, NO_STRICT

INTRUDER = os.environ.get("INTRUDER", "")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
NUMBERS = 0x70000000  # of users that no account has
SOMEBODY = 12345
ADAPTED = ("seconds", "spans", "phases", "worker", "started", "io", "wave", "id", "run", "command", "state", "sandbox",
           "inode", "path", "manifest", "backup", "allocated")


def words(path):
    with open(path, encoding="utf-8") as f:
        return {key: value.split() for key, _, value in (line.partition(":") for line in f)}


def without_times(value):
    """What two runs over copies say alike."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not any(word in k for word in ADAPTED)}
    return [without_times(v) for v in value] if isinstance(value, list) else value


class StrictTest(ImageTest):
    def chain(self, folder, n=3):
        os.makedirs(self.path(folder), exist_ok=True)
        base = self.create(f"{folder}/base.qcow2", size="8M")
        self.io(base, "write -q -P 5 0 1M")
        images = []
        for i in range(n):
            images.append(self.create(f"{folder}/o{i}.qcow2", size="8M", backing="base.qcow2"))
            self.io(images[-1], "write -q -z 64k 64k", "write -q -P 3 512k 64k")
        return images

    def twins(self, folder, more=0):
        """Two copies of a fleet, which have the same holes."""
        self.chain(folder)
        self.create(f"{folder}/alone.qcow2", size="16M")
        for i in range(more):
            self.create(f"{folder}/more{i:02}.qcow2", size="1M")
        return self.copies(folder)

    def copies(self, folder):
        return tuple(shutil.copytree(self.path(folder), self.path(f"{folder}-{name}")) for name in ("auto", "strict"))


@unittest.skipIf(SANITIZED or not os.path.exists(INTRUDER), OTHER_BUILD)
@unittest.skipIf(LACKS, NO_STRICT)
class OfItsOwn(StrictTest):
    """Looks at /proc of a process that reads an image just now."""

    @contextlib.contextmanager
    def reader(self, argv, as_user=None, **variables):
        """That process, stopped; it goes on afterwards, and the run ends well."""
        env = {**os.environ, "LD_PRELOAD": INTRUDER, "INTRUDER_LOG": self.path("log"), "INTRUDER_STOPS": "1", **variables}
        who = {"user": as_user, "group": as_user, "extra_groups": []} if as_user else {}
        if os.geteuid() == 0 and not as_user:
            who = {"extra_groups": [4, 27]}  # which it is to lose
        folder = os.open("/", os.O_RDONLY)  # a path could begin there
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *argv], env=env, stdout=subprocess.PIPE, stdin=folder,
                               stderr=subprocess.PIPE, text=True, cwd=self.folder, **who)
        os.close(folder)
        pid = self.once_stopped(run)
        try:
            yield run, pid
        finally:
            while run.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)
            self.out, self.err = run.communicate()

    def once_stopped(self, run):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until and run.poll() is None:
            pid = family.reader(run.pid)
            with contextlib.suppress(OSError):
                if pid and all(words(f"/proc/{pid}/task/{t}/status")["State"][0] == "T"
                               for t in os.listdir(f"/proc/{pid}/task")):
                    return pid
            time.sleep(0.005)
        raise RuntimeError(f"it was never stopped: {run.communicate()}")

    def opener(self, pid):
        return next(child for child in family.children(pid) if family.name(child) == "qbatch-opener")

    def namespace(self, pid, kind):
        return os.readlink(f"/proc/{pid}/ns/{kind}")

    def assert_apart(self, pid, caller):
        for thread in os.listdir(f"/proc/{pid}/task"):
            at = f"/proc/{pid}/task/{thread}"
            status = words(f"{at}/status")
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), (["2"], ["1"]), status)
            self.assertEqual({int(status[c][0], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")}, {0}, status)
            self.assertEqual(len({*status["Uid"]}), 1, status)
            if caller == 0:
                self.assertGreater(int(status["Uid"][0]), NUMBERS)
                self.assertEqual((status["Gid"], status["Groups"]), (status["Uid"], []))
            else:
                self.assertEqual(status["Uid"][0], str(caller))
                self.assertNotEqual(self.namespace(thread, "user"), self.namespace("self", "user"))
            self.assertNotEqual(self.namespace(thread, "mnt"), self.namespace("self", "mnt"))
            with open(f"{at}/mountinfo", encoding="utf-8") as f:
                mounts = f.read().splitlines()
            self.assertEqual(len(mounts), 1, mounts)
            self.assertIn("tmpfs", mounts[0])
            self.assertEqual(mounts[0].split()[4], "/")
            self.assertIn("ro", mounts[0].split()[5].split(","))
            if os.geteuid() == 0:  # others may not look
                self.assertEqual([f for f in os.listdir(f"{at}/fd") if os.path.isdir(f"{at}/fd/{f}")], [])
                self.assertEqual((os.listdir(f"{at}/root/"), os.listdir(f"{at}/cwd/")), ([], []))

    def assert_left(self, pid, caller):
        """The one that opens files for it."""
        helper = self.opener(pid)
        self.assertEqual({*words(f"/proc/{helper}/status")["Uid"]}, {str(caller)})
        for kind in ("mnt", "user"):
            self.assertEqual(self.namespace(helper, kind), self.namespace("self", kind))

    def commands(self, images):
        manifest = self.manifest('version: 1\npolicy: {sandbox: strict}\n'
                                 'images: [{path: "of/o*.qcow2", lazy_refcounts: on}]\n')
        strict = ["--sandbox=strict", "--io", "posix", "-j", "2"]
        return (["amend", *strict, "-o", "compat=0.10", images[0]],
                ["amend", *strict, "--root", self.folder, "-o", "compat=1.1", *images],
                ["check", *strict, *images], ["map", *strict, images[1]], ["info", *strict, *images],
                ["graph", "-j", "2", manifest], ["--shard=1/2", "--dry-run", "--io", "posix", manifest])

    def test_a_user_of_its_own_and_no_path(self):
        for argv in self.commands(self.chain("of")):
            with self.reader(argv) as (run, pid):
                self.assert_apart(pid, os.geteuid())
                self.assert_left(pid, os.geteuid())
            self.assertEqual(run.returncode, 0, (argv, self.err))

    @unittest.skipUnless(os.geteuid() == 0, "only root can become an ordinary user")
    def test_an_ordinary_user_has_them_too(self):
        images = self.chain("of")
        os.chmod(self.folder, 0o777)
        for folder, _, names in os.walk(self.path("of")):
            for path in [folder, *(os.path.join(folder, name) for name in names)]:
                os.chown(path, SOMEBODY, SOMEBODY)
        for argv in self.commands(images):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("log"))
            with self.reader(argv, as_user=SOMEBODY) as (run, pid):
                self.assert_apart(pid, SOMEBODY)
                self.assert_left(pid, SOMEBODY)
            self.assertEqual(run.returncode, 0, (argv, self.err))
        self.assert_sound(images[0])

    def test_an_undo_and_one_that_is_given_up(self):
        images = self.chain("of")
        state = self.path("state")
        manifest = self.manifest('version: 1\ndefaults: {keep_undo: on}\npolicy: {sandbox: strict}\n'
                                 'images: [{path: "of/o*.qcow2", compat: "0.10"}]\n')
        for flags in ([], ["--discard-undo"]):
            done = qbatch.qbatch("--json", "--state", state, manifest)
            self.assertEqual(done.code, 0, str(done))
            with self.reader(["undo", "--state", state, "--io", "posix", "-j", "2", "--sandbox=strict", "last", *flags]) \
                    as (run, pid):
                self.assert_apart(pid, os.geteuid())
            self.assertEqual(run.returncode, 0, self.err)
            for image in images:
                self.assert_sound(image)

    def test_it_ends_with_its_parent(self):
        """Another user's process is told no signal by an ordinary one, and has none for its parent's end at first."""
        images = self.chain("of")
        with self.reader(["check", "--sandbox=strict", "--io", "posix", *images]) as (run, pid):
            helper = self.opener(pid)
            run.kill()
            run.wait()
            until = time.monotonic() + proc.TIMEOUT_SECONDS
            while (family.is_there(pid) or family.is_there(helper)) and time.monotonic() < until:
                time.sleep(0.005)
            there = family.is_there(pid), family.is_there(helper)
            for left in (pid, helper):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
            self.assertEqual(there, (False, False))

    def test_an_image_that_is_exchanged_before_its_flip_is_left(self):
        for key, code in (("lazy_refcounts=on", 1), ("refcount_bits=64", 1)):
            images = [self.create(f"{key}{i}.qcow2", size="4M") for i in range(6)]
            other = self.create(f"{key}other", size="4M")
            before = proc.sha256(other)
            with self.reader(["amend", "--json", "--sandbox=strict", "--io", "posix", "-j", "1", "-o", key,
                              *images]) as (run, _):
                os.rename(other, images[3])
                time.sleep(0.05)  # what was looked at before it stopped is old then
            self.assertEqual(run.returncode, code, self.err)
            records = [json.loads(line) for line in self.out.splitlines()]
            failed = {r["path"]: r["error"] for r in records[:-1] if r["error"]}
            self.assertEqual([*failed], [images[3]], failed)
            self.assertEqual((failed[images[3]]["code"], failed[images[3]]["message"]),
                             ("changed", "another file took the image's place"))
            self.assertEqual(proc.sha256(images[3]), before)

    def test_one_that_makes_no_namespace_is_refused(self):
        images = self.chain("of")
        before = [proc.sha256(i) for i in images]
        env = {**os.environ, "LD_PRELOAD": INTRUDER, "INTRUDER_LACKS": "unshare"}
        for argv in (["amend", "-o", "lazy_refcounts=on"], ["check"], ["info"], ["map"]):
            answer = qbatch.qbatch(argv[0], "--json", "--sandbox=strict", *argv[1:], *images, env=env)
            self.assertIn(answer.code, (1, 2), str(answer))
            self.assertIn("policy.sandbox is strict: without a user of its own: this host or container lets the caller make "
                          "no such namespace", answer.result.err)
            self.assertEqual(answer.records, [], str(answer))
        manifest = self.manifest("version: 1\npolicy: {sandbox: strict}\n"
                                 "images: [{chain: of/o1.qcow2, lazy_refcounts: on}]\n")
        for argv in (["lint", manifest], ["graph", manifest]):
            done = proc.run([qbatch.absolute(qbatch.TOOL), *argv], env=env)
            self.assertIn("policy.sandbox is strict", done.err)
            self.assertNotEqual(done.code, 0)
        self.assertEqual([proc.sha256(i) for i in images], before)
        for sandbox in ("auto", "off"):
            answer = qbatch.qbatch("amend", "--json", f"--sandbox={sandbox}", "-o", "lazy_refcounts=on", *images,
                                   env=env)
            self.assertEqual((answer.code, answer.result.err), (0, ""), str(answer))


@unittest.skipIf(SANITIZED, OTHER_BUILD)
@unittest.skipIf(LACKS, NO_STRICT)
class AsWithAuto(StrictTest):
    """The same results, and the same reports."""

    def both(self, argv, manifest=None, folders=(), code=0):
        """The command in each of two folders with the same files, and what it said, which is returned."""
        said = []
        for folder, sandbox in zip(folders, ("auto", "strict"), strict=True):
            if manifest:
                with open(os.path.join(folder, "fleet.yaml"), "w", encoding="utf-8") as f:
                    f.write(manifest.replace("SANDBOX", sandbox))
            answer = qbatch.qbatch(*[word.replace("SANDBOX", sandbox) for word in argv], cwd=folder)
            self.assertEqual(answer.code, code, str(answer)[-900:])
            said.append((without_times(answer.records), without_times(answer.summary)))
        self.assertEqual(said[0], said[1])
        for name in sorted(os.listdir(folders[0])):
            if name.endswith((".qcow2", ".raw")):
                self.assertEqual(proc.sha256(os.path.join(folders[0], name)), proc.sha256(os.path.join(folders[1], name)), name)
        return said[1][0]

    def shown(self, argv, folders):
        out = []
        for folder, sandbox in zip(folders, ("auto", "strict"), strict=True):
            done = proc.run([qbatch.absolute(qbatch.TOOL), *[word.replace("SANDBOX", sandbox) for word in argv]], cwd=folder)
            out.append((done.code, done.out, done.err))
        self.assertEqual(out[0], out[1])
        return out[1][1]

    HEAD = "version: 1\npolicy: {sandbox: SANDBOX}\n"

    def test_amends_checks_and_maps(self):
        for more in (0, 20):
            folders = self.twins(f"fleet{more}", more)
            images = sorted(n for n in os.listdir(folders[0]) if n != "base.qcow2")
            for wish in ("compat=0.10", "compat=1.1", "size=32M", "refcount_bits=64"):
                records = self.both(["amend", "--json", "--sandbox=SANDBOX", "-o", wish, *images],
                                    folders=folders)
                self.assertEqual({r["status"] for r in records}, {"changed"})
            for command in (["check"], ["check", "--level", "content"], ["info"], ["map"]):
                self.both([command[0], "--json", "--sandbox=SANDBOX", *command[1:], *images], folders=folders)

    def test_a_graph_and_a_scan(self):
        folders = self.twins("fleet")
        manifest = self.HEAD + 'graph: {scan: ["."]}\nimages: [{path: "o[01].qcow2", lazy_refcounts: on}]\n'
        self.both(["--json", "--no-state", "fleet.yaml"], manifest, folders)
        for form in ("tree", "dot", "json"):
            self.assertIn("o2.qcow2", self.shown(["graph", "--format", form, "fleet.yaml"], folders))

    def test_a_base_with_overlays_is_not_shrunk(self):
        folders = self.twins("fleet")
        manifest = ("version: 1\npolicy: {sandbox: SANDBOX, allow_shrink: true}\ngraph: {scan: ['.']}\n"
                    'images: [{path: "base.qcow2", size: 4M}, {path: "alone.qcow2", size: 4M}]\n')
        records = self.both(["--json", "--no-state", "fleet.yaml"], manifest, folders, code=1)
        self.assertEqual([r["status"] for r in records], ["failed", "changed"])

    def test_a_chain_of_an_entry(self):
        folders = self.twins("fleet")
        manifest = self.HEAD + "images: [{chain: o1.qcow2, lazy_refcounts: on}]\n"
        records = self.both(["--json", "--no-state", "fleet.yaml"], manifest, folders)
        self.assertEqual([r["status"] for r in records], ["changed", "changed"])

    def test_names_are_rewritten(self):
        folders = self.twins("fleet")
        for folder in folders:
            os.symlink("o2.qcow2", os.path.join(folder, "link.qcow2"))
            os.mkdir(os.path.join(folder, "there"))
            shutil.copy(os.path.join(folder, "base.qcow2"), os.path.join(folder, "there/base.qcow2"))
        manifest = self.HEAD + ("images: [{path: [o0.qcow2, link.qcow2], "
                                f"backing: {{rewrite: [{{from: '^base', to: 'HERE/there/base'}}], relative: on}}}}]\n")
        said = []
        for folder, sandbox in zip(folders, ("auto", "strict"), strict=True):
            with open(os.path.join(folder, "fleet.yaml"), "w", encoding="utf-8") as f:
                f.write(manifest.replace("SANDBOX", sandbox).replace("HERE", folder))
            answer = qbatch.qbatch("--json", "--no-state", "fleet.yaml", cwd=folder)
            self.assertEqual((answer.code, answer.summary["changed"]), (0, 2), str(answer)[-600:])
            said.append([r["after"]["backing_file"] for r in answer.records])
        self.assertEqual(said, [["there/base.qcow2"] * 2] * 2)

    def test_an_external_data_file(self):
        os.mkdir(self.path("data"))
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=d.raw,data_file_raw=on", "d.qcow2", "4M"],
                  cwd=self.path("data"))
        folders = self.copies("data")
        for wish in ("size=8M", "lazy_refcounts=on"):
            self.both(["amend", "--json", "--sandbox=SANDBOX", "-o", wish, "d.qcow2"], folders=folders)
        self.both(["check", "--json", "--sandbox=SANDBOX", "d.qcow2"], folders=folders)

    def test_an_undo(self):
        folders = self.twins("fleet")
        manifest = self.HEAD + 'defaults: {keep_undo: on}\nimages: [{path: "o?.qcow2", compat: "0.10"}]\n'
        for flags in ([], ["--discard-undo"]):
            self.both(["--json", "--state", "state", "fleet.yaml"], manifest, folders)
            self.both(["undo", "--json", "--state", "state", "--sandbox=SANDBOX", "last", *flags], folders=folders)

    def test_a_rollout(self):
        folders = self.twins("fleet", 10)
        for order in ("hash", "size", "manifest"):
            manifest = self.HEAD + (f"rollout: {{steps: [1, 50%], order: {order}}}\n"
                                    f'images: [{{path: "*.qcow2", size: "+{1 + len(order)}M"}}]\n')
            records = self.both(["--json", "--state", "state", "fleet.yaml"], manifest, folders)
            self.assertEqual({r["status"] for r in records}, {"changed"})

    def test_a_run_that_is_killed_is_resumed(self):
        images = [self.create(f"{i:02}.qcow2", size="8M", cluster_size=4096) for i in range(30)]
        for image in images:
            self.io(image, "write -q -z 0 2M")
        manifest = self.manifest("version: 1\npolicy: {sandbox: strict}\nlimits: {wave: 4, rate: 256k}\n"
                                 'images: [{path: "*.qcow2", compat: "0.10", zero_method: write, size: "+1M"}]\n')
        state = self.path("state")
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", "--state", state, manifest], text=True,
                               stdout=subprocess.PIPE)
        run.stdout.readline()
        run.kill()
        run.stdout.close()
        run.wait()
        answer = qbatch.qbatch("--json", "--state", state, "--resume", manifest)
        self.assertEqual((answer.code, answer.summary["failed"]), (0, 0), str(answer)[-600:])
        for image in images:
            self.assert_sound(image)
            with open(image, "rb") as f:
                self.assertEqual(int.from_bytes(f.read(32)[24:], "big"), 9 << 20)

    def test_a_process_that_dies_is_followed_by_another(self):
        images = [self.create(f"{i:02}.qcow2", size="8M") for i in range(20)]
        manifest = self.manifest("version: 1\npolicy: {sandbox: strict}\nlimits: {wave: 2, rate: 256k}\n"
                                 'images: [{path: "*.qcow2", refcount_bits: 64}]\n')
        with open(self.path("err"), "w+", encoding="utf-8") as err:
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", "--no-state", manifest], text=True,
                                   stdout=subprocess.PIPE, stderr=err)
            first = run.stdout.readline()
            os.kill(family.reader(run.pid), signal.SIGKILL)
            records = [json.loads(line) for line in [first, *run.stdout]]
            run.stdout.close()
            run.wait()
            err.seek(0)
            self.assertIn("was ended by signal 9", err.read())
        self.assertEqual(run.returncode, 0)
        self.assertEqual(len({r["path"] for r in records if r["type"] == "image"}), 20)
        for image in images:
            self.assert_sound(image)

    def test_a_fuse_file_system_that_shows_files_to_nobody_else(self):
        try:
            with ground.fuse(self.folder) as there:
                images = [f"{there}/{i}.qcow2" for i in range(3)]
                for image in images:
                    proc.must(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"])
                before = [proc.sha256(i) for i in images]
                for argv in (["amend", "-o", "refcount_bits=64"], ["amend", "-o", "lazy_refcounts=on"], ["check"], ["info"],
                             ["map"]):
                    answer = qbatch.qbatch(argv[0], "--json", "--sandbox=strict", *argv[1:], *images)
                    self.assertNotEqual(answer.code, 0, argv)
                    for record in answer.records:
                        self.assertEqual(record["error"]["code"], "permission", record)
                        self.assertIn("mount it with allow_other, or set policy.sandbox: auto", record["error"]["message"])
                    self.assertEqual(len(answer.records), 3)
                self.assertEqual([proc.sha256(i) for i in images], before)
                answer = qbatch.qbatch("amend", "--json", "--sandbox=auto", "-o", "refcount_bits=64", *images)
                self.assertEqual((answer.code, answer.summary["changed"]), (0, 3), str(answer))
        except ground.NotHere as why:
            self.skipTest(str(why))

    def test_few_images_of_each_file_system_at_a_time(self):
        folders = self.twins("fleet", 10)
        manifest = self.HEAD + 'limits: {jobs_per_filesystem: 1}\nimages: [{path: "*.qcow2", lazy_refcounts: on}]\n'
        self.both(["--json", "--no-state", "fleet.yaml"], manifest, folders)

    def test_paths_that_are_relative_or_links(self):
        image = self.create("a.qcow2", size="8M")
        os.mkdir(self.path("sub"))
        os.symlink("../a.qcow2", self.path("sub/l.qcow2"))
        for path in ("a.qcow2", "./sub/l.qcow2", "sub/../a.qcow2"):
            answer = qbatch.qbatch("amend", "--json", "--sandbox=strict", "-o", "refcount_bits=64", path,
                                   cwd=self.folder)
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
            answer = qbatch.qbatch("amend", "--json", "--sandbox=strict", "-o", "refcount_bits=16", path,
                                   cwd=self.folder)
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_sound(image)
        self.assertTrue(guest.read_all(image))


@unittest.skipIf(SANITIZED, OTHER_BUILD)
@unittest.skipIf(LACKS, NO_STRICT)
class BackedUp(reflinks.ReflinkTest):
    def test_clones_are_made_and_noted(self):
        def test(images):
            state = self.path(f"state-{os.path.basename(self.there)}")
            before = [guest.read_all(image) for image in images]
            answer = qbatch.qbatch("--json", "--sandbox=strict", "--state", state, self.fleet)
            self.assertEqual((answer.code, answer.summary["changed"]), (0, 4), str(answer))
            self.assertEqual(answer.summary["sandbox"]["policy"], "strict")
            self.assertEqual([r["backup"] for r in answer.records], self.backups())
            for image, clone, layers in zip(images, self.backups(), before, strict=True):
                self.assert_sound(image)
                self.assert_same_layers(layers, guest.read_all(clone))
            listed = proc.run([qbatch.absolute(qbatch.TOOL), "backup", "list", "--json", "--state", state])
            states = [json.loads(line).get("state") for line in listed.out.splitlines()]
            self.assertEqual([s for s in states if s], ["kept"] * 4, listed.out)
        self.on_each(test)


if __name__ == "__main__":
    main()
