"""Random SPF zones and identities that like corners: one case is {"id", "dns", "ip", "helo", "from"}.

`dns` has the form of the conformance suites: name -> {type: [values], "_timeout": true, "_rcode": 2}. A character is
one octet. Everything comes from a random generator of the case's own, so a seed and a number tell a case again. Two in
three cases are sound in their syntax, so that evaluations get beyond the first look.
"""
import ipaddress
import random

CLIENTS = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.7", "2001:db8::1", "2001:db8::2", "2001:db8:1::3",
           "::ffff:192.0.2.1"]
ADDRESSES4 = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.77", "198.51.100.7", "198.51.100.200", "203.0.113.9"]
ADDRESSES6 = ["2001:db8::1", "2001:db8::2", "2001:db8:1::3", "2001:db8:ffff::9", "2001:db9::1"]
DOMAINS = ["d%d.test" % i for i in range(7)]
HOSTS = ["h%d.test" % i for i in range(6)] + ["mail.d0.test", "mx.sub.d1.test"]
VOIDS = ["void%d.test" % i for i in range(4)]
SICK = ["servfail.test", "timeout.test"]
ALIASES = ["alias.test", "loop.test", "chain0.test"]
SENDERS = ["user@d0.test"] * 60 + ["strong-bad@d0.test", "a.b-c+d_e=f/g,h@D0.Test"] * 6 + [
    "strong-bad@d0.test", "a.b-c+d_e=f/g,h@D0.Test", "@d0.test", "d0.test", "first@second@d0.test", "", "", "",
    "x" * 70 + "@d0.test", "a..b@d0.test", ".@d0.test", "user@d0.test.", "user@nowhere.test", "user@single",
    "user@[192.0.2.1]", "us%er~!@d0.test", "j\xf6rg@d0.test", "user@d1.test", "user@alias.test",
    "user@" + "l" * 64 + ".test", "user@a..test", "user@" + ".".join(["abcdefgh"] * 28) + ".test"]
HELOS = ["h0.test"] * 4 + ["mail.d0.test", "D0.test", "d0.test", "d1.test", "[192.0.2.1]", "192.0.2.1", "single", "void0.test",
                           "he_lo.d0.test", "servfail.test", "a..b.test"]
DELIMITERS = ".-+,/_="
QUALIFIERS = ["", "", "", "+", "-", "~", "?"]


class Corners(random.Random):
    """Which also knows whether this case may have faults."""

    def __init__(self, seed):
        super().__init__(seed)
        self.faulty = self.random() < 0.35


def chance(r, percent):
    return r.random() * 100 < percent


def macro(r, letters="slodipvh"):
    if chance(r, 12):
        return r.choice(["%%", "%_", "%-"])
    if r.faulty and chance(r, 3):  # not a macro
        return r.choice(["%", "%{", "%{}", "%{z}", "%{d", "%x", "%{d0}", "%{dr2}", "%{d-r}", "%(d)", "%{d*}", "%{d2 }", "%{rr}",
                         "%{ir.}x", "%{c}", "%{t}", "%{R}", "%{00d}", "%{l1rr}"])
    letter = r.choice(letters)
    if chance(r, 20):
        letter = letter.upper()
    text = letter
    if chance(r, 40):
        text += str(r.choice([1, 1, 2, 2, 3, 4, 9, 20, 99, 128, 1000000]))
    if chance(r, 30):
        text += r.choice("rrrR")
    if chance(r, 25):
        text += "".join(r.choice(DELIMITERS) for _ in range(r.choice([1, 1, 2, 3])))
    return "%{" + text + "}"


def plain_name(r):
    return r.choice(r.choice([DOMAINS, HOSTS, HOSTS, VOIDS, SICK, ALIASES, DOMAINS]) if chance(r, 75) else HOSTS)


def domain_spec(r, pool=None):
    kind = r.random()
    if kind < 0.62 or (kind >= 0.95 and not r.faulty):
        name = r.choice(pool) if pool and chance(r, 85) else plain_name(r)
        return name.upper() if chance(r, 4) else name + "." if chance(r, 4) else name
    if kind < 0.72:
        return r.choice(["%{d}", "%{o}", "%{h}", "%{D}", "sub.%{d}", "%{d2}", "%{d1}.test"])
    if kind < 0.95:
        return ".".join(macro(r) for _ in range(r.choice([1, 1, 2, 3]))) + "." + r.choice(["d0.test", "%{d}", "_spf.d1.test", "%{o}"])
    return r.choice(["192.0.2.1", "x", "", "a.b.", "a..b.test", "x.123", "x.-a", "x.a-", "x.a_b", "a b.test", "l" * 64 + ".test",
                     ".".join(["abcdefgh"] * 32) + ".test", "x.test/", "x.test:", "x.test=", "x.test\xe9", "_.test", "*.test",
                     "%{d}x", "%{d}.x-", "%{d}.1", "%%", "a.%{d}%%", "a.b%_.test", "x.te%-st"])


