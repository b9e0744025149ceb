"""What the compiler and the linker were asked to do against faults, read from the finished files."""
import os
import platform
import re
import unittest

import context  # noqa: F401  finds the library of the tests
import proc

BUILD = os.environ["QB_BUILD"]
PROGRAMS = [os.path.join(BUILD, name) for name in ("qbatch", "qbatch-bench")]
FILES = PROGRAMS + [os.path.join(BUILD, "libqbatch.so")]
# A page of a large stack frame is touched before the next one is taken: so by gcc, and so by clang.
PROBE = re.compile(r"\bor[lq]?\s+\$0x0,(?:0x0)?\(%rsp\)|"
                   r"\bsub\s+\$0x1000,%rsp\n[^\n]*\bmov[lq]?\s+\$0x0,(?:0x0)?\(%rsp\)")


def readelf(what, path):
    return proc.must(["readelf", "--wide", what, path])


def sanitized():
    return "__asan_init" in readelf("--dyn-syms", PROGRAMS[0])


@unittest.skipIf(sanitized(), "a build with the sanitizers has their checks instead")
class Hardening(unittest.TestCase):
    def each(self, what, *needed, files=FILES):
        for path in files:
            text = readelf(what, path)
            for pattern in needed:
                with self.subTest(file=os.path.basename(path), needed=pattern):
                    self.assertRegex(text, pattern)

    def test_programs_are_position_independent(self):
        self.each("--dynamic", r"FLAGS_1.*\bPIE\b", files=PROGRAMS)
        self.each("--file-header", r"Type:\s+DYN")

    def test_relocations_are_read_only_once_all_are_bound(self):
        self.each("--program-headers", r"GNU_RELRO", r"GNU_STACK\s.*\bRW\s")
        self.each("--dynamic", r"FLAGS_1.*\bNOW\b")

    def test_stacks_are_guarded_and_string_functions_checked(self):
        self.each("--dyn-syms", r"__stack_chk_fail@", r"__(?:snprintf|vsnprintf|memcpy|fprintf)_chk@")

    @unittest.skipUnless(platform.machine() == "x86_64", "other processors have other instructions")
    def test_branches_lead_to_marks_and_large_stack_frames_are_probed(self):
        """The marks are looked for in the code: a file's own note depends on the C library's objects, too."""
        code = proc.must(["objdump", "--disassemble", "--no-show-raw-insn", PROGRAMS[0]])
        self.assertRegex(code, r"<qb_guard_check>:\n[^\n]*\bendbr64\b")
        self.assertRegex(code, PROBE)


if __name__ == "__main__":
    unittest.main()
