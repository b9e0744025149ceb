"""Shards: which images each has, that they are all of them and each once, and what a resumed one has."""
import fcntl
import json
import os
import shutil
import struct
import subprocess
import time

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

ENGINES = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP",
           "SLURM_ARRAY_TASK_COUNT", "JOB_COMPLETION_INDEX", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST",
           "SGE_TASK_STEPSIZE")


def environment(**more):
    return {**{k: v for k, v in os.environ.items() if k not in ENGINES}, **more}


class ShardTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.state = self.path("state")

    def run_tool(self, *argv, cwd=None, **more):
        return proc.run([qbatch.absolute(qbatch.TOOL), *argv], cwd=cwd or self.folder, env=environment(**more))

    def shard(self, number, of, *flags, fleet=None, **kwargs):
        return qbatch.qbatch("--json", "--state", self.state, "--shard", f"{number}/{of}", *flags,
                             fleet or self.fleet, cwd=self.folder, **kwargs)

    def names(self, answer):
        return [os.path.basename(r["path"]) for r in answer.records]

    def many(self, n=12, text='images: [{path: "i*.qcow2", compat: "0.10"}]'):
        first = self.create("i00.qcow2")
        for i in range(1, n):
            shutil.copy(first, self.path(f"i{i:02}.qcow2"))
        self.fleet = self.manifest(f"version: 1\n{text}\n")
        return [f"i{i:02}.qcow2" for i in range(n)]


