"""Draws crash states of a recorded fleet, and has each one that is new judged once."""
import hashlib
import os
import queue
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import crash
import fleets
import qbatch
import verdict
from fleet import MANIFEST

DRAWS_FOR_A_STATE = 12  # most draws repeat a state; so many of them for one new state, then it ends

MOST_DRAWS = 3000


def digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass
class Outcome:
    draws: int = 0   # states of the whole fleet
    states: int = 0  # different states of an image
    reruns: int = 0
    violations: list = field(default_factory=list)  # (state, image, words)

    @property
    def broken(self):
        """Violations other than an amend that is not durable yet."""
        return [v for v in self.violations if v[2] != verdict.LATE]

    def spared(self, names):
        """Those of the images of which nothing is broken."""
        return set(names) - {v[1] for v in self.broken}

    def add(self, other):
        self.draws += other.draws
        self.states += other.states
        self.reruns += other.reruns
        self.violations += other.violations


def points(fleet, histories, seed):
    """(cut, draw) without end: each cut in the plain ways first, then whatever chance brings."""
    rng = random.Random(seed)
    fixed = [(cut, draw) for cut in fleet.cuts for draw in range(crash.FIXED_DRAWS)]
    last = [point for point in fixed if point[0] == fleet.cuts[-1]]
    rng.shuffle(fixed)
    yield from last + fixed
    busy = [cut for cut in fleet.cuts if crash.pending(histories.values(), cut)]
    draw = crash.FIXED_DRAWS
    while busy:
        yield rng.choice(busy), draw
        draw += 1


class Replay:
    def __init__(self, fleet, jobs, blind="", tool=None):
        self.fleet, self.tool = fleet, tool
        self.histories = fleet.histories(blind)
        self.outcome, self.seen = Outcome(), set()
        self.lock = threading.Lock()
        self.folders = queue.Queue()
        for number in range(jobs):
            self.folders.put(fleet.path(f"judge-{number}"))
        self.jobs, self.waiting = jobs, threading.Semaphore(4 * jobs)

    def plans(self, cut, draw):
        """{file: what becomes of its changes}: always the same for the same log."""
        lost = crash.pending(self.histories.values(), cut)
        fates = crash.Draw(draw, f"{self.fleet.name}/{cut}/{draw}", lost)
        return {name: fates.plan(h, cut) for name, h in self.histories.items()}

    def images(self, plans):
        """{file: its bytes} after a power cut."""
        return {name: crash.state(self.histories[name], plan) for name, plan in plans.items()}

    # ---- judging ----------------------------------------------------------------------------
    def in_folder(self, job, *args):
        """Runs a job in a folder that is nobody else's meanwhile."""
        folder = self.folders.get()
        try:
            job(folder, *args)
        except Exception as e:  # a fault of the harness must not pass for a good state
            self.violation("?", "?", f"harness: {type(e).__name__}: {e}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.folders.put(folder)
            self.waiting.release()

    def violation(self, point, name, words):
        with self.lock:
            self.outcome.violations.append((point, name, words))

    def judge(self, folder, point, name, images, must_be_new):
        verdict.lay_out(folder, self.fleet.bystanders(), images)
        words = self.fleet.judges[name].complaint(os.path.join(folder, name), must_be_new)
        if words:
            self.violation(point, name, words)

    def rerun(self, folder, point, images):
        """The same run once more, on what the power cut left: it ends the work."""
        subjects = [s for s in self.fleet.subjects if not s.is_raw]  # whose length is in the journal alone
        verdict.lay_out(folder, self.fleet.bystanders(), images)
        with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as f:
            f.write(fleets.manifest(subjects, self.fleet.policy))
        answer = qbatch.qbatch("--json", MANIFEST, tool=self.tool, cwd=folder)
        if answer.code:
            self.violation(point, "a second run", str(answer))
            return
        for s in subjects:
            words = self.fleet.judges[s.name].unfinished(os.path.join(folder, s.name))
            if words:
                self.violation(point, f"a second run, {s.name}", words)

    # ---- drawing ----------------------------------------------------------------------------
    def submit(self, pool, job, *args):
        self.waiting.acquire()
        pool.submit(self.in_folder, job, *args)

    def is_new(self, *key):
        new = key not in self.seen
        self.seen.add(key)
        return new

    def draw(self, pool, cut, draw):
        """Has every image of this state judged that was not seen before."""
        plans = self.plans(cut, draw)
        self.outcome.draws += 1
        for s in self.fleet.subjects:
            mine = {name: plans[name] for name in (*s.files, *s.mates)}
            must_be_new = self.fleet.must_be_new(s.name, cut)
            if not self.is_new(s.name, must_be_new, *mine.values()):
                continue
            images = self.images(mine)
            if self.is_new(s.name, must_be_new, *map(digest, images.values())):
                self.outcome.states += 1
                self.submit(pool, self.judge, f"{cut}/{draw}", s.name, images, must_be_new)
        return plans

    def is_over(self, limit, until):
        o = self.outcome
        if until is not None and o.draws < MOST_DRAWS and (not o.broken or o.spared(until)):
            return False
        return o.states >= limit or o.draws > limit * DRAWS_FOR_A_STATE

    def run(self, limit, reruns=0, until=None):
        """About `limit` different states; more until something is broken, and each image of `until`."""
        stride = max(limit // (reruns or 1) // 2, 1)
        with ThreadPoolExecutor(self.jobs) as pool:
            for cut, draw in points(self.fleet, self.histories, self.fleet.name):
                if self.is_over(limit, until):
                    break
                plans = self.draw(pool, cut, draw)
                if self.outcome.reruns < reruns and self.outcome.draws % stride == 0:
                    self.outcome.reruns += 1
                    self.submit(pool, self.rerun, f"{cut}/{draw}", self.images(plans))
        return self.outcome

    def one(self, point, where):
        """Judges one state again and leaves it in a folder."""
        cut, draw = map(int, point.split("/"))
        images = self.images(self.plans(cut, draw))
        verdict.lay_out(where, self.fleet.bystanders(), images)
        for name, judge in self.fleet.judges.items():
            words = judge.complaint(os.path.join(where, name), self.fleet.must_be_new(name, cut))
            print(f"{name}: {words or 'as it must be'}")
