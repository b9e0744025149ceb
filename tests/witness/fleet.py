"""One fleet in a folder of its own: how it was, how it is after the run, and the log of the run.

    before/  the images and their backing files     live/  the same, amended
    log      what the recorder saw                  fleet.json  what they are
"""
import json
import os
import random
from dataclasses import asdict

import crash
import data_files
import fleets
import proc
import qbatch
import recording
import verdict

MANIFEST, REPORT = "fleet.yaml", "report.jsonl"
LONG_AGO = 1 << 62

# Which syncs have never been, of an image and of a data file: all are kept, the first is forgotten
# (unless it is the only one of an image: then nothing depends on it), or the last.
ALL, FIRST, LAST = (lambda s: s), (lambda s: s[1:]), (lambda s: s[:-1])
BLIND = {
    "": (ALL, ALL), "first": (lambda s: s[1:] or s, FIRST), "data": (ALL, FIRST), "flip": (LAST, ALL),
}


class NotAmended(Exception):
    """The run without any power cut went wrong already."""


class Fleet:
    def __init__(self, folder, subjects, name, policy):
        self.folder, self.subjects, self.name, self.policy = folder, subjects, name, policy

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    # ---- making and recording ---------------------------------------------------------------
    @classmethod
    def make(cls, folder, kinds, name, sync=None):
        rng = random.Random(name)
        before = os.path.join(folder, "before")
        os.makedirs(before)
        subjects = fleets.make(rng, before, kinds)
        flags, policy = fleets.commands(rng, sync)
        fleet = cls(folder, subjects, name, policy)
        fleet.flags = flags
        with open(fleet.path("fleet.json"), "w", encoding="utf-8") as f:
            json.dump({"name": name, "policy": policy,
                       "subjects": [asdict(s) for s in subjects]}, f)
        with open(fleet.path(MANIFEST), "w", encoding="utf-8") as f:
            f.write(fleets.manifest(subjects, policy))
        return fleet

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "fleet.json"), encoding="utf-8") as f:
            found = json.load(f)
        subjects = [fleets.Subject(**s) for s in found["subjects"]]
        return cls(folder, subjects, found["name"], found["policy"]).look()

    def record(self, tool, recorder, fault=""):
        """Runs the tool; every image must be amended.  `fault`: whose barriers a faulty one leaves out."""
        os.makedirs(self.path("live"))
        for name in os.listdir(self.path("before")):
            proc.copy_sparse(self.path("before", name), self.path("live", name))
        proc.copy_sparse(self.path(MANIFEST), self.path("live", MANIFEST))
        with recording.Mount(recorder, self.folder) as mnt:
            answer = qbatch.qbatch("--json", *self.flags, "--report", REPORT, MANIFEST, tool=tool,
                                   cwd=mnt, env={**os.environ, "WITNESS_FAULT": fault})
        wrong = [f"{r['path']} ({(r['error'] or {}).get('message', r['status'])})"
                 for r in answer.records if r["status"] != "changed"]
        if answer.code or wrong or len(answer.records) != len(self.subjects):
            raise NotAmended(", ".join(wrong) or str(answer))
        inodes = {n: os.stat(self.path("live", n)).st_ino for n in [*self.files(), REPORT]}
        with open(self.path("inodes.json"), "w", encoding="utf-8") as f:
            json.dump(inodes, f)
        return self.look()

    # ---- what is known afterwards -----------------------------------------------------------
    def look(self):
        with open(self.path("inodes.json"), encoding="utf-8") as f:
            self.inodes = json.load(f)
        self.operations = recording.read_log(self.path("log"))
        self.cuts = crash.cuts([o for o in self.operations if o.inode in self.inodes.values()])
        self.originals = {name: data_files.read(self.path("before", name)) for name in self.files()}
        self.judges = {s.name: self.judge_of(s) for s in self.subjects}
        self.reports = self.when_reported()
        return self

    def judge_of(self, subject):
        before, live = self.path("before"), self.path("live")
        old, new = (verdict.reference(os.path.join(f, subject.name)) for f in (before, live))
        return verdict.Judge(old, new, data_files.DataFiles(subject.companions, before, live,
                                                            old.identity, new.identity))

    def has_data_files(self):
        return any(s.companions for s in self.subjects)

    def files(self):
        """The images and their data files."""
        return [name for s in self.subjects for name in s.files]

    def when_reported(self):
        """{image: number of the write that told its amend as done}."""
        told, text = {}, b""
        for o in self.operations:
            if o.inode != self.inodes[REPORT] or o.kind != recording.WRITE:
                continue
            text += o.data
            for line in text.split(b"\n")[:-1]:
                record = json.loads(line)
                told.setdefault(os.path.basename(record["path"]), o.number)
        return told

    def must_be_new(self, name, cut):
        return self.reports.get(name, LONG_AGO) < cut

    def bystanders(self):
        """Files that no amend touches."""
        mine = set(self.files())
        return [self.path("before", n) for n in os.listdir(self.path("before")) if n not in mine]

    def complaints(self):
        """What is wrong without any power cut."""
        found = []
        for s in self.subjects:
            judge = self.judges[s.name]
            words = judge.doubts(s.request, self.path("live"))
            renamed = [o for o in self.operations if o.kind in (recording.RENAME, recording.UNLINK)
                       and {n.encode() for n in s.files} & set(o.data.split(b"\0"))]
            if words or renamed or s.name not in self.reports:
                found.append((s.name, words or f"renamed: {renamed}, or not reported"))
        return found

    def histories(self, blind):
        """{file: its history}, as if some syncs had never been (BLIND)."""
        of_image, of_data = BLIND[blind]
        return {name: crash.history(self.originals[name], self.inodes[name], self.operations,
                                    of_image if name == s.name else of_data)
                for s in self.subjects for name in s.files}

    def must_break(self, blind):
        """Images with data files that cannot stay right without those syncs."""
        return {name for name, judge in self.judges.items() if judge.data.must_break(blind)}

    def figures(self):
        mine = [o for o in self.operations if o.inode in self.inodes.values()]
        return {
            "images": len(self.subjects), "data files": len(self.files()) - len(self.subjects), "writes": sum(o.changes for o in mine),
            "syncs": sum(o.kind == recording.SYNC for o in mine),
            "from io_uring": sum(o.from_ring for o in mine),
            "O_DIRECT": sum(o.kind == recording.OPEN and bool(o.flags & os.O_DIRECT) for o in mine),
        }
