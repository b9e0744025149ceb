"""qbatch backup: which clones are there, and that only what the run left, and nobody needs, is removed."""
import json
import os
import shutil
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import main
from reflinks import BackupCommand, ReflinkTest


class List(BackupCommand):
    def test_each_clone_and_what_became_of_it(self):
        self.on_each_amended(self.each)

    def each(self, images):
        before = self.backup("list")
        self.assertEqual([line["at"] for line in before], self.clones)
        self.assertEqual({(line["run"], line["file"], line["state"], line["image"]) for line in before},
                         {(self.run_id, "clone", "kept", "as_left")})
        self.assertEqual([line["bytes"] for line in before], [os.path.getsize(clone) for clone in self.clones])
        self.assertEqual([line["path"] for line in before], images)
        self.io(images[0], "write -q -P 5 0 64k")
        self.io(self.clones[1], "write -q -P 5 0 64k")
        os.rename(self.clones[2], self.clones[2] + ".away")
        shutil.copyfile(images[2], self.clones[2])
        os.unlink(self.clones[3])
        os.unlink(images[3])
        self.assertEqual(self.listed("last"), [
            (self.name(0), "kept", "written"), (self.name(1), "changed", "as_left"),
            (self.name(2), "replaced", "as_left"), (self.name(3), "gone", "missing")])
        os.chown(self.clones[0], 1234, 1234)
        os.rename(images[3 - 1], images[3])
        shutil.copyfile(images[3], images[2])
        self.assertEqual(self.listed(self.run_id)[::2], [
            (self.name(0), "changed", "written"), (self.name(2), "replaced", "replaced")])
        table = qbatch.qbatch("backup", "list", "--state", self.state)
        self.assertEqual(table.code, 0, str(table))
        rows = table.result.out.splitlines()
        self.assertEqual(rows[0].split(), ["RUN", "MADE", "SIZE", "STATE", "IMAGE", "FILE"])
        self.assertEqual([row.split()[-3:] for row in rows[1:]],
                         [[line["state"], line["image"], line["at"]] for line in self.backup("list")])

    def test_an_amend_is_recorded_with_its_clones(self):
        self.on_each_amended(self.amend_recorded)

    def amend_recorded(self, images):
        answer = qbatch.qbatch("amend", "--json", "--backup", "reflink", "-o", "compat=1.1", images[0],
                               env={**os.environ, "STATE_DIRECTORY": self.state})
        self.assertEqual(answer.code, 0, str(answer))
        made = os.path.basename(answer.first["backup"])
        self.assertEqual(self.listed("last"), [(made, "kept", "as_left")])
        self.assertEqual(self.listed(self.run_id)[0], (self.name(0), "kept", "written"))

    def test_the_journal_of_an_earlier_version(self):
        self.on_each_amended(self.earlier)

    def earlier(self, _images):
        self.journal(lambda record: None if record["is"] == "cloned" else record)
        os.unlink(self.clones[1])
        lines = self.listed()
        self.assertEqual([line[:2] for line in lines], [
            (self.name(0), "unrecorded"), (self.name(1), "gone"), (self.name(2), "unrecorded"),
            (self.name(3), "unrecorded")])
        self.assertEqual(self.backup("prune", "last")[-1]["removed"], 0)
        self.assertEqual(len(self.backups()), 3)

    def test_without_clones(self):
        self.state = self.path("nothing")
        self.assertEqual(self.backup("list"), [])
        answer = qbatch.qbatch("backup", "list", "--state", self.state)
        self.assertEqual((answer.code, answer.result.out), (0, "no clones are recorded\n"))
        answer = qbatch.qbatch("backup", "list", "--json", "--state", self.state, "last")
        self.assertEqual(answer.code, 2, str(answer))


