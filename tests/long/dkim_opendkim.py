"""libopendkim by ctypes, as dkim_differential.py needs it. OSError when the library is not there."""
import ctypes
import os
import tempfile

SET = 1
SIGN_HEADERS, OVERSIGN, QUERY_METHOD, QUERY_INFO = 4, 5, 6, 7
QUERY_FILE = 1
ALGORITHMS = {"rsa-sha256": 1, "ed25519-sha256": 2}
CANONS = {"simple": 0, "relaxed": 1}


class OpenDkim:
    def __init__(self, records):
        self.c = ctypes.CDLL("libopendkim.so.11")
        for name in ("dkim_init", "dkim_sign", "dkim_verify", "dkim_getsignature"):
            getattr(self.c, name).restype = ctypes.c_void_p
        for name in ("dkim_getresultstr", "dkim_sig_geterrorstr"):
            getattr(self.c, name).restype = ctypes.c_char_p
        self.records = tempfile.NamedTemporaryFile("w", prefix="opendkim-records-")
        for name, text in records.items():
            self.records.write("%s %s\n" % (name, text))
        self.records.flush()
        self.library = ctypes.c_void_p(self.c.dkim_init(None, None))
        method = ctypes.c_int(QUERY_FILE)
        self.option(QUERY_METHOD, ctypes.byref(method), ctypes.sizeof(method))
        path = ctypes.create_string_buffer(self.records.name.encode())
        self.option(QUERY_INFO, path, len(path.value))

    def option(self, number, value, size):
        status = self.c.dkim_options(self.library, SET, number, value, ctypes.c_size_t(size))
        if status != 0:
            raise OSError("dkim_options(%d): %d" % (number, status))

    def feed(self, handle, fields, body):
        """The status of what went wrong first, 0: nothing."""
        for field in fields:
            status = self.c.dkim_header(handle, field[:-2], ctypes.c_size_t(len(field) - 2))
            if status != 0:
                return status
        status = self.c.dkim_eoh(handle)
        if status != 0:
            return status
        if body:
            status = self.c.dkim_body(handle, body, ctypes.c_size_t(len(body)))
        return status or self.c.dkim_eom(handle, None)

    def verify(self, fields, body):
        status = ctypes.c_int(0)
        handle = ctypes.c_void_p(self.c.dkim_verify(self.library, b"test", None, ctypes.byref(status)))
        try:
            found = self.feed(handle, fields, body)
            signature = self.c.dkim_getsignature(handle)
            error = self.c.dkim_sig_geterror(ctypes.c_void_p(signature)) if signature else -1
            why = self.c.dkim_sig_geterrorstr(error) or b"" if signature else b""
            return "pass" if found == 0 and error == 0 else "fail %s: %s" % (
                self.c.dkim_getresultstr(found).decode(), why.decode())
        finally:
            self.c.dkim_free(handle)

    def sign(self, fields, body, key, domain, selector, canon, algorithm):
        header, _, body_canon = canon.partition("/")
        status = ctypes.c_int(0)
        handle = ctypes.c_void_p(self.c.dkim_sign(
            self.library, b"test", None, key, selector.encode(), domain.encode(), CANONS[header], CANONS[body_canon],
            ALGORITHMS[algorithm], ctypes.c_ssize_t(-1), ctypes.byref(status)))
        try:
            found = self.feed(handle, fields, body)
            if found != 0:
                return None
            value, length = ctypes.c_char_p(), ctypes.c_size_t()
            self.c.dkim_getsighdr_d(handle, ctypes.c_size_t(len("DKIM-Signature: ")), ctypes.byref(value),
                                    ctypes.byref(length))
            lines = value.value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            return b"DKIM-Signature: " + lines + b"\r\n"
        finally:
            self.c.dkim_free(handle)
