#!/usr/bin/env python3
"""Adapts the patches of tests/mutants to the tree after code has moved.

    refit_mutants.py            rewrites each patch whose lines are found at exactly one place
    refit_mutants.py --check    only reports the patches that would not be found

A patch is located by the lines that it removes and their context, wherever they are now: in another file, with another
indentation, with other comments around them. A rewritten line is not found: then correct the patch by hand. Afterwards
`scripts/mutants NAME` shows whether the mutant is still caught.
"""

import difflib
import glob
import os
import re
import subprocess
import sys

# Lines of context before and after a change, the most first: fewer are tried until exactly one place is found.
CONTEXTS = [(3, 3), (2, 2), (3, 1), (1, 3), (2, 1), (1, 2), (1, 1), (2, 0), (0, 2), (1, 0), (0, 1), (0, 0)]


def plain(line):
    return re.sub(r"\s+", " ", line.strip())


def is_comment(line):
    return line.strip().startswith("//")


def indent(line):
    return len(line) - len(line.lstrip())


class Tree:
    """The sources, and their lines without comments and indentation."""

    def __init__(self):
        names = subprocess.check_output(["git", "ls-files", "src"], text=True).split()
        self.lines = {name: open(name, encoding="utf-8").read().split("\n")[:-1] for name in names if name.endswith(".rs")}
        self.code = {}
        for name, lines in self.lines.items():
            kept = [at for at, line in enumerate(lines) if not is_comment(line)]
            self.code[name] = (kept, [plain(lines[at]) for at in kept])

    def find(self, block):
        """The places (file, index among its lines of code) of these lines."""
        found = []
        for name, (_, code) in self.code.items():
            found += [(name, at) for at, line in enumerate(code) if line == block[0] and code[at : at + len(block)] == block]
        return found


def changes(patch):
    """(title, [(lines before, removed, added, lines after)]) of a patch."""
    title, _, body = patch.partition("\n--- ")
    found = []
    for hunk in re.split(r"^@@.*\n", body, flags=re.M)[1:]:
        lines = [line for line in hunk.split("\n") if line[:1] in (" ", "+", "-") and not line.startswith(("--- ", "+++ "))]
        at = 0
        while at < len(lines):
            end = at
            while end < len(lines) and lines[end][0] in "+-":
                end += 1
            if end > at:
                old = lambda part: [line[1:] for line in part if line[0] in " -"]
                added = [line[1:] for line in lines[at:end] if line[0] == "+"]
                found.append((old(lines[:at]), old(lines[at:end]), added, old(lines[end:])))
            at = max(end, at + 1)
    return title.rstrip("\n"), found


def place(tree, change):
    """(file, first line, end, new lines), or None if there is not exactly one place."""
    before, removed, added, behind = change
    code = lambda lines: [plain(line) for line in lines if not is_comment(line)]
    before, body, behind = code(before), code(removed), code(behind)
    for above, below in CONTEXTS:
        top = before[-above:] if above else []
        block = top + body + behind[:below]
        if not any(len(line) > 3 for line in block):
            continue
        found = tree.find(block)
        if len(found) != 1:
            continue
        name, at = found[0]
        kept, lines = tree.code[name][0], tree.lines[name]
        at += len(top)
        if body:
            first, end = kept[at], kept[at + len(body) - 1] + 1
            while is_comment(removed[0]) and is_comment(lines[first - 1]):
                first -= 1
        else:
            first = kept[at - 1] + 1 if top else kept[at]
            end = kept[at] if removed else first
        deeper = indent(lines[first]) - indent(removed[0]) if removed else 0
        return name, first, end, [" " * (indent(line) + deeper) + line.strip() for line in added]
    return None


def fitted(tree, patch):
    title, wanted = changes(patch)
    placed = [place(tree, change) for change in wanted]
    if not placed or None in placed:
        return None
    text = title + "\n\n"
    for name in sorted({name for name, *_ in placed}):
        old = tree.lines[name]
        new = list(old)
        for _, first, end, added in sorted((it for it in placed if it[0] == name), key=lambda it: it[1], reverse=True):
            new[first:end] = added
        ended = lambda lines: [line + "\n" for line in lines]
        text += "".join(difflib.unified_diff(ended(old), ended(new), "a/" + name, "b/" + name))
    return text


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    tree, lost = Tree(), []
    for path in sorted(glob.glob("tests/mutants/*.patch")):
        old = open(path, encoding="utf-8").read()
        new = fitted(tree, old)
        if new is None:
            lost.append(path)
        elif new != old and not sys.argv[1:]:
            open(path, "w", encoding="utf-8").write(new)
    for path in lost:
        print("not found:", path)
    print("FAIL" if lost else "PASS")
    sys.exit(1 if lost else 0)


main()