class Prune(BackupCommand):
    def test_clones_go_and_images_stay(self):
        self.on_each_amended(self.all_go)

    def all_go(self, images):
        shas = [proc.sha256(image) for image in images]
        dry = self.backup("prune", "-n", "last")
        self.assertEqual({line["status"] for line in dry[:-1]}, {"would_remove"})
        self.assertEqual(self.backups(), self.clones)
        with open(images[0], "r+b") as f:  # the old bytes are the clone's alone now
            f.write(b"x" * os.path.getsize(images[0]))
        os.sync()
        lines = self.backup("prune", "last")
        self.assertEqual([(line["at"], line["status"]) for line in lines[:-1]],
                         [(clone, "removed") for clone in self.clones])
        self.assertGreaterEqual(lines[0]["bytes"], 1 << 20)
        self.assertLess(lines[1]["bytes"], 1 << 20)
        self.assertEqual(lines[-1]["bytes"], sum(line["bytes"] for line in lines[:-1]))
        self.assertEqual((self.backups(), lines[-1]["removed"]), ([], 4))
        self.assertEqual([proc.sha256(image) for image in images[1:]], shas[1:])
        self.assertEqual(self.listed(), [(self.name(i), "pruned", "written" if i == 0 else "as_left")
                                         for i in range(4)])
        self.assertEqual(self.backup("prune", "last"), [{
            "type": "prune_summary", "dry_run": False, "removed": 0, "kept": 0, "bytes": 0, "exit_code": 0}])

    def test_a_file_that_is_not_what_the_run_left_stays(self):
        self.on_each_amended(self.others_stay)

    def others_stay(self, images):
        os.rename(self.clones[0], self.clones[0] + ".away")
        os.symlink(self.clones[0] + ".away", self.clones[0])
        self.io(self.clones[1], "write -q -P 5 0 64k")
        os.unlink(self.clones[2])
        shutil.copyfile(images[2], self.clones[2])
        os.unlink(images[3])
        lines = self.backup("prune", "last", code=1)
        self.assertEqual([(line["status"], line["error"]["code"]) for line in lines[:-1]],
                         [("kept", "changed"), ("kept", "changed"), ("kept", "changed"), ("kept", "refused")])
        self.assertEqual((lines[-1]["kept"], len(self.backups())), (4, 4))
        self.assertTrue(os.path.exists(self.clones[0] + ".away"))
        quiet = qbatch.qbatch("backup", "prune", "-q", "--state", self.state, "last")
        self.assertEqual((quiet.code, quiet.result.out, len(quiet.result.err.splitlines())), (1, "", 4))

    def test_where_another_file_has_the_image_s_name_the_clone_stays(self):
        self.on_each_amended(self.image_is_another)

    def image_is_another(self, images):
        shutil.copyfile(images[0], images[0] + ".new")
        os.replace(images[0] + ".new", images[0])
        lines = self.backup("prune", "last", code=1)
        self.assertEqual([line["status"] for line in lines[:-1]], ["kept"] + 3 * ["removed"])
        self.assertEqual(lines[0]["error"]["code"], "refused")
        self.assertIn("another file has the image's name", lines[0]["error"]["message"])
        self.assertEqual(self.backups(), self.clones[:1])

    def test_a_directory_that_became_a_link_is_not_followed(self):
        self.on_each_amended(self.directory_is_a_link)

    def directory_is_a_link(self, images):
        away = os.path.join(self.there, "away")
        os.mkdir(away)
        inner = os.path.join(self.there, "inner")
        os.mkdir(inner)
        image = os.path.join(inner, "i.qcow2")
        shutil.copyfile(images[0], image)
        answer = qbatch.qbatch("amend", "--json", "--state", self.state, "--backup", "reflink",
                               "-o", "compat=1.1", image)
        self.assertEqual(answer.code, 0, str(answer))
        os.rmdir(away)
        os.rename(inner, away)
        os.symlink(away, inner)
        lines = self.backup("prune", "last", code=1)
        self.assertEqual(lines[0]["error"]["code"], "changed", lines)
        self.assertTrue(os.path.exists(answer.first["backup"]))

    def test_a_clone_in_use_stays(self):
        self.on_each_amended(self.in_use)

    def in_use(self, _images):
        with open(self.clones[0], "r+b"):
            lines = self.backup("prune", "last", code=1)
        self.assertEqual([line["status"] for line in lines[:-1]], ["kept"] + 3 * ["removed"])
        self.assertEqual(lines[0]["error"]["code"], "locked")
        self.assertEqual(self.backups(), self.clones[:1])
        self.assertEqual(self.backup("prune", "last")[-1]["removed"], 1)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_of_a_run_that_was_killed_or_is_under_way_nothing_is_removed(self):
        self.on_each_amended(self.killed)

    def killed(self, images):
        trace = strace.run([qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix", "--state", self.state,
                            "--backup", "reflink", "-o", "compat=1.1", *images], "syncfs:signal=KILL:when=2")
        self.assertTrue(trace.hit, trace.log)
        made = self.backups()
        self.assertEqual(len(made), 8)
        for argv in (["last"], ["--older-than", "0"]):
            answer = qbatch.qbatch("backup", "prune", "--json", "--state", self.state, *argv)
            self.assertIn("has not finished", answer.result.err)
            self.assertEqual(answer.code, 2 if argv == ["last"] else 1, str(answer))
        self.assertEqual(self.backups(), [name for name in made if name not in self.clones])

    def test_only_old_ones(self):
        self.on_each_amended(self.old_ones)

    def old_ones(self, images):
        self.assertEqual(self.backup("prune", "--older-than", "1d")[-1]["removed"], 0)

        def older(record):
            if record["is"] == "cloned" and record["path"] in images[:2]:
                record["at"] = "2020-01-01T00:00:00Z"
            elif record["is"] == "cloned" and record["path"] == images[2]:
                del record["at"]
            return record
        self.journal(older)
        self.assertEqual(self.backup("prune", "--older-than", "360d", "-n")[-1]["removed"], 2)
        self.assertEqual(self.backup("prune", "--older-than", "360d")[-1]["removed"], 2)
        self.assertEqual(self.backups(), self.clones[2:])

    def test_the_clone_of_a_damaged_image_stays(self):
        self.on_each_amended(self.damaged)

    def damaged(self, images):
        def failed(record):
            if record["is"] == "changed" and record["path"] == images[0]:
                record.update({"is": "failed", "committed": True, "code": "verify", "message": "x"})
            return record
        self.journal(failed)
        lines = self.backup("prune", "last", code=1)
        self.assertEqual([line["status"] for line in lines[:-1]], ["kept"] + 3 * ["removed"])
        self.assertIn("verify", lines[0]["error"]["message"])


class Words(ReflinkTest):
    def test_what_does_not_go_together(self):
        for argv in ([], ["burn"], ["list", "a", "b"], ["prune"], ["prune", "a", "b"], ["list", "-n"],
                     ["prune", "--older-than", "1d", "last"], ["prune", "--older-than", "soon"],
                     ["list", "--older-than", "1d"], ["restore"], ["prune", "--discard-writes", "last"],
                     ["restore", "--older-than", "1d", "last"]):
            answer = qbatch.qbatch("backup", *argv)
            self.assertEqual((answer.code, answer.result.out), (2, ""), str(answer))
            self.assertIn("qbatch backup: ", answer.result.err)


if __name__ == "__main__":
    main()
