"""Installed somewhere: the program, its pages and completions, the library and what needs it; packages."""
import os
import re
import shutil
import tempfile
import unittest

import context  # noqa: F401
import proc
from fixture import OTHER_BUILD, ImageTest, main

BUILD = os.environ.get("QB_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
CMAKELISTS = os.path.join(os.path.dirname(__file__), "../../CMakeLists.txt")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))


class Installed(ImageTest):
    def setUp(self):
        super().setUp()
        self.root = self.path("root")
        proc.must(["cmake", "--install", BUILD, "--prefix", self.root + "/usr"])

    def find(self, *parts):
        path = os.path.join(self.root, "usr", *parts)
        self.assertTrue(os.path.exists(path), path)
        return path

    def test_the_program_and_what_belongs_to_it(self):
        self.assertIn("qbatch", proc.must([self.find("bin/qbatch"), "--version"]))
        self.assertIn("qbatch-bench", proc.must([self.find("bin/qbatch-bench"), "--version"]))
        for part in ("share/man/man1/qbatch.1.gz", "share/man/man1/qbatch-bench.1.gz",
                     "share/man/man5/qbatch-manifest.5.gz",
                     "share/doc/qbatch/examples/v2-to-v3.yaml", "lib/systemd/system/qbatch@.service",
                     "lib/systemd/system/qbatch@.timer", "share/qbatch/qbatch-manifest.schema.json",
                     "share/qbatch/qbatch-report.schema.json",
                     "share/qbatch/qbatch-qbatch-0.1.0.tar.gz", "share/doc/qbatch/examples/slurm/qbatch.sbatch",
                     "share/doc/qbatch/examples/libvirt/qbatch-hook", "libexec/qbatch/qbatch-left",
                     "lib/systemd/system/qbatch-left@.path", "lib/systemd/system/qbatch-left@.timer",
                     "share/doc/qbatch/STABILITY.md", "etc/qbatch"):
            self.find(part)

    def test_the_unit_names_the_program_and_the_manifests_of_its_prefix(self):
        with open(self.find("lib/systemd/system/qbatch@.service"), encoding="utf-8") as f:
            unit = f.read()
        self.assertIn(f"ExecStart={self.root}/usr/bin/qbatch --report", unit)
        self.assertIn(f"ConditionPathExists={self.root}/usr/etc/qbatch/%i.yaml", unit)
        self.assertIn("NotifyAccess=main", unit)
        self.assertNotIn("[Install]", unit)  # only its timer is enabled
        with open(self.find("lib/systemd/system/qbatch-left@.service"), encoding="utf-8") as f:
            unit = f.read()
        self.assertIn(f"ExecStart={self.root}/usr/libexec/qbatch/qbatch-left {self.root}/usr/etc/qbatch/%i.yaml", unit)

    def test_staged_for_usr_as_packages_are(self):
        stage = self.path("stage")
        proc.must(["cmake", "--install", BUILD, "--prefix", "/usr"],
                  env={**os.environ, "DESTDIR": stage})
        self.assertEqual(sorted(os.listdir(stage)), ["etc", "usr"])
        for part in ("etc/qbatch", "usr/bin/qbatch", "usr/share/zsh/vendor-completions/_qbatch"):
            self.assertTrue(os.path.exists(os.path.join(stage, part)), part)
        with open(os.path.join(stage, "usr/lib/systemd/system/qbatch@.service"), encoding="utf-8") as f:
            self.assertIn("/etc/qbatch/%i.yaml", f.read())

    def test_bash_completes(self):
        script = self.find("share/bash-completion/completions/qbatch")
        words = {"'' --res": "--resume", "'' am": "amend", "'amend' --ver": "--verify --verbose --version",
                 "'--io' u": "uring", "'undo' --disc": "--discard-undo"}
        for typed, wanted in words.items():
            before, word = typed.replace("'", "").split(" ")
            line = [w for w in ("qbatch", before, word) if w]
            out = proc.must(["bash", "-c", f"""
                source {script}
                COMP_WORDS=({' '.join(line)}) COMP_CWORD={len(line) - 1}
                _qbatch
                echo "${{COMPREPLY[*]}}"
                """], cwd=self.folder)
            self.assertEqual(out.split(), wanted.split(), typed)

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_takes_its_completion(self):
        script = self.find("share/zsh/site-functions/_qbatch")
        proc.must(["zsh", "-n", script])
        out = proc.must(["zsh", "-f", "-c", f"""
            fpath=({os.path.dirname(script)} $fpath)
            autoload -U compinit && compinit -D -u
            print -r -- ${{_comps[qbatch]}}
            """])
        self.assertEqual(out.strip(), "_qbatch")

    @unittest.skipIf(SANITIZED, OTHER_BUILD)
    def test_a_program_is_built_with_the_library(self):
        config = os.path.dirname(self.find("include")) + "/lib"
        env = {**os.environ, "PKG_CONFIG_PATH": self.pkg_config(config)}
        example = self.find("share/doc/libqbatch-dev/examples/amend.c")
        program = self.path("amend")
        flags = proc.must(["pkg-config", "--cflags", "--libs", "libqbatch"], env=env).split()
        proc.must(["cc", "-Wall", "-Werror", example, "-o", program, *flags])
        lib = [flag[2:] for flag in flags if flag.startswith("-L")][0]
        image = self.create(compat="0.10")
        out = proc.must([program, image], env={**env, "LD_LIBRARY_PATH": lib})
        self.assertEqual(out, f"{image}: changed\n")
        self.assert_sound(image)
        self.assertEqual(proc.run([program, self.path("none")], env={**env, "LD_LIBRARY_PATH": lib}).code, 1)

    def test_the_library_exports_what_its_header_declares(self):
        with open(self.find("include/qbatch.h"), encoding="utf-8") as f:
            declared = re.findall(r"^QB_API [^(]*?(\w+)\(", f.read(), re.M)
        library = os.path.join(BUILD, "libqbatch.so")
        names = proc.must(["nm", "-D", "--defined-only", "--format=just-symbols", library]).split()
        self.assertEqual(sorted(n for n in names if n.startswith("qb")), sorted(declared))

    def pkg_config(self, lib):
        for folder, _, files in os.walk(lib):
            if "libqbatch.pc" in files:
                return folder
        self.fail("no libqbatch.pc")


