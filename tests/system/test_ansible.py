"""The collection for Ansible: as it is packed, and at work on four hosts."""
import ast
import glob
import json
import os
import shutil
import subprocess
import tarfile
import time
import unittest

import context  # noqa: F401
import hosts
import proc
import qbatch
from fixture import OTHER_BUILD, ImageTest, main

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BUILD = os.environ.get("QB_BUILD", os.path.join(SOURCE, "build"))
PACK = os.path.join(SOURCE, "scripts/ansible-collection")
NO_ANSIBLE = None if shutil.which("ansible-playbook") else "ansible-core is not installed"
MODULES = ("qbatch_amend", "qbatch_check", "qbatch_info")
FIXED = {"encryption", "cluster_size"}  # keys that ask for nothing: they refuse other images


def environment(folder, **more):
    return {**os.environ, "HOME": folder, "ANSIBLE_HOME": f"{folder}/home", "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": f"{folder}/collections", "ANSIBLE_LOCALHOST_WARNING": "false",
            "PYTHONDONTWRITEBYTECODE": "1", **more}


def install(folder):
    """The collection, as a user installs it: its folder."""
    packed = os.path.join(folder, "qbatch-qbatch.tar.gz")
    proc.must([PACK, packed])
    proc.must(["ansible-galaxy", "collection", "install", "--offline", packed, "-p", f"{folder}/collections"],
              env=environment(folder))
    return os.path.join(folder, "collections/ansible_collections/qbatch/qbatch")


class Packed(ImageTest):
    def pack(self, name, **env):
        proc.must([PACK, self.path(name)], env={**os.environ, **env})
        with open(self.path(name), "rb") as f:
            return f.read()

    def test_the_same_bytes_each_time_and_none_of_a_cache(self):
        first = self.pack("a.tar.gz", SOURCE_DATE_EPOCH="1700000000")
        self.assertEqual(first, self.pack("b.tar.gz", SOURCE_DATE_EPOCH="1700000000", TZ="Pacific/Apia"))
        with tarfile.open(self.path("a.tar.gz")) as tar:
            self.assertEqual({m.mtime for m in tar}, {1700000000})
            self.assertEqual([n for n in tar.getnames() if "__pycache__" in n or "/." in n], [])

    def test_each_key_of_a_manifest_is_an_option(self):
        with open(f"{SOURCE}/configs/ansible/plugins/modules/qbatch_amend.py", encoding="utf-8") as f:
            tree = ast.parse(f.read())
        specs = {node.targets[0].id: {key.arg for key in node.value.keywords} for node in tree.body
                 if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)}
        schema = json.loads(proc.must([qbatch.absolute(qbatch.TOOL), "schema"]))
        self.assertEqual(specs["AMEND"], set(schema["$defs"]["amend"]["properties"]) - FIXED)
        self.assertEqual(specs["TOP"], set(schema["properties"]) - {"version", "defaults", "images"} | {"rollout"})


