"""libopendmarc's verdicts, for dmarc_differential.py. It is given the record that RFC 7489's discovery finds: its own
asks the DNS of the machine."""
import ctypes
import tempfile

POLICY = {14: "none", 15: "pass", 16: "reject", 17: "quarantine", 18: "none"}
ABSENT, PASS = 14, 15
OUTCOME_PASS, OUTCOME_FAIL, ORIGIN_MAILFROM = 1, 2, 0
TLD_MOZILLA, LIB_BYTES = 1, 65536


class OpenDmarc:
    name = "libopendmarc"

    def __init__(self):
        self.lib = ctypes.CDLL("libopendmarc.so.2")
        self.lib.opendmarc_policy_connect_init.restype = ctypes.c_void_p
        with tempfile.NamedTemporaryFile("w", suffix=".psl") as suffixes:
            suffixes.write("org\n")
            suffixes.flush()
            settings = ctypes.create_string_buffer(LIB_BYTES)
            ctypes.memmove(settings, ctypes.byref(ctypes.c_int(TLD_MOZILLA)), 4)
            ctypes.memmove(ctypes.addressof(settings) + 4, suffixes.name.encode() + b"\0", len(suffixes.name) + 1)
            if self.lib.opendmarc_policy_library_init(settings) != 0:
                raise OSError("opendmarc_policy_library_init failed")

    @staticmethod
    def discovered(test):
        """(domain, record): at the From domain, else at the organisational one (RFC 7489 6.6.3)."""
        org = ".".join(test["from"].split(".")[-2:])
        for domain in (test["from"], org):
            records = ["".join(pieces) for pieces in test["dns"].get("_dmarc." + domain, {}).get("TXT", [])]
            records = [record for record in records if record.startswith("v=DMARC1")]
            if len(records) == 1:
                return domain, org, records[0]
        return None, org, None

    def answer(self, test):
        domain, org, record = self.discovered(test)
        if record is None:
            return {"id": test["id"], "result": "none"}
        context = ctypes.c_void_p(self.lib.opendmarc_policy_connect_init(b"192.0.2.1", 0))
        try:
            self.lib.opendmarc_policy_store_from_domain(context, test["from"].encode())
            spf, result = test["spf"]
            self.lib.opendmarc_policy_store_spf(context, spf.encode(), OUTCOME_PASS if result == "pass" else OUTCOME_FAIL,
                                                ORIGIN_MAILFROM, None)
            for signer, result in test["dkim"]:
                self.lib.opendmarc_policy_store_dkim(context, signer.encode(), b"s",
                                                     OUTCOME_PASS if result == "pass" else OUTCOME_FAIL, None)
            parsed = self.lib.opendmarc_policy_store_dmarc(context, record.encode(), test["from"].encode(),
                                                          org.encode() if domain != test["from"] else None)
            if parsed != 0:
                return {"id": test["id"], "result": "unreadable"}
            enforced = self.lib.opendmarc_get_policy_to_enforce(context)
            if enforced == PASS:
                return {"id": test["id"], "result": "pass"}
            return {"id": test["id"], "result": "fail", "policy": POLICY.get(enforced, str(enforced))}
        finally:
            self.lib.opendmarc_policy_connect_shutdown(context)

    def answers(self, tests):
        return [self.answer(test) for test in tests]