def cidr(r):
    if chance(r, 70):
        return ""
    if r.faulty and chance(r, 8):
        return r.choice(["/", "//", "/33", "//129", "/08", "/00", "//0128", "/24/", "/24/64", "/24//64/", "/-1", "/ 24", "/24//", "/x"])
    return r.choice(["/0", "/8", "/24", "/30", "/31", "/32", "//0", "//32", "//64", "//127", "//128", "/24//64", "/32//128", "/0//0"])


NETS4 = ["192.0.2.1", "192.0.2.0/24", "192.0.2.0/30", "198.51.100.0/24", "203.0.113.0/24", "0.0.0.0/0", "192.0.2.1/32",
         "192.0.2.2/31", "192.0.2.77/24"]
NETS6 = ["2001:db8::1", "2001:db8::/32", "2001:db8::/64", "2001:db8:1::/48", "::/0", "2001:DB8::2/127", "2001:db8:0:0:0:0:0:1",
         "2001:db8::192.0.2.1/96", "2001:db8::1/128", "::ffff:192.0.2.0/120", "::ffff:0:0/96", "::ffff:192.0.2.1", "::"]
NO_NETS4 = ["192.0.2", "192.0.2.256", "192.0.2.1.", "192.0.02.1", "192.0.2.1/33", "192.0.2.1/", "192.0.2.1//24", "", "2001:db8::1",
            "192.0.2.1/-1", "192.0.2.1/024", "d0.test", "%{i}", "192.0.2.1:25", "0x7f.1"]
NO_NETS6 = ["2001:db8::1/129", "2001:db8:::1", "192.0.2.1", "2001:db8::g", "", "[2001:db8::1]", "2001:db8::1/", "1:2:3:4:5:6:7:8:9",
            "2001:db8::1/0064", "::1::", "2001:db8::192.0.2.300", "12345::", "2001:db8::1//64"]


def address(r):
    faulty = r.faulty and chance(r, 20)
    if chance(r, 55):
        return "ip4:" + r.choice(NO_NETS4 if faulty else NETS4)
    return "ip6:" + r.choice(NO_NETS6 if faulty else NETS6)


def mechanism(r, deeper):
    kind = r.random()
    if kind < 0.22:
        text = "a" + (":" + domain_spec(r, HOSTS) if chance(r, 75) else "") + cidr(r)
    elif kind < 0.36:
        text = "mx" + (":" + domain_spec(r, DOMAINS) if chance(r, 60) else "") + cidr(r)
    elif kind < 0.46:
        text = "ptr" + (":" + domain_spec(r) if chance(r, 60) else "")
    elif kind < 0.62:
        text = address(r)
    elif kind < 0.76:
        text = "exists:" + domain_spec(r)
    elif kind < 0.92:
        text = "include:" + domain_spec(r, deeper or DOMAINS)
    else:
        text = "all"
    if chance(r, 4):
        text = r.choice([text.upper(), text.capitalize()])
    if r.faulty and chance(r, 4):
        text = r.choice([text + ":", text + "/24", text.replace(":", "="), text + ",", "=" + text,
                         "--" + text, text.replace(":", "::"), text[:-1], "x" + text, text.split(":")[0] + ":", text + "\t", "all:x"])
    return r.choice(QUALIFIERS) + text


