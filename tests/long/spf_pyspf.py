"""pyspf with a resolver of maps, as it is or with repairs: places where it departs from RFC 7208, put right in a copy
of its source, so that spf_differential.py can tell which of them a disagreement comes from."""
import re
import types

import spf as installed

CHAIN = 8
# RFC 7208 7.1: what a macro string may be.
MACRO = r"%%|%_|%-|%\{[slodipvhcrtSLODIPVHCRT](?!0+[^0-9])[0-9]*[rR]?[.\-+,/_=]*\}"
MACRO_STRING = re.compile(r"(?:%s|[\x21-\x24\x26-\x7e])*" % MACRO)
MACRO_TEXT = re.compile(r"(?:%s|[\x20-\x24\x26-\x7e])*" % MACRO)

PTRS = '''
    def validated_ptrs(self, wanted=None):
        if not getattr(self, "_ptrs", None) and (wanted or not hasattr(self, "_ptrs")):
            try:
                self._ptrs = self.dns_ptr(self.i)[:MAX_PTR]
            except TempError:
                self._ptrs = []
            self._valid = {}
        found = []
        order = lambda p: 0 if p.lower() == self.d.lower() else 1 if p.lower().endswith("." + self.d.lower()) else 2
        for p in self._ptrs if wanted else sorted(self._ptrs, key=order):
            if wanted and not domainmatch([p], wanted):
                continue
            if p not in self._valid:
                try:
                    self._valid[p] = self.cidrmatch(self.dns_a(p, self.A), self.cidrmax)
                except TempError:
                    self._valid[p] = False
            if self._valid[p]:
                return [p]
        return []

    def mx_addresses(self, domain):
        names = sorted(self.dns(domain, 'MX'))
        if len(names) > MAX_MX:
            raise PermError('More than %d MX records returned' % MAX_MX)
        for name in names:
            yield self.dns_a(name[1], self.A)

    class Late(str):
        pass

    def late(self, arg):
        known, self.p = self.p, self.p or "unknown"
        text = query.Late(self.expand_domain(arg))
        self.p = known
        text.raw = arg
        return text

    def validated_ptrs_before'''