@unittest.skipIf(NO_ANSIBLE, NO_ANSIBLE)
class Installed(ImageTest):
    def test_galaxy_takes_it_and_would_pack_the_same_files(self):
        collection = install(self.folder)
        source = self.path("source")
        shutil.copytree(f"{SOURCE}/configs/ansible", source, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(f"{SOURCE}/LICENSE", source)
        proc.must(["ansible-galaxy", "collection", "build", source, "--output-path", self.folder],
                  env=environment(self.folder))
        theirs = glob.glob(self.path("qbatch-qbatch-*.tar.gz"))[0]
        with tarfile.open(theirs) as tar:
            for name in ("FILES.json", "MANIFEST.json"):
                wanted = json.load(tar.extractfile(name))
                with open(os.path.join(collection, name), encoding="utf-8") as f:
                    ours = json.load(f)
                for both in (wanted, ours):
                    both.get("files", []).sort(key=lambda member: member["name"])
                    both.pop("file_manifest_file", None)
                self.assertEqual(ours, wanted)

    def test_its_documentation_is_clean(self):
        install(self.folder)
        for module in MODULES:
            done = proc.run(["ansible-doc", "-t", "module", f"qbatch.qbatch.{module}"], env=environment(self.folder))
            self.assertEqual((done.code, done.err), (0, ""))
            self.assertIn("EXAMPLES", done.out)
        done = proc.run(["ansible-doc", "-t", "role", "qbatch.qbatch.install"], env=environment(self.folder))
        self.assertEqual((done.code, done.err), (0, ""))

    def test_an_option_that_has_no_documentation_or_the_other_way_round(self):
        install(self.folder)
        for module in MODULES:
            known = json.loads(proc.must(["ansible-doc", "-j", "-t", "module", f"qbatch.qbatch.{module}"],
                                         env=environment(self.folder)))
            doc = known[f"qbatch.qbatch.{module}"]["doc"]["options"]
            done = proc.run(["ansible", "localhost", "-m", f"qbatch.qbatch.{module}", "-a", "path=/x none=1"],
                            env=environment(self.folder))
            said = done.out.split("Supported parameters include: ")[1].split(".\"")[0]
            names = {n.strip() for n in said.replace("(", ",").replace(")", ",").split(",")} - {""}
            self.assertEqual(names, {*doc, *(a for o in doc.values() for a in o.get("aliases", []))}, done.out)

    @unittest.skipUnless(shutil.which("ansible-lint"), "ansible-lint is not installed")
    def test_ansible_lint_finds_nothing(self):
        collection = install(self.folder)
        done = proc.run(["ansible-lint", "--offline", "--profile", "production", "--strict", "-q", "-p"],
                        cwd=collection, env=environment(self.folder))
        self.assertEqual(done.code, 0, done.out + done.err)


@unittest.skipIf(NO_ANSIBLE, NO_ANSIBLE)
class CalledDirectly(ImageTest):
    """A module as the host runs it: its options, and what it returns."""

    def setUp(self):
        super().setUp()
        self.collections = self.path("collections")
        os.makedirs(f"{self.collections}/ansible_collections/qbatch")
        os.symlink(os.path.abspath(f"{SOURCE}/configs/ansible"), f"{self.collections}/ansible_collections/qbatch/qbatch")
        self.state = self.path("state")

    def module(self, name, **options):
        options = {"executable": qbatch.absolute(qbatch.TOOL), **options}
        if name == "amend":
            options["state"] = self.state
        with open(self.path("args"), "w", encoding="utf-8") as f:
            json.dump({"ANSIBLE_MODULE_ARGS": options}, f)
        done = proc.run(["/usr/bin/python3", "-m", f"ansible_collections.qbatch.qbatch.plugins.modules.qbatch_{name}",
                         self.path("args")], env=environment(self.folder, PYTHONPATH=self.collections))
        return json.loads(done.out.splitlines()[-1])

    def test_a_run_in_which_no_image_failed_says_why_it_failed(self):
        images = [self.create(f"{i}.qcow2", compat="0.10") for i in range(3)]
        full = self.module("amend", path=images, compat="1.1", report="/dev/full")
        self.assertEqual((full["failed"], full["changed"]), (True, True))
        self.assertIn("/dev/full: No space left on device", full["msg"])
        gate = {"steps": [1], "gate": {"command": ["/bin/sh", "-c", "echo smells; exit 3"]}}
        step = self.module("amend", path=images, lazy_refcounts=True, rollout=gate)
        self.assertEqual((step["failed"], step["msg"]),
                         (True, "step 1 of the rollout failed: /bin/sh ended with exit code 3: smells"))
        with open(images[0], "r+b") as f:
            f.write(b"none")
        both = self.module("amend", path=images, refcount_bits=32, rollout={"steps": [3, "100%"], "order": "manifest"})
        self.assertIn("1 of 3 images failed: ", both["msg"])
        self.assertIn("; step 1 of the rollout failed: 1 image failed", both["msg"])

    def test_a_host_without_the_program_stays_as_it_is(self):
        for executable in ("qbatch-that-no-host-has", "/nowhere/qbatch"):
            for name, more in (("amend", {"compat": "1.1"}), ("check", {}), ("info", {})):
                for check_mode in (False, True):
                    answer = self.module(name, executable=executable, path=["/srv/vm/*.qcow2"], **more,
                                         _ansible_check_mode=check_mode)
                    self.assertTrue(answer["failed"])
                    self.assertIn(executable, answer["msg"])
        self.assertFalse(os.path.exists(self.state))


REASON = NO_ANSIBLE or hosts.missing()


class AnsibleTest(hosts.SiteTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.collection = install(cls.site_folder)
        cls.inventory = os.path.join(cls.site_folder, "inventory")
        with open(cls.inventory, "w", encoding="utf-8") as f:
            f.write("".join(f"{host.name}\n" for host in cls.hosts))
            f.write("[all:vars]\nansible_python_interpreter=/usr/bin/python3\n"
                    f"ansible_ssh_common_args=-F {cls.site.ssh_config} -o ControlMaster=no\n")

    def start(self, book, *flags, **variables):
        """A playbook of the collection, or a file; what it did is in the folder's `out`, as JSON."""
        path = book if os.sep in book else f"qbatch.qbatch.{book}"
        argv = ["ansible-playbook", "-i", self.inventory, "-e", json.dumps(variables), *flags, path]
        env = environment(self.site_folder, ANSIBLE_PIPELINING="true", ANSIBLE_STDOUT_CALLBACK="json_lines",
                          ANSIBLE_CALLBACK_PLUGINS=os.path.join(os.path.dirname(hosts.__file__), "callbacks"))
        return subprocess.Popen([str(a) for a in self.site.inside(argv)], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def finish(self, process):
        """What was said; how each host ended; and the first result of a module, or failure, of each host."""
        out, err = process.communicate(timeout=proc.TIMEOUT_SECONDS)
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        if not lines or lines[-1]["kind"] != "stats":
            self.fail(out + err)
        self.lines = lines
        self.code, self.stats, self.results = process.returncode, lines[-1]["stats"], {}
        for line in lines[:-1]:
            if "summary" in line["result"] or line["kind"] == "failed":
                self.results.setdefault(line["host"], line["result"])
        return out + err

    def play(self, book, *flags, **variables):
        return self.finish(self.start(book, *flags, **{"qbatch_images": ["/srv/vm/*.qcow2"], **variables}))

    def counted(self, word):
        return [self.stats.get(host.name, {}).get(word, 0) for host in self.hosts]

    def versions(self, images):
        found = []
        for image in images:
            with open(image, "rb") as f:
                found.append(f.read(8)[7])
        return found


@unittest.skipIf(REASON, REASON)
class FourHosts(AnsibleTest):
    def setUp(self):
        super().setUp()
        self.fleet = [self.images(host, 6, compat="0.10") for host in self.hosts]

    def test_check_mode_changes_nothing_and_shows_what_would(self):
        before = [proc.sha256(image) for images in self.fleet for image in images]
        said = self.play("upgrade", "--check", "--diff")
        self.assertEqual((self.code, self.counted("changed")), (0, [1] * 4), said)
        self.assertEqual([proc.sha256(image) for images in self.fleet for image in images], before)
        self.assertEqual([os.listdir(os.path.join(host.folder, "state")) for host in self.hosts], [[]] * 4)
        result = self.results["host3"]
        self.assertEqual({r["status"] for r in result["images"]}, {"would_change"})
        self.assertEqual(result["diff"][0], {"before_header": "/srv/vm/000.qcow2", "after_header": "/srv/vm/000.qcow2",
                                             "before": "compat: \"0.10\"\n", "after": "compat: \"1.1\"\n"})

    def test_a_run_that_changes_all_and_another_that_changes_nothing(self):
        reports = self.path("reports")
        said = self.play("upgrade", qbatch_report="/var/lib/qbatch/upgrade.ndjson", qbatch_reports=reports,
                         qbatch_labels={"ticket": "CHG-17"})
        self.assertEqual((self.code, self.counted("failures")), (0, [0] * 4), said)
        for images in self.fleet:
            self.assertEqual(self.versions(images), [3] * 6)
            for n, image in enumerate(images):
                self.assert_sound(image)
                self.assert_reads(image, 0, "64k", n + 1)
        files = [f"{reports}/{host.name}.ndjson" for host in self.hosts]
        merged = qbatch.qbatch("report", "merge", *files)
        self.assertEqual((merged.summary["images"], merged.summary["changed"]), (24, 24))
        self.assertEqual({r["of"]["host"] for r in merged.records}, {host.name for host in self.hosts})
        self.assertEqual({r["of"]["labels"]["ticket"] for r in merged.records}, {"CHG-17"})
        before = [proc.sha256(image) for images in self.fleet for image in images]
        self.play("upgrade")
        self.assertEqual((self.code, self.counted("changed")), (0, [0] * 4))
        self.assertEqual([proc.sha256(image) for images in self.fleet for image in images], before)
        self.assertEqual({r["status"] for r in self.results["host1"]["images"]}, {"unchanged"})

    def test_a_canary_fails_and_no_further_host_is_touched(self):
        with open(self.fleet[0][2], "r+b") as f:
            f.seek(48)
            f.write((513).to_bytes(8, "big"))  # no place for its refcount table
        self.play("upgrade", qbatch_serial=[2])
        self.assertNotEqual(self.code, 0)
        self.assertEqual(self.counted("failures"), [1, 0, 1, 1])
        self.assertEqual(self.results["host3"]["msg"], "failed or lost: host1")
        result = self.results["host1"]
        self.assertIn("1 of 6 images failed: /srv/vm/002.qcow2: corrupt", result["msg"])
        self.assertTrue(result["changed"])
        self.assertEqual(sorted(r["status"] for r in result["images"]), ["changed"] * 5 + ["failed"])
        self.assertEqual([self.versions(images) for images in self.fleet[1:]], [[3] * 6, [2] * 6, [2] * 6])

    def dies_in_the_middle(self, book, **variables):
        """Host 2 dies with some of its images amended; the play ends without it."""
        victim, images = self.hosts[1], self.fleet[1]
        before = [os.stat(image).st_mtime_ns for image in images]
        playing = self.start(book, qbatch_images=["/srv/vm/*.qcow2"], qbatch_limits={"wave": 1, "iops": 10},
                             **{"qbatch_serial": [4], **variables})
        while [os.stat(image).st_mtime_ns for image in images] == before:
            self.assertIsNone(playing.poll(), "the play is over")
            time.sleep(0.01)
        victim.die()
        self.finish(playing)
        self.assertEqual(self.counted("unreachable"), [0, 1, 0, 0])
        self.assertEqual(self.counted("failures")[:3], [0] * 3)
        for image in images:
            self.assert_sound(image)
        self.assertEqual(os.stat(images[-1]).st_mtime_ns, before[-1], "it was no death in the middle")
        victim.boot()

    def test_a_host_that_dies_in_the_middle_is_finished_by_the_same_play(self):
        self.dies_in_the_middle("upgrade", qbatch_serial=[3])
        self.assertEqual(self.versions(self.fleet[3]), [2] * 6)  # no further host after one that was lost
        self.assertIn("failed or lost: host2", [line["result"].get("msg") for line in self.lines if "result" in line])
        self.assertIn(2, self.versions(self.fleet[1]))
        self.assertEqual([self.versions(images) for images in (self.fleet[0], self.fleet[2])], [[3] * 6] * 2)
        self.play("upgrade", qbatch_limits={"wave": 1, "iops": 10})
        self.assertEqual((self.code, self.counted("changed")), (0, [0, 1, 0, 1]))
        self.assertEqual(self.versions(self.fleet[1]), [3] * 6)
        self.assertIn("--resume=", self.results["host2"]["summary"]["command"])
        self.play("upgrade", qbatch_limits={"wave": 1, "iops": 10})
        self.assertEqual((self.code, self.counted("changed")), (0, [0] * 4))

    def test_a_size_is_added_once_to_each_image_though_the_host_dies(self):
        book = self.path("add.yml")
        with open(book, "w", encoding="utf-8") as f:
            f.write("- hosts: all\n  gather_facts: false\n  tasks:\n    - qbatch.qbatch.qbatch_amend:\n"
                    "        path: /srv/vm/*.qcow2\n        size: +1M\n        limits: '{{ qbatch_limits }}'\n")
        self.dies_in_the_middle(book)
        self.play(book, "--limit", "host2", qbatch_limits={"wave": 1, "iops": 10})
        self.assertEqual(self.code, 0)
        for images in self.fleet:
            for image in images:
                self.assert_sound(image)
                self.assertEqual(json.loads(proc.must(["qemu-img", "info", "--output=json", image]))["virtual-size"],
                                 2 << 20)

    def test_an_image_in_use_is_named_and_taken_later(self):
        used = subprocess.Popen(["qemu-io", "-f", "qcow2", self.fleet[2][1]], stdin=subprocess.PIPE, text=True,
                                stdout=subprocess.PIPE)
        used.stdin.write("length\n")
        used.stdin.flush()
        used.stdout.readline()
        self.play("upgrade")
        used.stdin.close()
        used.wait()
        used.stdout.close()
        self.assertEqual((self.code, self.results["host3"]["locked"]), (0, ["/srv/vm/001.qcow2"]))
        self.assertEqual(self.versions(self.fleet[2]), [3, 2, 3, 3, 3, 3])
        self.play("upgrade")
        self.assertEqual((self.counted("changed"), self.versions(self.fleet[2])), ([0, 0, 1, 0], [3] * 6))

    def test_a_request_that_is_wrong_touches_nothing_and_says_why(self):
        self.play("grow", qbatch_size="1GB")
        self.assertEqual(self.counted("failures"), [1, 0, 0, 0])
        self.assertIn("size: \"1GB\"", self.results["host1"]["msg"])
        self.play("upgrade", qbatch_images=["vm/*.qcow2"])
        self.assertIn("vm/*.qcow2 is not an absolute path", self.results["host1"]["msg"])

    def test_each_playbook_makes_its_change_and_no_other(self):
        one = self.fleet[0][0]
        for name in ("old", "new"):
            proc.must(["qemu-img", "snapshot", "-c", name, one])
        self.raw(os.path.join(self.hosts[0].vm, "base.raw"), "1M")
        overlay = self.path(os.path.join(self.hosts[0].vm, "overlay.qcow2"))
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/srv/old/base.raw", "-F", "raw", overlay, "1M"])
        proc.must(["qemu-img", "bitmap", "--add", overlay, "b0"])
        keys = {"upgrade": {"compat"}, "lazy_refcounts": {"lazy_refcounts"}, "refcount_bits": {"refcount_bits"},
                "backing_paths": {"backing_file"}, "grow": {"size"}, "snapshots": {"snapshots"}, "bitmaps": {"bitmaps"}}
        for book, wanted in keys.items():
            self.play(book, "--limit", "host1", qbatch_lazy_refcounts=True, qbatch_refcount_bits=32, qbatch_size="2M",
                      qbatch_rewrite=[{"from": "^/srv/old/", "to": "/srv/vm/"}], qbatch_check_content=False,
                      qbatch_older_than="0", qbatch_bitmaps=["b*"])
            result = self.results["host1"]
            self.assertEqual((self.code, result["changed"]), (0, True), (book, result.get("msg")))
            self.assertEqual({c["key"] for r in result["images"] for c in r["changes"]}, wanted, book)
            self.assertEqual(any(r.get("snapshots_deleted") for r in result["images"]), book == "snapshots", book)
            self.assertEqual(any(r.get("bitmaps_changed") for r in result["images"]), book == "bitmaps", book)
        qbatch.amend(overlay, backing_fmt="")
        proc.must(["qemu-img", "snapshot", "-d", "new", one])  # of another size than the disk: version 2 has no room for it
        for book in ("backing_formats", "downgrade", "reclaim", "check"):
            self.play(book, "--limit", "host1")
            self.assertEqual(self.code, 0, (book, self.results))
        found = json.loads(proc.must(["qemu-img", "info", "-U", "--output=json", overlay]))
        self.assertEqual((found["backing-filename"], found["backing-filename-format"], found["virtual-size"],
                          found["format-specific"]["data"]["compat"]), ("/srv/vm/base.raw", "raw", 2 << 20, "0.10"))
        self.assert_sound(one)

    def test_a_rollout_that_asks_goes_on_when_it_is_confirmed(self):
        if "rollout" not in json.loads(proc.must([qbatch.absolute(qbatch.TOOL), "schema"]))["properties"]:
            self.skipTest("this qbatch has no rollout yet")
        book = self.path("steps.yml")
        with open(book, "w", encoding="utf-8") as f:
            f.write("- hosts: host1\n  gather_facts: false\n  tasks:\n    - qbatch.qbatch.qbatch_amend:\n"
                    "        path: /srv/vm/*.qcow2\n        compat: '1.1'\n"
                    "        rollout: {steps: [1], ask: true}\n        confirm: '{{ confirm }}'\n")
        for confirm, pending, amended in ((False, True, 1), (False, True, 1), (True, False, 6), (False, False, 6)):
            self.play(book, confirm=confirm)
            self.assertEqual((self.code, self.results["host1"]["pending"]), (0, pending), self.results["host1"])
            self.assertEqual(sum(version == 3 for version in self.versions(self.fleet[0])), amended)

    def test_what_the_modules_that_read_return(self):
        book = self.path("look.yml")
        with open(book, "w", encoding="utf-8") as f:
            f.write("- hosts: all\n  gather_facts: false\n  tasks:\n"
                    "    - qbatch.qbatch.qbatch_info: {path: '/srv/vm/*', profile: rhel9}\n"
                    "    - qbatch.qbatch.qbatch_check: {path: '/srv/vm/*', fail_on: '{{ fail_on }}'}\n")
        with open(self.fleet[1][3], "ab") as f:
            f.truncate(os.path.getsize(self.fleet[1][3]) + (64 << 10))
            self.leak(self.fleet[1][3])
        self.play(book, fail_on=["corrupt"])
        self.assertEqual((self.code, self.counted("changed")), (0, [0] * 4))
        result = self.results["host2"]
        self.assertEqual([r["profile"]["fits"] for r in result["images"]], [False] * 6)
        self.assertEqual(result["images"][0]["format-specific"]["data"]["compat"], "0.10")
        self.play(book, fail_on=["leaks"])
        self.assertEqual(self.counted("failures"), [0, 1, 0, 0])
        failed = [line for line in self.lines if line["kind"] == "failed"][0]["result"]
        self.assertEqual((failed["msg"], [r["path"] for r in failed["images"]]),
                         ("of 6 images 1 with leaks", ["/srv/vm/003.qcow2"]))

    @staticmethod
    def leak(image):
        """The last cluster is counted, and nothing refers to it."""
        with open(image, "r+b") as f:
            f.seek(48)
            table = int.from_bytes(f.read(8), "big")
            f.seek(table)
            block = int.from_bytes(f.read(8), "big")
            f.seek(block + 2 * (os.path.getsize(image) // 65536 - 1))
            f.write((1).to_bytes(2, "big"))


NO_PACKAGES = None if shutil.which("dpkg-shlibdeps") and shutil.which("cpack") else "dpkg-dev is not installed"
NO_APT = None if proc.run(["/usr/bin/python3", "-c", "import apt_pkg"]).code == 0 else "python3-apt is not installed"


@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
@unittest.skipIf(REASON or NO_PACKAGES or NO_APT, REASON or NO_PACKAGES or NO_APT)
class BareHost(AnsibleTest):
    COUNT, WITH_TOOL = 1, False

    def test_the_role_installs_packages_and_the_second_time_nothing(self):
        proc.must(["cpack", "-G", "DEB", "-B", self.folder, "--config", os.path.join(BUILD, "CPackConfig.cmake")])
        debs = glob.glob(self.path("qbatch_*.deb"))
        self.assertEqual(len(debs), 1)
        image = self.images(self.hosts[0], 1, compat="0.10")[0]
        self.play("upgrade")
        self.assertIn("qbatch", self.results["host1"]["msg"])
        self.assertEqual(self.counted("failures"), [1])
        self.play("install", install_debs=debs)
        self.assertEqual((self.code, self.counted("failures")), (0, [0]), self.results)
        self.play("install", install_debs=debs)
        self.assertEqual((self.code, self.counted("changed")), (0, [0]))
        self.play("upgrade")
        self.assertEqual((self.code, self.versions([image])), (0, [3]))


if __name__ == "__main__":
    main()