def modifier(r, deeper):
    kind = r.random()
    if kind < 0.45:
        text = "redirect=" + domain_spec(r, deeper or DOMAINS)
    elif kind < 0.8:
        text = "exp=" + (r.choice(["exp%d.test" % i for i in range(6)]) if chance(r, 85) else domain_spec(r))
    elif not r.faulty:
        text = r.choice(["unknown=", "x-y.z_1=", "foo=bar", "match=%{d}", "default=pass", "op=auth", "m=%{l}:%{d}/24", "foo=%{d2r-}"])
    else:
        text = r.choice(["unknown=", "x-y.z_1=", "foo=bar", "match=%{d}", "default=pass", "op=auth", "m=%{l}:%{d}/24", "a=192.0.2.1",
                         "ip4=192.0.2.0/24", "bad=%", "bad=%{z}", "moo=%{c}", "1x=y", "=x", "ext=a b", "foo=%{d2r-}", "8=\xe9", "foo=\xe9"])
    if chance(r, 4):
        text = r.choice([text.upper(), text.capitalize()])
    if r.faulty and chance(r, 4):
        text = r.choice(["+" + text, text + " " + text, text.replace("=", ":"), text + "="])
    return text


def record(r, level):
    """An SPF record for the domain of this number; what it names is mostly of higher numbers, so that most end."""
    deeper = DOMAINS[level + 1:] if chance(r, 92) else DOMAINS
    terms = [mechanism(r, deeper) for _ in range(r.choice([0, 1, 1, 2, 2, 3, 3, 4, 5]))]
    if chance(r, 60):
        terms.append(r.choice(QUALIFIERS + ["-", "-", "-", "~"]) + "all")
    for _ in range(r.choice([0, 0, 0, 1, 1, 2])):
        terms.insert(r.randint(0, len(terms)), modifier(r, deeper))
    text = "v=spf1"
    for term in terms:
        text += ("  " if chance(r, 3) else " ") + term
    if r.faulty and chance(r, 8):
        text = mutated(r, text)
    return text


def mutated(r, text):
    return r.choice([
        lambda: text + " ", lambda: text + "   ", lambda: text.upper(), lambda: text.replace(" ", "\t", 1),
        lambda: text.replace("spf1", "spf10"), lambda: text.replace("spf1", "spf1."), lambda: " " + text,
        lambda: text.replace("=", "", 1), lambda: text + "\xe9", lambda: text + "\0", lambda: text[:-1],
        lambda: text.replace("v=spf1", "V=sPf1"), lambda: text + "\x7f", lambda: text.replace(" ", ", "),
        lambda: insert(r, text)])()


def insert(r, text):
    at = r.randint(6, len(text))
    return text[:at] + r.choice("%{}/:=.-+~? \t\"\\@1aZ\x01\xff") + text[at:]


def chunks(r, text):
    """One TXT record as one string or several (they are joined without a space)."""
    if len(text) > 2 and chance(r, 15):
        at = r.randint(1, len(text) - 1)
        return [text[:at], text[at:]]
    return [text[i:i + 255] for i in range(0, len(text), 255)] or [""]


def explanation(r):
    return r.choice([
        "plain text", "%{s} from %{c} at %{r}", "%{i} is not one of %{d}'s", "see http://x.test/?s=%{S}&i=%{I}", "%{p} %{v} %{h}",
        "%%_%_%-", "%{l1r-}|%{d2}|%{o1r}", "broken %", "broken %{x}", "8-bit \xe9", "", "%{t0}", "".join(macro(r, "slodivhcr") for _ in range(3)),
        "long " * 60])


def addresses(r):
    entry = {}
    if chance(r, 80):
        entry["A"] = r.sample(ADDRESSES4, r.choice([1, 1, 2, 3]))
    if chance(r, 50):
        entry["AAAA"] = r.sample(ADDRESSES6, r.choice([1, 1, 2]))
    return entry


def mx(r, names):
    """In the order of their preference: whom a walk asks first is then no matter of taste."""
    return [[10 * (i + 1), name] for i, name in enumerate(names)]


