"""Runs in every CPython: compares `Lines` with what that CPython says, for its standard library.

Prints how many code objects and offsets were compared; exits with 1 at the first difference.
Usage: python stdlib_lines.py PATH/lines.py
"""

import dis
import os
import runpy
import sys
import sysconfig
import types
import warnings

# What the compiler refuses or takes long for, on purpose.
LEFT_OUT = ("lib2to3", "site-packages", "idlelib", "turtledemo")


def expected(code):
    """Line of every instruction, 0 for none, as the interpreter itself tells."""
    size = len(code.co_code)
    lines = [0] * (size // 2)
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            for at in range(start // 2, end // 2):
                lines[at] = line or 0
        return lines
    end = size
    for start, line in reversed(list(dis.findlinestarts(code))):
        for at in range(start // 2, end // 2):
            lines[at] = line
        end = start
    return lines


def codes(code):
    """A code object and all inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def modules(root):
    """Sources of the standard library, or some of its tests: those have the odd ones."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and name != "test"]
        yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))
    for (
        name
    ) in "test_sys_settrace test_compile test_dis test_grammar test_asyncgen test_with".split():
        path = os.path.join(root, "test", name + ".py")
        if os.path.exists(path):
            yield path


def main(path):
    lines_of = runpy.run_path(path)["Lines"]
    version = sys.version_info[:2]
    compared = offsets = 0
    warnings.simplefilter("ignore")
    for file in modules(sysconfig.get_paths()["stdlib"]):
        if not os.path.exists(file):  # Debian's link to a file in /etc
            continue
        with open(file, "rb") as source:
            try:
                module = compile(source.read(), file, "exec")
            except SyntaxError:
                continue
        for code in codes(module):
            table = code.co_linetable if version >= (3, 10) else code.co_lnotab
            lines = lines_of(version, table, code.co_firstlineno)
            wanted = expected(code)
            found = [lines.line(2 * at) for at in range(len(wanted))]
            if found != wanted:
                print(file, code.co_name, code.co_firstlineno, table.hex(), found, wanted)
                return 1
            compared += 1
            offsets += len(wanted)
    print(compared, offsets)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