# name: (section, what it puts right, [(from, to), …])
REPAIRS = {
    "voids": ("4.6.4", "terms without an answer are counted, not questions", [
        ("            self.void_lookups += 1\n",
         "            if self.explaining or not self.lookups or self.term_void: return result\n"
         "            self.term_void = True\n            self.void_lookups += 1\n"),
        ("        self.lookups = self.lookups + 1\n", "        self.lookups = self.lookups + 1\n        self.term_void = self.term_void and self.fresh\n        self.fresh = False\n"),
        ("        self.void_lookups = 0\n        # strict", "        self.void_lookups = 0\n        self.term_void = self.explaining = self.fresh = False\n        # strict"),
        ("                        exp = self.get_explanation(arg)\n",
         "                        self.explaining = True\n                        exp = self.get_explanation(arg)\n"
         "                        self.explaining = False\n"),
        ("                    except: pass\n", "                    except: self.explaining = False\n")]),
    "redirect": ("6.1", "a redirect counts, and its name is made, when it is followed", [
        ("                self.check_lookups()\n                redirect = self.expand_domain(arg)",
         "                redirect = self.late(arg)"),
        ("                redirect_record = self.dns_spf(redirect)",
         "                self.check_lookups()\n                redirect = self.expand_domain(redirect.raw)\n"
         "                redirect_record = self.dns_spf(redirect)")]),
    "modifier case": ("12", "names of modifiers are the same in capitals", [("            mod,arg = m\n", "            mod,arg = m\n            mod = mod.lower()\n")]),
    "repeated modifiers": ("6", "only redirect and exp may not be repeated", [
        ("            if mod in modifiers:", "            if mod in modifiers and mod in ('redirect', 'exp'):")]),
    "self include": ("5.2", "a record that includes itself is found by its limit", [("if arg == self.d:", "if False:")]),
    "long names": ("7.3", "labels are dropped until the name fits", [
        ("        if result.count('.') != 0:\n            if len(result) > 253:", "        if stripdot:\n            while result.count('.') != 0 and len(result) > 253:")]),
    "mx": ("5.4", "the hosts of an mx are asked until one matches", [
        ("if self.cidrmatch(self.dns_mx(arg), cidrlength):", "if any(self.cidrmatch(a, cidrlength) for a in self.mx_addresses(arg)):")]),
    "ptr": ("5.5", "errors skip a name; only names that would do are validated", [
        ("if domainmatch(self.validated_ptrs(), arg):", "if domainmatch(self.validated_ptrs(arg), arg):"),
        ("    def validated_ptrs(self):", PTRS.replace("validated_ptrs_before", "validated_ptrs_old") + "(self):")]),
    "late macros": ("7.3", "names are made when a term is reached, and %{p} counts then", [
        ("            arg = self.expand_domain(arg)\n            if not arg:", "            arg = self.late(arg)\n            if not arg:"),
        ("        for mech, m, arg, cidrlength, result in mechs:\n",
         "        for mech, m, arg, cidrlength, result in mechs:\n            self.term_void, self.fresh = False, True\n            raw = getattr(arg, 'raw', None)\n"
         "            if raw is not None and m != 'all' and self.lookups < MAX_LOOKUP: arg = self.expand_domain(raw)\n"),
        ("        if not self.p:\n", "        if not self.p:\n            if not hasattr(self, '_ptrs') and not self.explaining:\n"
         "                self.lookups += 1\n                if self.lookups > MAX_LOOKUP: raise PermError('p')\n")]),
    "macros": ("7.1", "the grammar of macros, to the letter", [
        ("        # Check for invalid macro syntax\n",
         "        if not (MACRO_STRING if stripdot else MACRO_TEXT).fullmatch(s): raise PermError('macro', s)\n"),
        ("                if regex.search(s):", "                if False:"),
        ("    ln, reverse, delimiters = RE_ARGS", "    ln, reverse, delimiters = re.compile(RE_ARGS.pattern, re.I)")]),
    "joined by dots": ("7.3", "parts are joined by dots, whatever split them", [
        ("JOINERS.get(letter)", "'.'")]),
    "sender": ("4.3", "the domain follows the last @, and may end in a dot; no local part is postmaster", [
        ("        parts = s.split('@', 1)\n", "        parts = s.rstrip('.').rsplit('@', 1)\n"),
        ("        self.l, self.o = split_email(s, h)\n",
         "        self.l, self.o = split_email(s, h)\n        self.s = self.l + '@' + self.o\n")]),
}


def load(names):
    with open(installed.__file__, encoding="utf-8") as file:
        source = file.read()
    for name in names:
        for old, new in REPAIRS[name][2]:
            if old not in source:
                raise RuntimeError("this pyspf is another one: repair %r does not fit" % name)
            source = source.replace(old, new)
    module = types.ModuleType("spf_" + "_".join(names).replace(" ", "_"))
    module.MACRO_STRING, module.MACRO_TEXT = MACRO_STRING, MACRO_TEXT
    exec(compile(source, installed.__file__, "exec"), module.__dict__)
    return module


def is_name(name):
    return len(name) <= 253 and all(0 < len(label) <= 63 for label in name.split("."))


def resolver(module, dns):
    zone = {name.lower(): entry for name, entry in dns.items()}

    def look_up(name, kind, strict=True, timeout=0):
        asked = name
        for _ in range(CHAIN + 1):
            entry = zone.get(name.lower())
            if entry is None or not is_name(name):
                return []
            if "_rcode" in entry:
                raise module.TempError("DNS SERVFAIL")
            if kind in entry:
                return [((asked, kind), value_of(kind, value)) for value in entry[kind]]
            if "CNAME" not in entry:
                if entry.get("_timeout"):
                    raise module.TempError("DNS timeout")
                return []
            name = entry["CNAME"][0]
        raise module.TempError("DNS CNAME loop")
    return look_up


def value_of(kind, value):
    if kind == "TXT":
        return [part.encode("latin-1") for part in value]
    return tuple(value) if kind == "MX" else value


def evaluate(module, test):
    module.DNSLookup = resolver(module, test["dns"])
    try:
        query = module.query(i=test["ip"], s=test["from"], h=test["helo"], receiver="mx.receiver.test", strict=True)
        query.set_default_explanation("")
        result, _, text = query.check()
        return result, text if result == "fail" else ""
    except Exception as trouble:  # it raises what it did not foresee
        return "died: " + type(trouble).__name__, str(trouble)