def fan_out(r, dns, count):
    names = ["m%d.test" % i for i in range(count)]
    for name in names:
        dns[name] = {"A": ["203.0.113.%d" % r.randint(20, 40)], "AAAA": ["2001:db9::%x" % r.randint(1, 99)]}
    if names and chance(r, 70):
        dns[r.choice(names[-3:])].update({"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]})
    return names


def reverse_name(ip):
    address = ipaddress.ip_address(ip)
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.reverse_pointer


def limits(r, dns):
    """Around the limits: a number of terms that ask, of voids, of includes, in several records."""
    kind = r.randint(0, 5)
    count = r.choice([8, 9, 10, 11, 12])
    if kind == 0:
        terms = [r.choice(["a:h5.test", "mx:d6.test", "exists:h4.test", "ptr:x.test", "a:m1.test"]) for _ in range(count)]
        dns["d0.test"]["TXT"] = [["v=spf1 " + " ".join(terms) + " ?all"]]
    elif kind == 1:
        for i in range(count):
            dns["c%d.test" % i] = {"TXT": [["v=spf1 %s:c%d.test ?all" % (r.choice(["include", "include"]), i + 1)]]}
        dns["c%d.test" % count] = {"TXT": [["v=spf1 +all"]]}
        dns["d0.test"]["TXT"] = [["v=spf1 include:c1.test -all"]]
    elif kind == 2:
        for i in range(count):
            dns["c%d.test" % i] = {"TXT": [["v=spf1 redirect=c%d.test" % (i + 1)]]}
        dns["c%d.test" % count] = {"TXT": [["v=spf1 -all"]]}
        dns["d0.test"]["TXT"] = [["v=spf1 redirect=c1.test"]]
    elif kind == 3:
        voids = ["a:void0.test", "mx:void1.test", "exists:void2.test", "a:void3.test", "exists:%{i}.none.test", "a:h5.test", "include:d5.test"]
        dns["d0.test"]["TXT"] = [["v=spf1 " + " ".join(r.choice(voids) for _ in range(r.choice([2, 3, 4]))) + r.choice([" -all", " ?all", ""])]]
    elif kind == 4:
        terms = [r.choice(["include:d5.test", "a:h4.test", "mx:d4.test", "exists:void1.test"]) for _ in range(r.randint(4, 7))]
        dns["d5.test"] = {"TXT": [["v=spf1 a:h5.test ?all"]]}
        dns["d0.test"]["TXT"] = [["v=spf1 " + " ".join(terms) + " redirect=d6.test"]]
        dns["d6.test"] = dict(dns.get("d6.test", {}), TXT=[["v=spf1 a:h3.test mx:d4.test ~all"]])
    else:
        dns["d0.test"]["TXT"] = [["v=spf1 " + " ".join("exists:%s.d1.test" % macro(r, "p") for _ in range(r.randint(1, 4))) +
                                  " " + " ".join(["a:h5.test"] * r.randint(5, 9)) + " -all"]]


def case(seed, number):
    r = Corners("%s:%d" % (seed, number))
    dns = {}
    for i, name in enumerate(DOMAINS):
        entry = addresses(r) if chance(r, 70) else {}
        if i == 0 or chance(r, 70):
            entry["TXT"] = [chunks(r, record(r, i))]
            if chance(r, 5 if r.faulty else 1):
                entry["TXT"].append(chunks(r, r.choice([record(r, i), "v=spf1", "v=spf10 -all", "some text", "v=spf1-all", "\xe9"])))
        if chance(r, 60):
            names = r.sample(HOSTS + VOIDS + SICK[:1], r.choice([1, 1, 2, 3])) if chance(r, 80) else fan_out(r, dns, r.choice([9, 10, 11, 12]))
            entry["MX"] = mx(r, names) if chance(r, 96) else [[0, "."]]
        if chance(r, 2):
            entry["_timeout"] = True
        dns[name] = entry
    for name in HOSTS:
        dns[name] = addresses(r)
    dns["servfail.test"] = {"_rcode": 2}
    dns["timeout.test"] = {"_timeout": True}
    dns["alias.test"] = {"CNAME": [r.choice(DOMAINS + HOSTS + VOIDS + ["chain0.test"])]}
    dns["loop.test"] = {"CNAME": ["loop.test"]}
    for i in range(3):
        dns["chain%d.test" % i] = {"CNAME": ["chain%d.test" % (i + 1)]}
    dns["chain3.test"] = {"CNAME": [r.choice(DOMAINS + HOSTS)]}
    for i in range(6):
        if chance(r, 80):
            dns["exp%d.test" % i] = {"TXT": [chunks(r, explanation(r)) for _ in range(1 if chance(r, 90) else 2)]}
    ip = r.choice(CLIENTS)
    pointers = r.sample(HOSTS + DOMAINS, r.choice([1, 1, 2, 3])) if chance(r, 85) else fan_out(r, dns, r.choice([9, 10, 11, 12]))
    if chance(r, 75):
        dns[reverse_name(ip)] = {"PTR": pointers} if chance(r, 92) else r.choice([{"_rcode": 2}, {"_timeout": True}])
    if chance(r, 12):
        limits(r, dns)
    return {"id": number, "dns": dns, "ip": ip, "helo": r.choice(HELOS), "from": r.choice(SENDERS)}
