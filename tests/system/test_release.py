"""scripts/release in a small project of its own: what it refuses, and what it makes."""
import os
import shutil
import tarfile
import unittest

import context  # noqa: F401
import proc
from fixture import ImageTest, main

RELEASE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/release")
DATED = "# Changelog\n\n## 1.2.3 (2026-03-04)\n\n* new: a thing\n\n## 1.2.2 (2026-01-01)\n\n* an old thing\n"
PROJECT = "cmake_minimum_required(VERSION 3.25)\nproject(qbatch VERSION 1.2.3 LANGUAGES C)\n"


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class Release(ImageTest):
    def setUp(self):
        super().setUp()
        self.root = self.path("project")
        os.makedirs(os.path.join(self.root, "scripts"))
        shutil.copy(RELEASE, os.path.join(self.root, "scripts"))
        self.git("init", "-q")
        self.commit({"CMakeLists.txt": PROJECT, "CHANGELOG.md": DATED, ".gitignore": "/build*/\n"})

    def git(self, *argv):
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_COMMITTER_DATE": "1700000000 +0000"}
        return proc.must(["git", "-c", "user.name=n", "-c", "user.email=n@example.org", *argv],
                         cwd=self.root, env=env)

    def write(self, files):
        for name, text in files.items():
            with open(os.path.join(self.root, name), "w", encoding="utf-8") as f:
                f.write(text)

    def commit(self, files):
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a change")

    def release(self, *flags, no_test="--no-test"):
        env = {**os.environ, "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "n@example.org"}
        return proc.run([os.path.join(self.root, "scripts/release"), no_test, "--source-only", *flags], env=env)

    def refused(self, words, **kwargs):
        done = self.release(**kwargs)
        self.assertEqual(done.code, 1, done.out + done.err)
        self.assertIn(words, done.err)
        self.assertEqual(self.git("tag", "--list", "v1.2.3", "--contains", "HEAD"), "")
        self.assertFalse(os.path.exists(os.path.join(self.root, "build-release")))

    def test_an_archive_and_a_tag_with_the_changes_of_this_version(self):
        done = self.release()
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(self.git("cat-file", "-t", "v1.2.3").strip(), "tag")
        self.assertEqual(self.git("tag", "-l", "--format=%(contents)", "v1.2.3").strip(),
                         "qbatch 1.2.3\n\n* new: a thing")
        archive = os.path.join(self.root, "build-release/qbatch-1.2.3.tar.gz")
        with tarfile.open(archive) as tar:
            self.assertIn("qbatch-1.2.3/CMakeLists.txt", tar.getnames())
            self.assertEqual({m.mtime for m in tar.getmembers()}, {1700000000})
        proc.must(["sha256sum", "--check", "SHA256SUMS"], cwd=os.path.dirname(archive))

    def test_again_at_the_same_commit_it_makes_the_same_bytes(self):
        folders = [self.path("first"), self.path("second")]
        for folder in folders:
            self.assertEqual(self.release(folder).code, 0)
        sums = [proc.sha256(os.path.join(folder, "qbatch-1.2.3.tar.gz")) for folder in folders]
        self.assertEqual(sums[0], sums[1])

    def test_a_tree_with_changes_is_refused(self):
        self.write({"new.c": "int new;\n"})
        self.refused("the tree has changes")

    def test_a_changelog_without_the_version_or_its_date_is_refused(self):
        for heading in ("## 1.2.3 (unreleased)", "## 1.2.4 (2026-03-04)", "## 1.2.3 (2026-13-04)"):
            self.commit({"CHANGELOG.md": DATED.replace("## 1.2.3 (2026-03-04)", heading)})
            self.refused(f'CHANGELOG.md begins with "{heading}"')

    def test_a_tag_of_another_commit_stays(self):
        self.assertEqual(self.release().code, 0)
        shutil.rmtree(os.path.join(self.root, "build-release"))
        tagged = self.git("rev-parse", "v1.2.3")
        self.commit({"more.c": "int more;\n"})
        self.refused("the tag v1.2.3 is another commit")
        self.assertEqual(self.git("rev-parse", "v1.2.3"), tagged)

    def test_tests_that_fail_end_it(self):
        script = os.path.join(self.root, "scripts/test")
        self.write({"scripts/test": "#!/bin/sh\nexit 1\n"})
        os.chmod(script, 0o755)
        self.commit({})
        self.refused("a test failed", no_test="--source-only")


if __name__ == "__main__":
    main()
