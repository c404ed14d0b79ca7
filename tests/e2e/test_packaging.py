"""What people are told is true: the packages they need, the words of the log, the manual page."""

import pathlib
import re

from lib.check import same, true
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


def test_words(t):
    """Every event, key and check of the log, and every metric, is documented, and nothing else is."""
    run("env", "-C", HERE, "tests/words")


def told_by(t, *verb):
    """The usage of a verb, or of all."""
    return b"".join(run(t.house.binary, *verb, "--help")[1:]).decode()


def test_manual_page(t):
    """The manual page is well formed, and tells of the verbs that there are, with their options."""
    page = HERE / "packaging/smtpguard.8"
    complaints = run("mandoc", "-Tlint", page, check=False)[1:]
    same([line for line in b"".join(complaints).splitlines() if b"smtpguard.8" in line], [], "mandoc")
    shown = " ".join(re.sub(".\b", "", run("mandoc", "-Tascii", page)[1].decode()).split())
    verbs = re.findall(r"^  ([a-z-]+(?: [a-z]+)?) +[A-Z]", told_by(t), re.M)
    true(len(verbs) > 20, "no verbs found")
    for verb in verbs:
        true(f" smtpguard {verb} " in shown, f"the manual page does not tell of {verb}")
        for option in re.findall(r"--[a-z0-9-]+", told_by(t, *verb.split()).partition("\n")[0]):
            true(option in shown, f"the manual page does not tell of {verb} {option}")


def documents():
    return [HERE / "README.md", HERE / "CONTRIBUTING.md", *sorted((HERE / "docs").glob("*.md"))]


def anchors(page):
    return {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
            for line in re.findall(r"^#+ (.*)$", page.read_text(), re.M)}


def test_links(t):
    """What the documents link to, and the files that they name, are there."""
    for page in documents():
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]*(?:#[^)]+)?)\)", text):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            true(link.startswith("http") or target.exists(), f"{page.name}: {link} leads nowhere")
            true(not anchor or anchor in anchors(target), f"{page.name}: {link}: no such heading")
        for name in re.findall(r"`([a-z0-9_]+/[A-Za-z0-9_/.]+\.(?:c|h|py|txt|md))`", text):
            true((HERE / name).exists(), f"{page.name}: there is no {name}")


def test_settings(t):
    """Each setting that a document names by its path is one."""
    keys = set(re.findall(r'^    \{"([^"]+)", SET_', (HERE / "config/table.c").read_text(), re.M))
    known = {key[:end.start()] for key in keys for end in re.finditer(r"\.|$", key)}
    known |= {key.replace("[]", "") for key in known}
    true(len(keys) > 100, "no settings found")
    sections = {key.partition(".")[0].replace("[]", "") for key in keys if "." in key}
    events = {"reports.failed", "reports.stopped", "log.dropped"}
    for page in documents():
        for word in re.findall(r"`([a-z]+(?:\[\])?(?:\.[a-z0-9_]+(?:\[\])?)+)[`:]", page.read_text()):
            if word.endswith((".c", ".h")):  # a file: `backends.c`
                continue
            if word.partition(".")[0].replace("[]", "") in sections - {"version"} and word not in events:
                true(word in known, f"{page.name}: {word} is no setting")
