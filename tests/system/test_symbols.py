"""The shared library shows the functions that its header declares, and no others."""
import os
import re
import unittest

import context  # noqa: F401  finds the library of the tests
import proc

HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "engine", "qbatch.h")
LIBRARY = os.path.join(os.environ["QB_BUILD"], "libqbatch.so")


def declared():
    with open(HEADER, encoding="utf-8") as header:
        text = re.sub(r"/\*.*?\*/", "", header.read(), flags=re.S)
    return sorted(re.findall(r"^QB_API [^;(]*?(\w+)\(", text, flags=re.M))


def exported():
    lines = proc.must(["nm", "-D", "--defined-only", LIBRARY]).splitlines()
    return sorted(line.split()[-1].split("@")[0] for line in lines)


class Symbols(unittest.TestCase):
    def test_the_library_exports_what_the_header_declares(self):
        self.assertIn("qb_amend_image", declared())
        self.assertEqual(exported(), declared())


if __name__ == "__main__":
    unittest.main()
