"""The options of qbatch(1) are those of the program: the same names, the same arguments."""
import os
import re
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import main

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../batch/man/qbatch.1")


def options_of(mdoc):
    """{option: its argument or ""} of the tags of a list; those that share a paragraph are taken
    apart."""
    found = {}
    for tag in re.findall(r"^\.It (Fl .*)$", mdoc, re.M):
        names, argument = [], ""
        for part in tag.replace("\\-", "-").split(" , Fl "):
            name, _, rest = part.removeprefix("Fl ").partition(" ")
            names.append(name)
            argument = re.match(r"[^A-Z]*(?:(?:Ns|Op|Oo|Ar)[^A-Z]*)*([A-Z=]*)", rest).group(1)
            if argument:  # --nice NUMBER, --ionice CLASS; but also -j, --jobs N
                found.update({name: argument for name in names})
                names = []
        found.update({name: argument for name in names})
    return found


def options_section(page):
    return page[page.index("\n.It Fl o Ar"):page.index("\n.Sh ERROR CODES")]


class Manual(unittest.TestCase):
    def test_the_options_are_those_of_the_program(self):
        answer = proc.run([qbatch.absolute(qbatch.TOOL), "help", "man"])
        self.assertEqual(answer.code, 0)
        table = options_of(answer.out)
        with open(PAGE, encoding="utf-8") as f:
            page = options_of(options_section(f.read()))
        self.assertGreater(len(table), 40)
        self.assertEqual(set(page) - set(table), set())
        self.assertEqual(set(table) - set(page), set())
        self.assertEqual({n: (table[n], page[n]) for n in table if table[n] != page[n]}, {})

    def test_the_synopsis_has_what_each_command_may_be_told_to_do(self):
        """The words of a command's usage, such as those of `ctl`, are in its part of the synopsis."""
        with open(PAGE, encoding="utf-8") as f:
            synopsis = f.read().split(".Sh SYNOPSIS\n")[1].split("\n.Sh ")[0]
        parts = synopsis.split(".Nm\n")
        commands = set(re.findall(r"^\.Cm ([a-z]+)", synopsis, re.M))
        self.assertLessEqual({"ctl", "plan", "report", "backup"}, commands)
        for command in commands:
            usage = proc.must([qbatch.absolute(qbatch.TOOL), command, "--help"]).splitlines()[0]
            words = set(re.findall(r"(?<![-\w])[a-z]{2,}(?![\w])", usage.split("[OPTIONS]")[-1]))
            page = {word for part in parts if f".Cm {command}" in part for word in re.findall(r"[a-z]+", part)}
            self.assertEqual(words - page, set(), command)

    def test_the_help_of_a_command_ends_with_a_sentence_that_fits_a_line(self):
        commands = re.findall(r"^ +qbatch ([a-z]+)", proc.run([qbatch.absolute(qbatch.TOOL)]).err, re.M)
        self.assertGreater(len(commands), 12)
        for command in commands:
            lines = proc.must([qbatch.absolute(qbatch.TOOL), command, "--help"]).splitlines()
            self.assertRegex(lines[2], r"^[A-Z].*\.$", command)
            self.assertLessEqual(len(lines[2]), 100, command)

    def test_a_setting_is_found_by_the_name_that_messages_have_for_it(self):
        for section, key in (("policy", "max_growth"), ("policy", "extend_command"), ("limits", "timeout")):
            with self.subTest(key):
                answer = proc.run([qbatch.absolute(qbatch.TOOL), "help", f"{section}.{key}"])
                self.assertEqual(answer.code, 0, answer.err)
                self.assertTrue(answer.out.startswith(f"{key}: "), answer.out)
        answer = proc.run([qbatch.absolute(qbatch.TOOL), "help", "policy.timeout"])
        self.assertEqual(answer.code, 2, answer.out)


if __name__ == "__main__":
    main()
