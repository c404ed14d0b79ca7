"""Clients that other people have written, each with one way to send a letter to a port."""

import asyncio
import shutil
import smtplib

from lib import exim, opensmtpd, postfix
from lib.check import Skipped, starts
from lib.client import stuffed, trusting
from lib.process import run
from lib.unpacked import unpacked

HELO = "mx.sender.test"


def program(name):
    if shutil.which(name) is None:
        raise Skipped(f"no {name}; packaging/install-deps test brings it")
    return name


class Sender:
    """`cannot` are the letters that this client cannot send, with the reason; `adds` is the number of header fields that
    it puts on top."""

    cannot = {}
    adds = 0

    def begin(self, t, ports):
        """`ports` are those of smtpguard: [False] without TLS, [True] with it."""
        self.dir = t.dir

    def file(self, letter, octets):
        path = self.dir / letter.name
        path.write_bytes(octets)
        return path


class Swaks(Sender):
    name = "swaks"
    cannot = {"SMTPUTF8": "has no such option"}

    def send(self, letter, port):
        message = self.file(letter, letter.octets.removesuffix(b"\r\n").replace(b"\r\n", b"\n"))
        run(program("swaks"), "--server", f"127.0.0.1:{port}", "--helo", HELO, "--from", letter.sender, "--to",
            ",".join(letter.recipients), "--data", f"@{message}", *(["--tls"] if letter.tls else []))


class Msmtp(Sender):
    name = "msmtp"
    cannot = {"SMTPUTF8": "never says so, so the address is refused"}

    def send(self, letter, port):
        tls = ["--tls=on", "--tls-starttls=on", "--tls-certcheck=off"] if letter.tls else ["--tls=off"]
        run(program("msmtp"), "--file=/dev/null", "--host=127.0.0.1", f"--port={port}", f"--domain={HELO}",
            f"--from={letter.sender}", *tls, "--", *letter.recipients, stdin=letter.octets.replace(b"\r\n", b"\n"))


class Curl(Sender):
    name = "curl"

    def send(self, letter, port):
        message = self.file(letter, letter.octets)
        recipients = [word for recipient in letter.recipients for word in ("--mail-rcpt", recipient)]
        run(program("curl"), "--silent", "--show-error", f"smtp://127.0.0.1:{port}/{HELO}", "--mail-from", letter.sender,
            *recipients, "--upload-file", message, *(["--ssl-reqd", "--insecure"] if letter.tls else []))


class Smtplib(Sender):
    name = "Python smtplib"

    def send(self, letter, port):
        options = ["BODY=8BITMIME"] * letter.eight_bit + ["SMTPUTF8"] * letter.utf8
        with smtplib.SMTP("127.0.0.1", port, local_hostname=HELO) as client:
            if letter.tls:
                client.starttls(context=trusting())
            client.sendmail(letter.sender, letter.recipients, letter.octets, options)


class Pipelining(Sender):
    """The whole envelope with DATA leaves in one write, and the message in another with QUIT behind it."""

    name = "pipelining (asyncio)"

    def send(self, letter, port):
        asyncio.run(asyncio.wait_for(self.converse(letter, port), 60))

    async def converse(self, letter, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self.replies("220")
        await self.say(f"EHLO {HELO}\r\n", "250")
        if letter.tls:
            await self.say("STARTTLS\r\n", "220")
            await self.writer.start_tls(trusting(), server_hostname="mx.example.net")
            await self.say(f"EHLO {HELO}\r\n", "250")
        options = " BODY=8BITMIME" * letter.eight_bit + " SMTPUTF8" * letter.utf8
        envelope = f"MAIL FROM:<{letter.sender}>{options}\r\n"
        envelope += "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in letter.recipients)
        await self.say(envelope + "DATA\r\n", "250", *["250"] * len(letter.recipients), "354")
        self.writer.write(stuffed(letter.octets) + b"QUIT\r\n")
        await self.replies("250", "221")
        self.writer.close()

    async def say(self, text, *codes):
        self.writer.write(text.encode())
        await self.replies(*codes)

    async def replies(self, *codes):
        for code in codes:
            line = "-" * 4
            while line[3:4] == "-":
                line = (await self.reader.readline()).decode()
            starts(line, code)


NODEMAILER = """
const [port, tls, file, sender, ...recipients] = process.argv.slice(1);
require('nodemailer').createTransport({
    host: '127.0.0.1', port: +port, secure: false, ignoreTLS: !+tls, requireTLS: !!+tls, name: '%s',
    tls: {rejectUnauthorized: false},
}).sendMail({envelope: {from: sender, to: recipients, use8BitMime: true}, raw: require('fs').readFileSync(file)})
.catch(why => { console.error(why); process.exit(1); });
""" % HELO


class Nodemailer(Sender):
    name = "nodemailer"

    def send(self, letter, port):
        if shutil.which("node") is None:
            raise Skipped("no node")
        modules = unpacked("node-nodemailer") / "usr/share/nodejs"
        run("env", f"NODE_PATH={modules}", "node", "-e", NODEMAILER, str(port), str(int(letter.tls)),
            self.file(letter, letter.octets), letter.sender, *letter.recipients)


class Server(Sender):
    """A server hands on what it gets from smtplib, to the port that belongs to the recipients' domain. It puts a Received
    field on top."""

    adds = 1

    def begin(self, t, ports):
        self.server = t.start(self.made(t.dir / "sender", ports))

    def send(self, letter, _):
        Smtplib().send(letter._replace(tls=False), self.server.port)

    def try_again(self):
        """All that it still has leaves now, not when its schedule says so."""
        run(*self.flush())


class PostfixSends(Server):
    name = "Postfix"

    def made(self, folder, ports):
        return postfix.Postfix(folder, postfix.SENDER.format(name=HELO, plain=ports[False], secure=ports[True]))

    def flush(self):
        return "postqueue", "-c", self.server.dir / "conf", "-f"


class EximSends(Server):
    name = "Exim"

    def made(self, folder, ports):
        return exim.Exim(folder, exim.SENDER, HELO, plain=ports[False], secure=ports[True])

    def flush(self):
        return "chroot", self.server.root, exim.PROGRAM, "-qff"


class OpenSmtpdSends(Server):
    name = "OpenSMTPD"
    cannot = {"SMTPUTF8": "knows nothing of it"}

    def made(self, folder, ports):
        return opensmtpd.OpenSmtpd(folder, opensmtpd.SENDER, HELO, plain=ports[False], secure=ports[True])

    def flush(self):
        return "chroot", f"--userspec=0:{opensmtpd.QUEUE}", self.server.root, opensmtpd.CONTROL, "schedule", "all"
