"""What a test says when something is not as it must be."""

import time


class Failed(AssertionError):
    """The program is wrong (or the test is)."""


class Skipped(Exception):
    """The test cannot run here; the reason is printed, loudly."""


def shown(value):
    """A value short enough for a terminal."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 1500 else f"{text[:700]} … {text[-700:]} ({len(text)} characters)"


def same(got, want, what="value"):
    """Both are equal; of long texts, the place where they part is shown."""
    if got == want:
        return
    if isinstance(got, (bytes, str)) and type(got) is type(want):
        at = next((i for i, (g, w) in enumerate(zip(got, want)) if g != w), min(len(got), len(want)))
        start = max(0, at - 60)
        raise Failed(
            f"{what} differs at {at} (lengths {len(got)}, wanted {len(want)}):\n"
            f"    got    …{shown(got[start:at + 120])!r}\n    wanted …{shown(want[start:at + 120])!r}"
        )
    raise Failed(f"{what}:\n    got    {shown(got)}\n    wanted {shown(want)}")


def starts(text, prefix):
    """A reply begins with its code and enhanced code: starts(reply, "550 5.7.1")."""
    if not text.startswith(prefix):
        raise Failed(f"got    {shown(text)}\n    wanted {prefix} …")


def has(text, part):
    if part not in text:
        raise Failed(f"missing {shown(part)!r} in:\n{shown(text)}")


def has_not(text, part):
    if part in text:
        raise Failed(f"unwanted {shown(part)!r} in:\n{shown(text)}")


def true(condition, sentence):
    if not condition:
        raise Failed(sentence)


def wait_for(condition, what, seconds=30):
    """Asks `condition` until its answer is true, and returns that answer."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s for {what}")
        time.sleep(0.02)