class Division(ShardTest):
    def test_all_shards_have_each_image_once_and_name_themselves(self):
        names, seen = self.many(), []
        for number in range(1, 6):
            answer = self.shard(number, 5)
            self.assertEqual(answer.code, 0, str(answer))
            self.assertTrue(all(r["status"] == "changed" for r in answer.records))
            self.assertEqual(answer.summary["shard"], f"{number}/5")
            self.assertEqual({r["of"]["shard"] for r in answer.records} | {f"{number}/5"}, {f"{number}/5"})
            self.assertEqual(answer.summary["images"], len(answer.records))
            seen += self.names(answer)
        self.assertEqual(sorted(seen), names)
        self.assertEqual(qbatch.qbatch("--json", self.fleet).summary["shard"], None)

    def test_a_dry_run_and_the_commands_that_read_have_the_same_division(self):
        self.many()
        paths = self.path("list")
        with open(paths, "w", encoding="utf-8") as f:
            f.writelines(f"i{i:02}.qcow2\n" for i in range(12))
        for number in (1, 2, 3):
            runs = self.names(self.shard(number, 3, "--dry-run"))
            for command in ("check", "info", "map"):
                for source in (["--manifest", self.fleet], ["--from-file", paths]):
                    answer = qbatch.qbatch(command, "--json", f"--shard={number}/3", *source, cwd=self.folder)
                    self.assertEqual((answer.code, sorted(set(self.names(answer)))), (0, runs), str(answer))

    def test_the_name_in_the_manifest_counts_not_how_the_manifest_is_reached(self):
        self.many()
        other = self.path("elsewhere")
        os.symlink(self.folder, other)
        self.addCleanup(os.unlink, other)
        want = self.names(self.shard(2, 3, "--dry-run"))
        for fleet in ("fleet.yaml", "./fleet.yaml", os.path.join(other, "fleet.yaml")):
            self.assertEqual(self.names(self.shard(2, 3, "--dry-run", fleet=fleet)), want)

    def test_a_base_that_is_amended_has_its_overlays_with_it_and_goes_first(self):
        bases = [self.create(f"base{i}.qcow2") for i in range(3)]
        for i, base in enumerate(bases):
            for k in range(4):
                self.create(f"top{i}{k}.qcow2", backing=base)
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        seen = []
        for number in range(1, 5):
            names = self.names(self.shard(number, 4))
            for i in range(3):
                ours = [n for n in names if n.startswith(f"top{i}")]
                self.assertEqual(len(ours), 4 if f"base{i}.qcow2" in names else 0, names)
            seen += names
        self.assertEqual(len(seen), 15)

    def test_a_base_that_is_not_amended_joins_nothing(self):
        base = self.create("base.qcow2")
        for k in range(16):
            self.create(f"top{k:02}.qcow2", backing=base)
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "top*.qcow2", lazy_refcounts: on}]
            """)
        sizes = [len(self.shard(number, 4, "--dry-run").records) for number in range(1, 5)]
        self.assertEqual(sum(sizes), 16)
        self.assertLess(max(sizes), 16)

    def test_the_base_that_an_image_gets_counts_before_and_after_the_amend(self):
        """Else a shard that is started again would have other images than before."""
        bases = [self.create(f"base{i}.qcow2") for i in range(2)]
        tops = [self.create(f"top{k}.qcow2", backing=bases[0]) for k in range(6)]
        self.fleet = self.manifest(f"""
            version: 1
            images:
              - path: "base*.qcow2"
                lazy_refcounts: on
              - path: "top*.qcow2"
                backing_file: {bases[1]}
            """)
        before = [self.names(self.shard(n, 5, "--dry-run")) for n in range(1, 6)]
        self.assertEqual(len(tops), sum(n.startswith("top") for n in
                                        next(names for names in before if "base1.qcow2" in names)))
        self.assertEqual(qbatch.qbatch("--json", self.fleet).code, 0)
        self.assertEqual([self.names(self.shard(n, 5, "--dry-run")) for n in range(1, 6)], before)

    def test_a_shard_without_an_image_ends_well_and_its_report_says_so(self):
        self.fleet = self.manifest('version: 1\nimages: [{path: only.qcow2, compat: "0.10"}]\n')
        self.create("only.qcow2")
        sizes = []
        for number in range(1, 5):
            report = self.path(f"r{number}")
            answer = self.shard(number, 4, "--report", report)
            self.assertEqual(answer.code, 0, str(answer))
            sizes.append(len(answer.records))
            with open(report, encoding="utf-8") as f:
                last = json.loads(f.read().splitlines()[-1])
            self.assertEqual((last["type"], last["shard"], last["images"]), ("summary", f"{number}/4", sizes[-1]))
        self.assertEqual(sorted(sizes), [0, 0, 0, 1])

    def test_images_of_other_shards_still_protect_what_they_use(self):
        """A raw disk that an image of another shard has as its data file is not converted."""
        for i in range(8):
            disk = self.raw(f"disk{i}.img", "1M")
            proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={disk},data_file_raw=on",
                       self.path(f"user{i}.qcow2"), "1M"])
        self.fleet = self.manifest("""
            version: 1
            images:
              - {path: "disk*.img", convert: {from: raw, to: qcow2}}
              - {path: "user*.qcow2", lazy_refcounts: on}
            """)
        converted = [r for number in (1, 2, 3) for r in self.shard(number, 3, "--dry-run").records
                     if "disk" in r["path"]]
        self.assertEqual(len(converted), 8)
        self.assertEqual({(r["status"], r["error"]["code"]) for r in converted}, {("failed", "refused")})


class Options(ShardTest):
    def wrong(self, words, *argv, **more):
        done = self.run_tool(*argv, **more)
        self.assertEqual(done.code, 2, done.err)
        self.assertIn(words, done.err)
        self.assertEqual(len(done.err.splitlines()), 1)

    def test_what_is_no_shard_is_an_error_of_usage(self):
        self.many(1)
        self.wrong('--shard "0/4": of 4 shards, the number is 1 to 4', "--shard", "0/4", "fleet.yaml")
        self.wrong('--shard "5/4": of 4 shards, the number is 1 to 4', "--shard=5/4", "fleet.yaml")
        self.wrong("no task of an array", "--shard", "auto", "fleet.yaml")
        self.wrong("write auto/N", "--shard", "auto", "fleet.yaml", JOB_COMPLETION_INDEX="0")
        self.wrong("--shard goes with --manifest", "check", "--shard", "1/2", "i00.qcow2")
        self.wrong("unknown option --shard", "amend", "--shard", "1/2", "-o", "size=1G", "i00.qcow2")

    def test_auto_is_the_task_of_the_engine(self):
        names = self.many()
        engines = [lambda i: {"SLURM_ARRAY_TASK_ID": str(10 + 5 * i), "SLURM_ARRAY_TASK_MIN": "10",
                              "SLURM_ARRAY_TASK_MAX": "20", "SLURM_ARRAY_TASK_STEP": "5"},
                   lambda i: {"JOB_COMPLETION_INDEX": str(i)},
                   lambda i: {"SGE_TASK_ID": str(1 + i), "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "3",
                              "SGE_TASK_STEPSIZE": "1"}]
        want = [self.names(self.shard(n, 3, "--dry-run")) for n in (1, 2, 3)]
        self.assertEqual(sorted(sum(want, [])), names)
        for engine in engines:
            for i in range(3):
                done = self.run_tool("--dry-run", "--json", "--shard", "auto/3", "fleet.yaml", **engine(i))
                got = [os.path.basename(r["path"]) for r in map(json.loads, done.out.splitlines()) if "path" in r]
                self.assertEqual(got, want[i])

    def test_people_are_told_which_shard_it_was(self):
        self.many()
        page = self.path("page.html")
        done = self.run_tool("--state", self.state, "--shard", "2/3", "--html", page, "--prometheus", self.folder,
                             "fleet.yaml")
        self.assertIn("\nshard 2/3: ", done.out)
        with open(page, encoding="utf-8") as f:
            self.assertIn("<dt>shard</dt> <dd>2/3</dd>", f.read())
        with open(self.path("qbatch-fleet.yaml-shard-2-of-3.prom"), encoding="utf-8") as f:
            samples = [line for line in f if line.startswith("qbatch_")]
        self.assertTrue(samples and all('manifest="fleet.yaml",shard="2/3"' in line for line in samples), samples)
        self.assertIn("fleet.yaml, shard 2/3\n", self.run_tool("status", "--state", self.state).out)
        self.assertIn("fleet.yaml, shard 2/3\n", self.run_tool("status", "--state", self.state, "last").out)


class Resumed(ShardTest):
    def setUp(self):
        super().setUp()
        self.names_of_all = self.many(16, 'images: [{path: "i*.qcow2", size: +1M}]')

    def killed(self, number, of):
        """A run of a shard that is killed once some image is amended: what it had amended."""
        fleet = self.path("slow.yaml")
        with open(self.fleet, encoding="utf-8") as f, open(fleet, "w", encoding="utf-8") as out:
            out.write(f.read() + "limits: {wave: 1, jobs: 1, iops: 150}\n")
        self.fleet = fleet
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--state", self.state, f"--shard={number}/{of}",
                                    "--report", self.path("killed"), fleet], cwd=self.folder,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not self.grown():
            time.sleep(0.005)
        proc.kill_whole(process, self.folder)
        self.assertTrue(self.grown())
        return self.grown()

    def locked(self, image):
        f = open(image, "rb")
        self.addCleanup(f.close)
        fcntl.fcntl(f, fcntl.F_OFD_SETLK if hasattr(fcntl, "F_OFD_SETLK") else 37,
                    struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))
        return f

    def grown(self):
        out = []
        for name in self.names_of_all:
            with open(self.path(name), "rb") as f:
                f.seek(24)
                if int.from_bytes(f.read(8), "big") != 1 << 20:
                    out.append(name)
        return out

    def sizes(self):
        sizes = set()
        for name in self.names_of_all:
            with open(self.path(name), "rb") as f:
                f.seek(24)
                sizes.add(int.from_bytes(f.read(8), "big"))
        return sizes

    def test_a_killed_shard_keeps_its_images_and_adds_once(self):
        amended = self.killed(2, 3)
        mine = self.names(self.shard(2, 3, "--dry-run"))
        self.assertLess(set(amended), set(mine))
        resumed = qbatch.qbatch("--json", "--state", self.state, "--resume", self.fleet, cwd=self.folder)
        self.assertEqual((resumed.code, resumed.summary["shard"], self.names(resumed)), (0, "2/3", mine), str(resumed))
        self.assertEqual(self.grown(), mine)
        self.assertLessEqual({r["path"] for r in resumed.records if r["status"] == "changed"} &
                             {self.path(n) for n in amended[:-1]}, set())
        for number in (1, 3):
            self.assertEqual(self.shard(number, 3).code, 0)
        self.assertEqual(self.sizes(), {2 << 20})

    def test_a_new_run_of_the_killed_shard_is_refused_and_of_the_others_is_not(self):
        self.killed(2, 3)
        again = self.shard(2, 3)
        self.assertEqual(again.code, 2)
        self.assertIn("--shard=2/3", again.result.err)
        for number in (1, 3):
            self.assertEqual(self.shard(number, 3).code, 0, "another shard is of no concern to it")
        whole = qbatch.qbatch("--json", "--state", self.state, self.fleet, cwd=self.folder)
        self.assertEqual(whole.code, 2, "it has the images of the killed shard, too")
        self.assertEqual(self.shard(2, 3, "--resume").code, 0)
        self.assertEqual(self.sizes(), {2 << 20})

    def test_each_shard_resumes_its_own_run(self):
        self.killed(2, 3)
        for number in (1, 3):
            self.assertEqual(self.shard(number, 3).code, 0)
            self.assertIn("no unfinished run", self.shard(number, 3, "--resume").result.err)
        resumed = self.shard(2, 3, "--resume")
        self.assertEqual((resumed.code, resumed.summary["shard"]), (0, "2/3"))

    def test_a_run_is_not_resumed_as_another_shard(self):
        self.killed(2, 3)
        run = self.run_tool("status", "--state", self.state, "--json").out
        run = json.loads(run.splitlines()[-1])["run"]
        for number, of in ((1, 3), (2, 4)):
            answer = self.shard(number, of, f"--resume={run}")
            self.assertEqual(answer.code, 2)
            self.assertIn(f"was shard 2/3, not {number}/{of}", answer.result.err)

    def test_the_command_that_finishes_names_the_shard_by_its_number(self):
        lock = self.locked(self.path("i03.qcow2"))
        for number in range(3):
            done = self.run_tool("--state", self.state, "--shard", "auto/3", "fleet.yaml",
                                 JOB_COMPLETION_INDEX=str(number))
            if done.code == 3:
                break
        lock.close()
        self.assertEqual(done.code, 3)
        finish = done.out[done.out.index("to finish: ") + 11:].splitlines()[0]
        self.assertIn(f" --shard={number + 1}/3 ", finish)
        self.assertNotIn("auto", finish)
        self.assertEqual(self.run_tool(*finish.split()[1:]).code, 0)
        self.assertIn("i03.qcow2", self.grown())

    def test_an_earlier_version_does_not_read_the_journal_of_a_shard(self):
        """It would resume it with all images of the manifest."""
        self.shard(1, 3)
        journal = max(os.listdir(self.state))
        with open(os.path.join(self.state, journal), encoding="utf-8") as f:
            first = json.loads(next(line[9:] for line in f if '"is":"run"' in line))
        self.assertEqual((first["format"], first["shard"], first["shards"]), (2, 1, 3))


if __name__ == "__main__":
    main()
