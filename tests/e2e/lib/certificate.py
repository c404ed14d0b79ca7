"""Throw-away certificates."""

import hashlib
import shutil
import ssl
from collections import namedtuple

from lib.process import run

Certificate = namedtuple("Certificate", "cert key der")


def key_hash(pair):
    """The SHA-256 of its public key, as `tls_pin` wants it."""
    public = run("openssl", "x509", "-in", pair.cert, "-noout", "-pubkey")[1]
    return hashlib.sha256(run("openssl", "pkey", "-pubin", "-outform", "DER", stdin=public)[1]).hexdigest()


def make(directory, name, host="mx.example.net", days=30, authority=None):
    """A key and a certificate for `host`, signed by itself or by an `authority` that was made here, too; the user that smtpguard
    runs as may read both."""
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        str(days),
        "-subj",
        f"/CN={host}",
        "-addext",
        f"subjectAltName={kind}:{host}",
        "-keyout",
        key,
        "-out",
        cert,
        *(("-CA", authority.cert, "-CAkey", authority.key) if authority else ()),
    )
    shutil.chown(key, "nobody")
    cert.chmod(0o644)
    return Certificate(cert, key, ssl.PEM_cert_to_DER_cert(cert.read_text()))


AUTHORITY = """\
[ca]
default_ca = one
[one]
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def make_expired(directory, name, host):
    """Likewise, but its time was over in 2020."""
    pair = make(directory, name, host)
    work = directory / f"{name}.ca"
    work.mkdir()
    (work / "ca.cnf").write_text(AUTHORITY.format(dir=work), encoding="ascii")
    (work / "index").touch()
    (work / "serial").write_text("01\n", encoding="ascii")
    names = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}")
    run("openssl", "req", "-new", "-key", pair.key, "-out", work / "csr", *names)
    ca = ("openssl", "ca", "-batch", "-selfsign", "-config", work / "ca.cnf", "-keyfile", pair.key, "-notext")
    run(*ca, "-in", work / "csr", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-out", pair.cert)
    return pair
