#!/usr/bin/env python3
"""Holds the tree to its own rules, and prints what it measured as a table.

    tests/tidy/tidy.py [--build build-gcc] [ROOT]

Each check is a function from a Tree to (measured, complaints).  What may break a rule for now is in
allowed.txt, with the reason; a row there that is not needed any more is a complaint too, so that
the list only shrinks.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

FILE_LINES = 350
FUNCTION_LINES = 60
PRODUCT = ("engine/", "batch/", "bench/")


class Tree:
    def __init__(self, root, build=None):
        self.root, self.build, self.texts = root, build, {}
        out = subprocess.run(["git", "ls-files"], cwd=root, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.DEVNULL, check=False).stdout.split("\n")
        names = out if any(out) else self.walk(root)  # a tree that was unpacked
        self.names = sorted(n for n in names if n and os.path.isfile(os.path.join(root, n)))
        self.allowed = self.read_allowed()

    @staticmethod
    def walk(root):
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if not f.startswith("build")]
            yield from (os.path.relpath(os.path.join(folder, n), root) for n in names)

    def text(self, name):
        if name not in self.texts:
            with open(os.path.join(self.root, name), encoding="utf-8", errors="replace") as f:
                self.texts[name] = f.read()
        return self.texts[name]

    def sources(self, ends=(".c", ".h"), under=("",)):
        return [n for n in self.names if n.endswith(ends) and n.startswith(tuple(under))]

    def read_allowed(self):
        """{(check, subject): number or None}: rows `check subject [number]  # reason`."""
        name, rows = "tests/tidy/allowed.txt", {}
        for line in self.text(name).split("\n") if name in self.names else []:
            row, _, reason = line.partition("#")
            words = row.split()
            if words and not reason.strip():
                sys.exit(f"{name}: {words} has no reason")
            if words:
                rows[words[0], words[1]] = int(words[2]) if len(words) > 2 else None
        return rows

    def excess(self, check, found):
        """Complaints about `found`, {subject: (number, words)}, beyond what is allowed."""
        bad = []
        for subject, (number, words) in sorted(found.items()):
            if (check, subject) not in self.allowed:
                bad.append(f"{subject}: {words}")
            elif (self.allowed[check, subject] or 0) < number:
                bad.append(f"{subject}: {words}; allowed.txt says {self.allowed[check, subject]}")
        for of, subject in sorted(self.allowed):
            if of == check and subject not in found:
                bad.append(f"allowed.txt: {check} {subject} is not needed any more")
        return bad


# ---- sizes --------------------------------------------------------------------------------------

def file_sizes(tree):
    sizes = {n: tree.text(n).count("\n") for n in tree.sources()}
    found = {n: (k, f"{k} lines, more than {FILE_LINES}")
             for n, k in sizes.items() if k > FILE_LINES}
    order = sorted(sizes.values())
    measured = f"{len(order)} files, median {order[len(order) // 2]}, largest {order[-1]} lines"
    return measured, tree.excess("file", found)


def functions(text):
    """(name, first line, lines, text) of each function; the tree's format has { and } in column 1."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line != "{":
            continue
        end = next((k for k in range(i, len(lines)) if lines[k] == "}"), None)
        head = i
        while head > 0 and lines[head - 1] and lines[head - 1][-1] not in ";}/":
            head -= 1
        signature = " ".join(lines[head:i])
        name = re.search(r"(\w+)\(", signature)
        if end and name:
            yield name.group(1), head, end - head + 1, signature, "\n".join(lines[i:end + 1])


def function_sizes(tree):
    found, sizes = {}, []
    for n in tree.sources((".c",)):
        for name, _, lines, _, _ in functions(tree.text(n)):
            sizes.append(lines)
            if lines > FUNCTION_LINES:
                found[f"{n}:{name}"] = (lines, f"{lines} lines, more than {FUNCTION_LINES}")
    sizes.sort()
    measured = f"{len(sizes)} functions, median {sizes[len(sizes) // 2] if sizes else 0}, " \
               f"longest {sizes[-1] if sizes else 0} lines"
    return measured, tree.excess("function", found)


# ---- state, direction ---------------------------------------------------------------------------

