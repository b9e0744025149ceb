#!/usr/bin/env python3
"""tidy.py itself, tried on small trees that break one rule each, and on one that breaks none."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lib")]
import fixture  # noqa: E402
import tidy  # noqa: E402

GOOD = "static int add(int a)\n{\n    int b = a;\n\n    b++;\n    return b;\n}\n"


class TidyTest(unittest.TestCase):
    def tree(self, files):
        folder = tempfile.TemporaryDirectory(prefix="tidy.")
        self.addCleanup(folder.cleanup)
        for name, text in files.items():
            path = os.path.join(folder.name, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        return tidy.Tree(folder.name, folder.name)

    def finds(self, check, files, *parts):
        _, bad = check(self.tree(files))
        self.assertEqual(len(bad), 1, bad)
        for part in parts:
            self.assertIn(part, bad[0])

    def passes(self, check, files):
        self.assertEqual(check(self.tree(files))[1], [])

    def test_a_long_file(self):
        self.finds(tidy.file_sizes, {"engine/io/a.c": "\n" * 351}, "engine/io/a.c", "351 lines")
        self.passes(tidy.file_sizes, {"engine/io/a.c": "\n" * 350})

    def test_a_long_function(self):
        body = "int long_one(void)\n{\n%s    return 0;\n}\n"
        self.finds(tidy.function_sizes, {"a.c": body % ("    f();\n" * 60)}, "a.c:long_one")
        self.passes(tidy.function_sizes, {"a.c": body % ("    f();\n" * 50)})

    def test_an_allowance_is_a_limit_and_shrinks(self):
        row = "file a.c 400  # two subjects\n"
        files = {"tests/tidy/allowed.txt": row}
        self.passes(tidy.file_sizes, {**files, "a.c": "\n" * 400})
        self.finds(tidy.file_sizes, {**files, "a.c": "\n" * 401}, "allowed.txt says 400")
        self.finds(tidy.file_sizes, {**files, "a.c": "\n"}, "not needed any more")
        with self.assertRaises(SystemExit):
            self.tree({"tests/tidy/allowed.txt": "file a.c 400\n"})

    def test_a_mutable_global(self):
        files = {"CMakeLists.txt": "qb_layer(io engine/io)\n", "good.c":
                 'const char *const good_names[] = {"a", "b"};\nconst int good_n = 3;\n'
                 "const char *good(void);\nconst char *good(void)\n{\n    return good_names[0];\n}\n",
                 "bad.c": "static int calls;\nint bad(void);\nint bad(void)\n{\n"
                          "    static int seen = 1;\n\n    return calls++ + seen++;\n}\n"}
        compilers = [c for c in ("gcc", "clang") if shutil.which(c)] or ["cc"]
        for name, expected, compiler in [(n, e, c) for n, e in (("good", []), ("bad", ["calls", "seen"]))
                                         for c in compilers]:
            tree = self.tree(files)
            at = os.path.join(tree.root, name)
            subprocess.run([compiler, "-fPIC", "-O1", "-c", "-o", f"{at}.c.o", f"{at}.c"], check=True)
            subprocess.run(["ar", "rcs", os.path.join(tree.root, "libqb_io.a"), f"{at}.c.o"],
                           check=True)
            bad = tidy.mutable_globals(tree)[1]
            self.assertEqual(sorted(line.split(":")[1] for line in bad), expected, bad)
        self.finds(tidy.mutable_globals, {"CMakeLists.txt": files["CMakeLists.txt"]}, "no archives")

    def test_an_upward_include(self):
        layers = "qb_layer(base engine/base)\nqb_layer(io engine/io DEPS qb_base)\n" \
                 "qb_layer(job batch/job DEPS qb_io)\nqb_layer(host batch/host DEPS qb_io)\n"
        self.finds(tidy.include_direction,
                   {"CMakeLists.txt": layers, "engine/base/a.c": '#include "io/io.h"\n'},
                   "engine/base/a.c", "io/")
        self.finds(tidy.include_direction,
                   {"CMakeLists.txt": layers, "batch/host/a.c": '#include "job/job.h"\n'}, "job/")
        self.passes(tidy.include_direction,
                    {"CMakeLists.txt": layers, "batch/job/a.c": '#include "base/be.h"\n'})

    def test_an_upward_call(self):
        layers = "qb_layer(base engine/base)\nqb_layer(io engine/io DEPS qb_base)\n"
        for text, expected in ((layers, 1), (layers + "target_link_libraries(qb_base INTERFACE $<LINK_ONLY:qb_io>)\n", 0)):
            tree = self.tree({"CMakeLists.txt": text, "base.c": "void qb_up(void);\nvoid qb_low(void);\nvoid qb_low(void)\n{\n    qb_up();\n}\n",
                              "io.c": "void qb_low(void);\nvoid qb_up(void);\nvoid qb_up(void)\n{\n    qb_low();\n}\n"})
            for name in ("base", "io"):
                at = os.path.join(tree.root, name)
                subprocess.run(["cc", "-c", "-o", f"{at}.c.o", f"{at}.c"], check=True)
                subprocess.run(["ar", "rcs", os.path.join(tree.root, f"libqb_{name}.a"), f"{at}.c.o"], check=True)
            bad = tidy.call_direction(tree)[1]
            self.assertEqual([line.split(",")[0] for line in bad], ["base: uses qb_up"] * expected)

    def test_a_helper_that_is_written_twice(self):
        self.finds(tidy.duplicates, {"a.c": GOOD, "b.c": GOOD.replace("    int b", "  int b")}, "add",
                   "a.c, b.c")
        self.passes(tidy.duplicates, {"a.c": GOOD, "b.c": GOOD.replace("b++", "b--")})

    def test_a_second_list(self):
        table = "".join(f'ROW(ONE{k}, one{k}, "text")\n' for k in range(8))
        names = ", ".join(f'"one{k}"' for k in range(8))
        files = {"batch/cli/things.def": table}
        self.finds(tidy.one_home, {**files, "batch/cli/a.c": names}, "8 of the 8", "things.def")
        self.passes(tidy.one_home, {**files, "batch/cli/a.c": '"one1", "one2"'})

    def test_a_call_that_a_macro_makes_twice(self):
        self.finds(tidy.calls_in_macros, {"a.c": "\nn = QB_MIN(a(b), QB_MAX(c, 1));\n"}, "a.c:2", "a() twice")
        self.passes(tidy.calls_in_macros, {"a.c": "#define QB_MIN(a, b) f(a)\nn = f(QB_MAX((int)a, sizeof(b)));\n"})

    def test_a_private_word(self):
        self.finds(tidy.words, {"batch/run/a.c": '"an image that others stand on"'}, "depends on")
        self.passes(tidy.words, {"batch/run/a.c": '/* stand on "stand on" */ "depends on"'})
        self.finds(tidy.words, {"README.md": "\nSpace is given back."}, "README.md:2", "freed")
        self.passes(tidy.words, {"ARCHITECTURE.md": "is given back"})

    def test_a_leftover(self):
        self.finds(tidy.leftovers, {"a.c": "/* TO" "DO: later */"}, "a.c")
        self.passes(tidy.leftovers, {"a.c": "/* mkdtemp: XX" "XXXX */"})

    @unittest.skipUnless(tidy.formatter()[0], tidy.formatter()[1])
    def test_a_function_that_is_not_formatted(self):
        style = {".clang-format": "BasedOnStyle: LLVM\nIndentWidth: 4\n"}
        self.finds(tidy.formatting, {**style, "a.c": "int  f(void);\n"}, "a.c")
        self.passes(tidy.formatting, {**style, "a.c": "int f(void);\n"})


if __name__ == "__main__":
    fixture.run_tests()
