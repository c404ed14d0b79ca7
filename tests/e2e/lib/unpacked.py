"""Programs of Debian packages that cannot be installed beside each other: fetched, and unpacked into a folder.

A package is fetched once, to build/unpacked/. A server runs in a Jail: a folder that holds its program, the libraries of it and
the users that it asks for, as the root of its file system. The libraries come from the machine (packaging/install-deps)."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

from lib.check import Skipped
from lib.process import Daemon, run

FOLDER = Path(__file__).resolve().parents[3] / "build/unpacked"
APT = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=0", "-o", "APT::Sandbox::User=root"]
one_at_a_time = threading.Lock()


def unpacked(package):
    """The folder with the files of a package; a test that cannot have it is skipped."""
    folder = FOLDER / package
    with one_at_a_time:
        if not folder.is_dir():
            FOLDER.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=FOLDER) as place:
                fetch(package, Path(place))
                (Path(place) / "files").rename(folder)
            give_away(FOLDER)
    return folder


def fetch(package, place):
    if shutil.which("apt-get") is None:
        raise Skipped(f"no apt-get to fetch {package} with")
    why = apt(place, "download", package)
    if why:  # there may be no lists of packages yet, or those of last month
        why = apt(place, "update") or apt(place, "download", package)
    if why:
        raise Skipped(f"{package} cannot be fetched: {why}")
    (archive,) = place.glob("*.deb")
    run("dpkg-deb", "-x", archive, place / "files")


def apt(place, *words):
    """What went wrong; None when all is well."""
    try:
        done = subprocess.run(["apt-get", *APT, *words], cwd=place, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer within a minute"
    return done.stderr.strip()[-300:] if done.returncode != 0 else None


def give_away(folder):
    """What root has made in build/ belongs to whom the rest of it belongs to, who may want to remove it."""
    owner = FOLDER.parent.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def libraries(program):
    """The shared libraries of a program, as paths of this machine."""
    _, out, _ = run("ldd", program)
    text = out.decode()
    if missing := re.findall(r"(\S+) => not found", text):
        raise Skipped(f"{program.name} wants {', '.join(missing)}; packaging/install-deps test brings it")
    return {Path(word) for word in re.findall(r"(/\S+)", text)}


class Jail:
    """The root of a file system for the programs of one package. `users` come with their numbers, and own the folders
    that are theirs."""

    def __init__(self, folder, package, programs, users):
        self.root = folder
        shutil.copytree(unpacked(package), folder, symlinks=True)
        for program in programs:
            if not self.path(program).exists():  # not of this package: the machine's
                self.copy(Path(program))
            self.path(program).chmod(0o755)
            for library in libraries(self.path(program)):
                self.copy(library)
        self.write("/etc/passwd", "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in users.items()))
        self.write("/etc/group", "".join(f"{name}:x:{number}:\n" for name, number in users.items()))
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.folder("/tmp", mode=0o1777)
        for name, minor in (("null", 3), ("urandom", 9)):
            self.device(name, minor)

    def path(self, name):
        return self.root / name.lstrip("/")

    def copy(self, file):
        there = self.path(str(file))
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, there)

    def write(self, name, text):
        file = self.path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")

    def folder(self, name, owner=0, mode=0o755):
        folder = self.path(name)
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner, owner)
        folder.chmod(mode)

    def device(self, name, minor):
        file = self.path(f"/dev/{name}")
        file.parent.mkdir(exist_ok=True)
        try:
            os.mknod(file, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            file.chmod(0o666)
            file.open("rb").close()
        except PermissionError:  # a file system that is mounted with nodev, or a container that must not
            raise Skipped(f"{self.root} can have no devices") from None

    def daemon(self, *command):
        return Daemon(["chroot", self.root, *command], self.root / "daemon.log")