def mutable_globals(tree):
    """Of the product's objects: symbols in .data and .bss.  Tables of pointers to constants are in
    .data.rel.ro."""
    found = {}
    archives = archives_of(tree)
    if not archives:
        return NO_BUILD
    out = subprocess.run(["objdump", "-t"] + archives, stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    member = ""
    for line in out.split("\n"):
        if line.endswith(("elf64-x86-64", "elf64-littleaarch64")) or "file format" in line:
            member = line.split(":")[0].replace(".c.o", ".c")
        m = re.match(r"\S+ .{7} (\.t?data|\.t?bss|\*COM\*)(?!\.rel\.ro)\S*\s+\S+\s+(?:\.hidden )?(\w\S*)$", line)
        if m and m.group(2) not in (".data", ".bss") and not m.group(2).startswith("__"):
            # A function's own: gcc calls it seen.1234, clang function.seen.
            name = re.sub(r"\.\d+$", "", m.group(2)).rpartition(".")[2]
            found[f"{member}:{name}"] = (1, "a mutable global")
    return f"{len(found)} mutable globals", tree.excess("global", found)


NO_BUILD = "no build to look at", ["no archives of layers in the build folder"]


def archives_of(tree):
    """The paths of the layers' archives in the build folder."""
    layers = [f"libqb_{name}.a" for name in layer_names(tree)]
    return [os.path.join(folder, n) for folder, _, names in os.walk(tree.build or "")
            for n in names if n in layers]


def layer_names(tree):
    return [name for n in tree.names if os.path.basename(n) == "CMakeLists.txt"
            for name in re.findall(r"^qb_layer\((\w+)", tree.text(n), re.M)]


def layers_of(tree):
    """{folder: set of the folders that it sees}, from the qb_layer calls."""
    deps, folder_of = {}, {}
    for n in tree.names:
        if os.path.basename(n) != "CMakeLists.txt":
            continue
        for name, folder, rest in re.findall(r"^qb_layer\((\w+) ([^\s)]+)([^)]*)\)", tree.text(n), re.M):
            path = os.path.normpath(os.path.join(os.path.dirname(n), folder))
            folder_of[name] = path
            part = re.search(r"DEPS((?: qb_\w+)*)", rest)
            deps[name] = re.findall(r"qb_(\w+)", part.group(1)) if part else []

    def below(name):
        seen = set()
        for d in deps.get(name, []):
            seen |= {d} | below(d)
        return seen
    return {folder_of[n]: {folder_of[d] for d in below(n)} for n in deps}


def include_direction(tree):
    layers, bad, edges = layers_of(tree), [], 0
    leaf = {os.path.basename(f): f for f in layers}
    for n in tree.sources((".c", ".h", ".def")):
        at = os.path.dirname(n)
        if at not in layers:
            continue
        for included in re.findall(r'^#include "(\w+)/', tree.text(n), re.M):
            edges += 1
            to = leaf.get(included)
            if to and to != at and to not in layers[at]:
                bad.append(f"{n}: includes {included}/, which its layer does not see")
    return f"{len(layers)} layers, {edges} includes", bad


def call_direction(tree):
    """A function that is declared in one layer and defined in a later one is a call upward which no
    include shows.  What is to be so is said beside the layers: target_link_libraries(qb_plan
    INTERFACE $<LINK_ONLY:qb_rules>)."""
    archives, layers = archives_of(tree), layers_of(tree)
    if not archives:
        return NO_BUILD
    cmake = "\n".join(tree.text(n) for n in tree.names if os.path.basename(n) == "CMakeLists.txt")
    folder_of = {os.path.basename(folder): folder for folder in layers}
    allowed = set(re.findall(r"^target_link_libraries\(qb_(\w+) INTERFACE \$<LINK_ONLY:qb_(\w+)>\)", cmake, re.M))
    defined, wanted = {}, set()
    for archive in archives:
        layer = os.path.basename(archive)[len("libqb_"):-len(".a")]
        out = subprocess.run(["nm", archive], stdout=subprocess.PIPE, text=True, check=True,
                             stderr=subprocess.DEVNULL).stdout
        defined.update({name: layer for name in re.findall(r"^\S+ [TDBR] (qb_\w+|bench_\w+)$", out, re.M)})
        wanted |= {(layer, name) for name in re.findall(r"^ +U (qb_\w+|bench_\w+)$", out, re.M)}
    bad = [f"{layer}: uses {name}, which {defined[name]} defines, and does not see that layer"
           for layer, name in sorted(wanted)
           if name in defined and defined[name] != layer and (layer, defined[name]) not in allowed
           and folder_of.get(defined[name]) not in layers[folder_of[layer]]]
    return f"{len(wanted)} names from other files", bad


# ---- written twice ------------------------------------------------------------------------------

def duplicates(tree):
    """Functions of the same name and body in two files."""
    where, found = {}, {}
    for n in tree.sources((".c",)):
        for name, _, lines, signature, body in functions(tree.text(n)):
            if signature.startswith("static") and lines > 4:
                key = (name, re.sub(r"\s+", " ", body))
                where.setdefault(key, []).append(n)
    for (name, _), files in where.items():
        if len(files) > 1:
            found[name] = (len(files), f"the same in {', '.join(files)}")
    return f"{len(found)} functions are in several files", tree.excess("twice", found)


def one_home(tree):
    """The names of a table (.def) are not listed once more as literals in a source file."""
    found, tables = {}, 0
    literals = {n: set(re.findall(r'"([a-z][\w.-]*)"', tree.text(n)))
                for n in tree.sources((".c",), PRODUCT)}
    for n in tree.sources((".def",), PRODUCT):
        rows = re.findall(r"^[A-Z_]+\((.*)", tree.text(n), re.M)
        names = {re.split(r"[,)]", r)[0].strip().strip('"').lower() for r in rows}
        names = {x for x in names if len(x) > 2}
        tables += 1
        for source, words in literals.items():
            again = len(names & {w.lower().replace("-", "_") for w in words})
            if len(names) >= 6 and again * 3 >= len(names) * 2:
                found[source] = (again, f"lists {again} of the {len(names)} names of {n} again")
    return f"{tables} tables", tree.excess("list", found)


# ---- evaluated twice ----------------------------------------------------------------------------

def arguments(text, at):
    """What stands in the parentheses that open at this place."""
    depth, end = 0, at
    for end in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            break
    return text[at + 1:end]


def calls_in_macros(tree):
    """QB_MIN and QB_MAX evaluate what they yield twice: a call there is made twice."""
    call = re.compile(r"\b(?!(?:sizeof|QB_MIN|QB_MAX)\b)[A-Za-z_]\w*\s*\(")
    uses, bad = 0, []
    for n in tree.sources((".c", ".h")):
        text = tree.text(n)
        for m in re.finditer(r"(?<!define )\bQB_(?:MIN|MAX)(?=\()", text):
            inner = arguments(text, m.end())
            uses += 1
            if call.search(inner):
                line = text.count("\n", 0, m.start()) + 1
                bad.append(f"{n}:{line}: {m.group()} calls {call.search(inner).group()}) twice: qb_min, qb_max")
    return f"{uses} uses of QB_MIN and QB_MAX", bad


# ---- texts --------------------------------------------------------------------------------------

WORDS = [  # /words: the field's terms in what users read
    (r"\bknows? no\b", "does not support"), (r"\bis no (multiple|power|folder|directory|image)\b",
                                             "is not a ..."),
    (r"\bstands? (up)?on\b", "depends on"), (r"\banew\b", "again"),
    (r"\bgiven back\b|\bgives? back\b", "freed"), (r"\bbecomes? smaller\b", "shrinks"),
    (r"\bcame to its end\b|\bcome to its end\b", "ended"),
]


def words(tree):
    where = []
    for n in tree.sources((".c", ".def"), ("engine/", "batch/")):
        text = re.sub(r"/\*.*?\*/", "", tree.text(n), flags=re.S)
        for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text):
            where += [f'{n}: "{literal[:60]}": {better}' for pattern, better in WORDS
                      if re.search(pattern, literal)]
    found = {"messages": (len(where), "\n            ".join(where))} if where else {}
    pages = [n for n in tree.names if n == "README.md" or n.startswith("batch/man/")]
    read = [f"{n}:{i}: {better}" for n in pages
            for i, line in enumerate(tree.text(n).split("\n"), 1)
            for pattern, better in WORDS if re.search(pattern, line)]
    if read:
        found["pages"] = (len(read), "\n            ".join(read))
    return f"{len(where)} private words in messages, {len(read)} in pages", tree.excess("words", found)


