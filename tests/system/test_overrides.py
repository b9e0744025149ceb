"""Options that stand for keys of the manifest, and what else the command line decides of a run."""
import os

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main


class Overrides(ImageTest):
    def setUp(self):
        super().setUp()
        self.image = self.create(compat="0.10")
        self.fleet = self.manifest("version: 1\npolicy: {verify: none, on_leaks: keep}\n"
                                   f"images: [{{path: '{self.image}', compat: 1.1}}]\n")

    def leak(self):
        """A cluster that is counted and not referred to."""
        self.io(self.image, "write -q 0 64k")
        with open(self.image, "r+b") as f:
            f.seek(40)
            l1 = int.from_bytes(f.read(8), "big")
            f.seek(l1)
            l2 = int.from_bytes(f.read(8), "big") & ~(1 << 63)
            f.seek(l2)
            f.write(bytes(8))

    def run_one(self, *argv, code=0):
        answer = qbatch.qbatch("--json", "--no-state", *argv, self.fleet)
        self.assertEqual(answer.code, code, str(answer))
        return answer.records[0]

    def test_verify_overrides_the_manifest(self):
        self.assertEqual(self.run_one("-n")["verify"]["mode"], "none")
        record = self.run_one("--verify", "content")
        self.assertEqual((record["status"], record["verify"]["mode"], record["verify"]["result"]),
                         ("changed", "content", "ok"))

    def test_on_leaks_overrides_the_manifest(self):
        self.leak()
        sha = proc.sha256(self.image)
        self.assertEqual(self.run_one("--on-leaks=fail", code=1)["error"]["code"], "leaks")
        self.assertEqual(proc.sha256(self.image), sha)
        self.assertEqual(self.run_one()["status"], "changed")

    def test_n_is_a_dry_run(self):
        sha = proc.sha256(self.image)
        self.assertEqual(self.run_one("-n")["status"], "would_change")
        self.assertEqual(qbatch.qbatch("amend", "-n", "-q", "-o", "compat=1.1", self.image).code, 0)
        self.assertEqual(proc.sha256(self.image), sha)

    def test_a_duration_has_units_and_what_is_none_is_shown_right(self):
        self.assertEqual(self.run_one("--deadline", "12h")["status"], "changed")
        for text, hint in (("2 hours", "write 2h"), ("10min", "write 10m"), ("1w", "such as 0.5")):
            answer = qbatch.qbatch("--deadline", text, self.fleet)
            self.assertEqual(answer.code, 2)
            self.assertIn(hint, answer.result.err)
            wrong = self.manifest(f"version: 1\nlimits: {{timeout: {text}}}\n"
                                  f"images: [{{path: '{self.image}', compat: 1.1}}]\n")
            answer = qbatch.qbatch("lint", wrong)
            self.assertEqual(answer.code, 2)
            self.assertIn(hint, answer.result.err)

    def test_color_is_where_it_is_asked_for(self):
        def colored(*argv, **env):
            done = proc.run([qbatch.absolute(qbatch.TOOL), "-n", *argv, self.fleet],
                            env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **env})
            self.assertEqual(done.code, 0, done.err)
            return "\x1b[" in done.out

        self.assertFalse(colored())
        self.assertTrue(colored("--color=always"))
        self.assertTrue(colored("--color", "always", NO_COLOR="1"))
        self.assertFalse(colored("--color=never"))


if __name__ == "__main__":
    main()
