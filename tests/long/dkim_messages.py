"""Messages for dkim_differential.py: bases (our own, and the corpora of the conformance folder when they are there), and
ways to change them. All are octets with CRLF line ends and nothing that a server would refuse (bare CR or LF, NUL).
Everything is drawn from the random generator that is handed in, so a seed and a number tell a message again."""
import os
import re

AUTHOR = b"Ann Author <ann@example.org>"
OURS = [
    b"From: %s\r\nTo: bob@example.net\r\nSubject: plain\r\nDate: Mon, 1 Jun 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nHello Bob,\r\nhow are you?\r\n\r\nAnn\r\n",
    b"From: %s\r\n\r\n",
    b"From: %s\r\nSubject:\r\n\r\n\r\n\r\n\r\n",
    b"Received: from a by b; Mon, 1 Jun 2026 10:00:00 +0000\r\nReceived: from c\r\n\tby d;\r\n  Mon, 1 Jun 2026 09:00:00 +0000\r\n"
    b"From: %s\r\nTo: a@example.net,\r\n b@example.net,\r\n\tc@example.net\r\nCc: d@example.net\r\nSubject: folded\r\n  more  than\r\n\t once \r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b 1\"\r\n\r\npreamble\r\n--b 1\r\n\r\npart one\r\n--b 1\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>\xc3\xa4\xc3\xb6 \xff</p>\r\n--b 1\r\n\r\n\r\n--b 1--\r\nepilogue",
    b"From: %s\r\nSubject: =?utf-8?b?w6TDtsO8?=\r\nX-Empty:\r\nX-Blank:  \r\nX-Colons: a:b:c;d=e\r\nIn-Reply-To: <a@b>\r\nReferences: <a@b>\r\n <c@d>\r\n\r\n"
    b" leading\r\n\ttabs\tand  blanks \t \r\n.\r\n..dots\r\ntrailing   \r\n   \r\n\t\r\n",
    b"From: %s\r\nTo: x@example.net\r\nSubject: one\r\nSubject: two\r\nComments: a\r\nComments: b\r\nKeywords: k\r\n\r\nno end of line",
]
FIELD = re.compile(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
LATER = re.compile(rb"(?i)(dkim-signature|domainkey-signature|arc-[a-z-]*|from|sender|authentication-results)[ \t]*:")


def split(message):
    head, _, body = message.partition(b"\r\n\r\n")
    return FIELD.findall(head + b"\r\n"), body


def join(fields, body):
    """A body that has content ends with CRLF: SMTP's DATA knows no other (RFC 5321 4.1.1.4). Three in four verifiers take
    one without as it is, in spite of RFC 6376 3.4.3; so that corner is for the unit tests."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    return b"".join(fields) + b"\r\n" + body


def from_file(path):
    """A stored message as it would come over the wire, by our author; None when it could not come."""
    with open(path, "rb") as file:
        octets = file.read(200_000).replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\0", b"").replace(b"\n", b"\r\n")
    octets = re.sub(rb"^(?:>?From [^\r]*\r\n)+", b"", octets)
    fields, body = split(octets)
    fields = [f for f in fields if re.match(rb"[!-9;-~]+[ \t]*:", f) and not LATER.match(f)]
    if any(not line.strip() for field in fields for line in field.split(b"\r\n")[:-1]):
        return None  # a fold that is all blanks is read in two ways
    return join([b"From: " + AUTHOR + b"\r\n"] + fields, body) if fields else None


def bases(folder):
    found = [message % AUTHOR for message in OURS]
    for name in ("mime-ruby-mail", "mime-spamassassin", "mime-mime4j", "corpus-spamassassin"):
        for where, _, files in sorted(os.walk(os.path.join(folder, name))):
            for file in sorted(files):
                if file.endswith((".json", ".md", ".txt", ".yml")):
                    continue
                message = from_file(os.path.join(where, file))
                if message is not None:
                    found.append(message)
    return found


# ---- before it is signed: anything that may stand in a message ----

def fold(rng, fields, body):
    i = rng.randrange(len(fields))
    value = fields[i].find(b":")
    spots = [m.start() for m in re.finditer(rb"(?<=[^\s:])[ \t](?=[^\s])", fields[i]) if m.start() > value]
    if spots and not fields[i].lower().startswith(b"from"):
        at = rng.choice(spots)
        fields[i] = fields[i][:at] + b"\r\n" + fields[i][at:]
    return fields, body


def blanks_in_field(rng, fields, body):
    i = rng.randrange(len(fields))
    name, colon, value = fields[i].partition(b":")
    fields[i] = name + colon + rng.choice([b"", b" ", b"\t", b"   ", b" \t "]) + value.lstrip(b" \t")
    if rng.random() < 0.3:
        fields[i] = fields[i][:-2] + rng.choice([b" ", b"\t ", b"   "]) + b"\r\n"
    return fields, body


def case_of_name(rng, fields, body):
    i = rng.randrange(len(fields))
    name, colon, value = fields[i].partition(b":")
    fields[i] = rng.choice([name.upper(), name.lower(), name.title()]) + colon + value
    return fields, body


def repeat_field(rng, fields, body):
    field = rng.choice(fields)
    if not field.lower().startswith((b"from", b"dkim-")):
        fields.insert(rng.randrange(len(fields) + 1), field)
    return fields, body


def odd_field(rng, fields, body):
    odd = [b"X-Long: " + b"x" * rng.randrange(900, 3000) + b"\r\n", b"X-8bit: \xe4\xf6\xfc \xc3\xa4\r\n", b"X-Empty:\r\n",
           b"X-Semi: ;;; b=abc; h=from\r\n", b"X-Percent: %s%n%d\r\n", b"Subject: another\r\n", b"To: z@example.net\r\n"]
    fields.insert(rng.randrange(len(fields) + 1), rng.choice(odd))
    return fields, body


def trailing(rng, fields, body):
    return fields, body + rng.choice([b"\r\n", b"\r\n\r\n", b" ", b" \r\n", b"\t\r\n\r\n", b"  \r\n \r\n"])


def cut(rng, fields, body):
    at = rng.randrange(len(body) + 1)
    return fields, (body[:at - 1] if body[at - 1:at + 1] == b"\r\n" else body[:at])


def blanks_in_body(rng, fields, body):
    lines = body.split(b"\r\n")
    i = rng.randrange(len(lines))
    lines[i] = rng.choice([lines[i] + b"  ", b"\t" + lines[i], lines[i].replace(b" ", b" \t "), b"", b" ", b"\t\t"])
    return fields, b"\r\n".join(lines)


def long_line(rng, fields, body):
    return fields, body + b"y" * rng.randrange(990, 9000) + b"\r\n"


def eight_bit(rng, fields, body):
    return fields, body + bytes(rng.randrange(128, 256) for _ in range(rng.randrange(200))) + b"\r\n"


def empty_body(rng, fields, body):
    return fields, rng.choice([b"", b"\r\n", b"\r\n\r\n", b" \r\n"])


def big_body(rng, fields, body):
    return fields, (body + b"\r\n") * (rng.randrange(2, 9) if len(body) < 100_000 else 1)


CHANGES = [fold, fold, blanks_in_field, blanks_in_field, case_of_name, repeat_field, odd_field, trailing, trailing, cut,
           blanks_in_body, blanks_in_body, long_line, eight_bit, empty_body, big_body]


# ---- after it was signed: what happens on the way ----

def move_field(rng, fields, body):
    fields.insert(rng.randrange(len(fields)), fields.pop(rng.randrange(len(fields))))
    return fields, body


def drop_field(rng, fields, body):
    i = rng.randrange(len(fields))
    if not fields[i].lower().startswith((b"dkim-", b"from")):
        del fields[i]
    return fields, body


def add_trace(rng, fields, body):
    return [b"Received: by relay.example.net; Mon, 1 Jun 2026 10:00:01 +0000\r\n"] + fields, body


def add_author(rng, fields, body):
    fields.insert(rng.randrange(len(fields) + 1), b"From: Eve <eve@example.com>\r\n")
    return fields, body


def one_octet(rng, fields, body):
    at = rng.randrange(len(body) + 1)
    if body[at:at + 1] and body[at:at + 1] not in b"\r\n":
        body = body[:at] + bytes([body[at] ^ 1 or 1]) + body[at + 1:]
    return fields, body.replace(b"\x0c", b"x").replace(b"\x0b", b"x")


def refold_signature(rng, fields, body):
    for i, field in enumerate(fields):
        if field.lower().startswith(b"dkim-signature"):
            fields[i] = re.sub(rb"\r\n[ \t]+", rng.choice([b" ", b"\r\n ", b"\r\n\t\t"]), field)
    return fields, body


JOURNEY = [move_field, drop_field, add_trace, add_author, one_octet, refold_signature, trailing, cut, blanks_in_body,
           blanks_in_field, case_of_name, fold, repeat_field, odd_field]


def change(rng, message, changes, most):
    fields, body = split(message)
    for _ in range(rng.randrange(most + 1)):
        fields, body = rng.choice(changes)(rng, list(fields), body)
    return join(fields, body)