@unittest.skipUnless(shutil.which("dpkg-shlibdeps") and shutil.which("dpkg-deb"), "dpkg-dev is not installed")
@unittest.skipIf(SANITIZED, OTHER_BUILD)
class Packages(ImageTest):
    def setUp(self):
        super().setUp()
        self.pack(self.folder)

    def pack(self, folder, **env):
        proc.must(["cpack", "-G", "DEB", "-B", folder, "--config", os.path.join(BUILD, "CPackConfig.cmake")],
                  cwd=self.folder, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **env})

    def test_they_are_the_same_bytes_wherever_and_by_whomever_they_are_made(self):
        other = tempfile.mkdtemp(dir="/dev/shm", prefix="qbatch-test-")  # another file system
        self.addCleanup(shutil.rmtree, other)
        self.addCleanup(os.umask, os.umask(0o077))
        self.pack(other, TZ="Pacific/Apia", LC_ALL="C")
        debs = [name for name in os.listdir(self.folder) if name.endswith(".deb")]
        self.assertEqual(len(debs), 3)
        for name in debs:
            self.assertEqual(proc.sha256(self.path(name)), proc.sha256(os.path.join(other, name)), name)

    @unittest.skipUnless(shutil.which("lintian"), "lintian is not installed")
    def test_lintian_finds_no_error(self):
        debs = [self.path(name) for name in os.listdir(self.folder) if name.endswith(".deb")]
        done = proc.run(["lintian", "--fail-on", "error", *debs])
        self.assertEqual(done.code, 0, done.out)

    def library(self):
        """Before 1.0 each minor version has a SONAME of its own, and the package its name."""
        soname = proc.must(["objdump", "-p", os.path.join(BUILD, "libqbatch.so")])
        soname = re.search(r"SONAME +libqbatch\.so\.(\S+)", soname).group(1)
        version = re.search(r"project\(qbatch VERSION (\d+)\.(\d+)", proc.must(["cat", CMAKELISTS]))
        self.assertEqual(soname, "0." + version[2] if version[1] == "0" else version[1])
        return "libqbatch" + soname

    def test_three_packages_that_unpack_and_work(self):
        debs = sorted(name.split("_")[0] for name in os.listdir(self.folder) if name.endswith(".deb"))
        self.assertEqual(debs, ["libqbatch-dev", self.library(), "qbatch"])
        root = self.path("root")
        for name in os.listdir(self.folder):
            if name.endswith(".deb"):
                deb = self.path(name)
                proc.must(["dpkg-deb", "-x", deb, root])
                depends = proc.must(["dpkg-deb", "-f", deb, "Depends"])
                self.assertIn(self.library() if "-dev" in name else "liburing2", depends)
        image = self.create(compat="0.10")
        proc.must([f"{root}/usr/bin/qbatch", "amend", "-q", "-o", "compat=1.1", image])
        self.assert_sound(image)


if __name__ == "__main__":
    main()