def leftovers(tree):
    mark = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b(?!XX)")
    bad = [f"{n}: {m.group(1)}" for n in tree.sources((".c", ".h", ".py", ".def", ".txt", ".cmake"))
           for m in mark.finditer(tree.text(n)) if not n.startswith("tests/tidy/")]
    return f"{len(bad)} leftovers", bad


def formatter():
    """(clang-format 14 or None, why it is missing): other versions lay the same code out otherwise."""
    name = "clang-format-14"
    with open("/etc/os-release", encoding="utf-8") as f:
        has_one = re.search(r'^VERSION_ID="?12"?$', f.read(), re.M)
    return shutil.which(name), f"{name} is not installed" if has_one else f"this system has no {name}"


def formatting(tree):
    tool, missing = formatter()
    if not tool and missing.endswith("installed"):
        return "not installed", [missing + " (scripts/install-deps test)"]
    if not tool:
        print(f"skipped: tidy.formatting: {missing}")
        return "left out", []
    names = [n for n in tree.sources() if not n.startswith("tests/fuzz/corpus")]
    out = subprocess.run([tool, "--dry-run"] + names, cwd=tree.root, stderr=subprocess.PIPE,
                         text=True, check=False).stderr
    where = re.findall(r"^(\S+?:\d+):\d+: warning: code should be clang-formatted", out, re.M)
    found = {"tree": (len(where), f"not as clang-format 14 has it: {' '.join(where)}")} \
        if where else {}
    return f"{len(where)} places in {len({w.split(':')[0] for w in where})} files", \
        tree.excess("format", found)


CHECKS = [
    ("size of files", file_sizes),
    ("size of functions", function_sizes),
    ("mutable globals", mutable_globals),
    ("include direction", include_direction),
    ("call direction", call_direction),
    ("written twice", duplicates),
    ("one home for each list", one_home),
    ("calls made twice", calls_in_macros),
    ("words", words),
    ("leftovers", leftovers),
    ("clang-format", formatting),
]


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("root", nargs="?", default=os.path.join(os.path.dirname(__file__), "../.."))
    args.add_argument("--build", help="a build folder, for mutable globals and calls")
    args = args.parse_args()
    tree = Tree(os.path.abspath(args.root), args.build)
    failed = 0
    for name, check in CHECKS:
        measured, bad = check(tree)
        print(f"{'FAILED' if bad else 'ok':7} {name:24} {measured}")
        for line in bad:
            print(f"          {line}")
        failed += len(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
