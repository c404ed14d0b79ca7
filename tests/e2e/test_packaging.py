"""What is linked is what is installed: on a fresh machine, in the container, and by who reads the manual."""

import pathlib
import re

from lib.check import true
from lib.process import run

HERE = pathlib.Path(__file__).resolve().parents[2]


def packages():
    """The development package of each library that the Makefile links."""
    names = re.search(r"^LIBS *= (.*)$", (HERE / "Makefile").read_text(), re.M).group(1).split()
    owners = (run("dpkg", "-S", f"*/lib{name[2:]}.so")[1].decode().partition(":")[0] for name in names)
    return set(owners)


def test_libraries(t):
    """Each library of the Makefile is in packaging/install-deps, in the Dockerfile and in docs/operations.md."""
    needed = packages()
    true(len(needed) > 5, "no libraries found")
    for place in ("packaging/install-deps", "packaging/Dockerfile", "docs/operations.md"):
        words = set(re.findall(r"[a-z0-9.+-]+", (HERE / place).read_text()))
        for package in sorted(needed):
            true(package in words, f"{place} does not name {package}")
