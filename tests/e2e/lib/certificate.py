"""Throw-away certificates."""

import shutil
import ssl
from collections import namedtuple

from lib.process import run

Certificate = namedtuple("Certificate", "cert key der")


def make(directory, name, host="mx.example.net"):
    """A key and a self-signed certificate for `host`; the user that smtpguard runs as may read both."""
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
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
        "30",
        "-subj",
        f"/CN={host}",
        "-addext",
        f"subjectAltName={kind}:{host}",
        "-keyout",
        key,
        "-out",
        cert,
    )
    shutil.chown(key, "nobody")
    return Certificate(cert, key, ssl.PEM_cert_to_DER_cert(cert.read_text()))
