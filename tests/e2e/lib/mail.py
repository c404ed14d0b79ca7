"""Messages, and the signatures that dkimpy puts under them."""

import dkim


BODY = "Hello Bob,\r\n\r\nall is well.\r\n"


def message(sender="alice@good.test", recipient="bob@example.net", subject="The news", body=BODY, **fields):
    """A message as bytes, with CRLF; further fields come as keywords: list_id="<l.test>"."""
    head = {
        "From": sender,
        "To": recipient,
        "Subject": subject,
        "Date": "Mon, 06 Jul 2026 10:00:00 +0000",
        "Message-ID": "<1@good.test>",
    }
    head.update({name.replace("_", "-"): value for name, value in fields.items()})
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value is not None)
    return lines.encode("latin-1") + b"\r\n" + (body if isinstance(body, bytes) else body.encode("latin-1"))


def signed(text, key, selector, domain="good.test", canonical=("relaxed", "relaxed")):
    """The message with a DKIM-Signature on top, by dkimpy."""
    head, body = (word.encode() for word in canonical)
    return (
        dkim.sign(
            text,
            selector.encode(),
            domain.encode(),
            key.private,
            canonicalize=(head, body),
            signature_algorithm=key.algorithm,
        )
        + text
    )
