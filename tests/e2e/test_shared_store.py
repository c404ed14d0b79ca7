"""Several smtpguards that share what they remember in a Redis, and what happens when that one is in trouble."""

import concurrent.futures
import json
import time

from lib import certificate
from lib.backend import LmtpBackend
from lib.check import has, same, starts, true, wait_for
from lib.mail import message
from lib.process import free_port
from lib.redis import Cluster, Redis, Sentinel
from lib.world import BOT, GOOD, LIAR
from test_reports import answer, date, listed, make_yesterday, name_server, passing, play, reporter, reports_at

GREYLISTED = "451 4.7.1 "


def redis(t, *options, **more):
    return t.start(Redis(t.dir / "redis", *options, **more))


def host(t, server, url=None, timeout="2s", **greylist):
    """An smtpguard that shares: started, and in touch with the server (unless the URL leads elsewhere). On a busy machine a
    healthy server may take longer than the default of 50 ms."""
    guard = t.guard(
        store={"url": url or server.url, "timeout": timeout},
        greylist={"when": "always", "delay": "1s", "window": "1h", **greylist},
        spf={"mode": "off"},
        admin={"http": f"127.0.0.1:{free_port()}"},
    )
    guard.recipient = t.recipient()
    if not url:
        wait_until_shared(guard)
    return guard


def hosts(t, server, count):
    """Several, all with the same recipient."""
    guards = [host(t, server) for _ in range(count)]
    for guard in guards:
        guard.recipient = guards[0].recipient
    return guards


def wait_until_shared(guard):
    wait_for(lambda: guard.metric("smtpguard_store_shared_up") == 1, "a store that is shared")


def try_once(guard, sender, reply):
    """The time that RCPT took, in seconds."""
    with guard.client(BOT) as client:
        client.ehlo(BOT.name)
        client.say(f"MAIL FROM:<{sender}>", "250 ")
        begun = time.monotonic()
        client.say(f"RCPT TO:<{guard.recipient}>", reply)
        return time.monotonic() - begun


def wait_out(guard, sender):
    """Comes again until the delay is over."""

    def passes():
        with guard.client(BOT) as client:
            client.ehlo(BOT.name)
            client.say(f"MAIL FROM:<{sender}>", "250 ")
            return client.say(f"RCPT TO:<{guard.recipient}>", "").startswith("250 ")

    wait_for(passes, "an RCPT that passes")


def test_retry_on_another_mx(t):
    """Who was greylisted by one MX passes on another one, and is then known to a third."""
    server = redis(t)
    first, second, third = hosts(t, server, 3)
    try_once(first, "a@good.test", GREYLISTED)
    wait_out(second, "a@good.test")
    try_once(third, "a@good.test", "250 ")
    same(third.event(event="rcpt", grey="known")["client"], BOT.address)
    server.wait_for_key("smtpguard:grey:*a@good.test*")
    code, rows = second.cli("greylist", "list")
    same(code, 0, "greylist list's exit code")
    has(rows, "a@good.test")
    server.pause()
    code, why = second.cli("greylist", "list")
    same(code, 69, "greylist list's exit code without the server")
    has(why, "is not available")


def test_recipients(t):
    """A recipient that one MX was told is unknown is 550 at another one, too, when the mail server is away."""
    server = redis(t)
    first, second = host(t, server, mode="off"), host(t, server, mode="off")
    with first.client(BOT) as client:
        client.envelope("a@good.test")
        client.say("RCPT TO:<nobody@example.net>", "550 5.1.1 ")
    server.wait_for_key("smtpguard:recipient:*nobody@example.net*")
    second.change(backends=[{"address": f"127.0.0.1:{free_port()}", "connect_timeout": "1s"}])
    with second.client(BOT) as client:
        client.envelope("a@good.test")
        has(client.say("RCPT TO:<nobody@example.net>", "550 5.1.1 "), "(remembered)")


def test_recipients_of_two_minds(t):
    """When two backends disagree about a recipient, one who was taken a moment ago is not refused from memory."""
    server = redis(t)
    first, second = host(t, server, mode="off"), host(t, server, mode="off")
    second.change(backends=[{"address": t.backend(rcpt="550 5.1.1 Unknown").address}])

    def told_at(guard, reply):
        with guard.client(BOT) as client:
            client.envelope("a@good.test")
            client.say(f"RCPT TO:<{first.recipient}>", reply)

    def wait_for_row(word):
        key = server.wait_for_key(f"smtpguard:recipient:*{first.recipient}*")
        wait_for(lambda: word in server.ask("hgetall", key) + server.ask("get", key), f"{word} in the row")

    told_at(first, "250 ")
    wait_for_row("accepted")
    told_at(second, "550 5.1.1 ")
    wait_for_row("Unknown")
    told_at(first, "250 ")
    wait_for_row("accepted")


def test_rate(t):
    """A client is as fast as it is at all hosts together; while the server is away each counts for itself."""
    server = redis(t)
    first, second = hosts(t, server, 2)
    for number, guard in enumerate((first, second)):
        guard.change(hostname=f"mx{number}.example.net", limits={"new_connections_per_client": "12/1h"})
    for _ in range(9):
        first.client(BOT).close()
    server.wait_for_key(f"smtpguard:rate:*{BOT.address}*")
    greetings = []

    def is_too_fast():
        with second.client(BOT, greeting="") as client:
            greetings.append(client.greeting)
        return greetings[-1].startswith("421 4.7.0 Too many new connections")

    wait_for(is_too_fast, "the limit of both")
    true(len(greetings) < 8, f"{len(greetings)} connections to the second, nine to the first")
    second.event(event="connect", check="rate", client=BOT.address)
    server.kill()
    second.client(LIAR).close()
    for _ in range(11):
        first.client(LIAR).close()
    second.client(LIAR).close()


def deliver_by_lmtp(guard, sender, *recipients):
    """The reply to the message."""
    with guard.client(BOT) as client:
        client.envelope(sender, *recipients)
        reply = client.data(message(sender="somebody@plain.test"))
        client.quit()
    return reply


def test_messages_for_some(t):
    """What an LMTP backend has taken for one of two, one MX knows of the other, even when the server was away meanwhile."""
    server = redis(t)
    first, second = host(t, server, mode="off"), host(t, server, mode="off")
    backend = t.start(LmtpBackend(dot=["250 2.0.0 One", "452 4.2.2 Full"] * 2))
    for guard in (first, second):
        guard.change(backends=[{"address": backend.address, "protocol": "lmtp"}])
    starts(deliver_by_lmtp(first, "a@good.test", "b@example.net", "c@example.net"), "451 4.3.0 Taken for some")
    starts(deliver_by_lmtp(second, "a@good.test", "b@example.net"), "250 2.0.0 Taken when it came before")
    server.kill()
    starts(deliver_by_lmtp(first, "d@good.test", "b@example.net", "c@example.net"), "451 4.3.0 Taken for some")
    server.start()
    for guard in (first, second):
        wait_until_shared(guard)
    starts(deliver_by_lmtp(second, "d@good.test", "b@example.net"), "250 2.0.0 Taken when it came before")
    same(len(backend.messages), 2, "messages at the backend")


def in_trouble(t, server, begin, end, why, **options):
    """The scene of each kind of trouble: `first` goes on by itself, and afterwards both know all of it."""
    first, second = host(t, server, **options), host(t, server)
    second.recipient = first.recipient
    try_once(first, "before@good.test", GREYLISTED)
    wait_out(first, "before@good.test")
    try_once(first, "between@good.test", GREYLISTED)
    begin()
    seconds = try_once(first, "during@good.test", GREYLISTED)
    true(seconds < 1, f"the first RCPT took {seconds:.3f} s")
    wait_for(lambda: any(why in line["text"] for line in first.events(event="store-away")), f"store-away: {why}")
    same(first.metric("smtpguard_store_shared_up"), 0, "smtpguard_store_shared_up")
    status, text = first.get("/readyz")
    same(status, 200, "/readyz")
    has(text, "the shared store does not answer")
    try_once(first, "before@good.test", "250 ")  # known: the local store has a copy
    wait_out(first, "between@good.test")
    wait_out(first, "during@good.test")
    end()
    for guard in (first, second):
        wait_until_shared(guard)
    wait_for(lambda: first.events(event="store-back"), "store-back")
    for sender in ("between", "during"):
        try_once(second, f"{sender}@good.test", "250 ")
    true(first.metric("smtpguard_store_merged_rows_total") >= 3, "the rows were merged")


def test_hangs(t):
    """A Redis that hangs (SIGSTOP) costs one sender 50 ms; what happened meanwhile is merged."""
    server = redis(t)
    in_trouble(t, server, server.pause, server.resume, "no answer within 50 ms", timeout="50ms")


def test_killed(t):
    """A Redis that is killed and comes back empty gets what happened meanwhile."""
    server = redis(t)
    in_trouble(t, server, server.kill, server.start, "")


def test_full(t):
    """A Redis without memory is as good as none, and is used again when it has some."""
    server = redis(t)

    def set_memory(limit):
        return lambda: server.do("config", "set", "maxmemory", limit)

    in_trouble(t, server, set_memory("1"), set_memory("0"), "OOM ")


def test_read_only(t):
    """A Redis that has become a replica takes no writes: the local store answers until it is a master again."""
    server = redis(t)

    def replica_of(*whom):
        return lambda: server.do("replicaof", *whom)

    in_trouble(t, server, replica_of("127.0.0.1", "1"), replica_of("no", "one"), "READONLY ")


def test_passwords_and_tls(t):
    """By TLS, with a password; with a wrong one mail flows all the same, and nobody sees it in the log or the settings."""
    server = redis(t, password="right", certificate=certificate.make(t.dir, "redis", "127.0.0.1"))
    first = host(t, server)
    wrong = host(t, server, url=server.url.replace(":right@", ":wrong-secret@"))
    try_once(first, "a@good.test", GREYLISTED)
    server.wait_for_key("smtpguard:grey:*a@good.test*")
    has(wrong.event(event="store-away")["text"], "the password is refused: WRONGPASS")
    try_once(wrong, "a@good.test", GREYLISTED)
    wait_out(wrong, "a@good.test")
    code, settings = wrong.cli("config", "show")
    same(code, 0, "config show's exit code")
    has(settings, ":***@")
    words = wrong.cli("doctor")[1]
    has(words, "the password is refused: WRONGPASS")
    settings += words
    true("wrong-secret" not in settings + wrong.log.read_text(), "the password is nowhere to be seen")


def test_sentinel(t):
    """When a master dies, sentinels make a replica master, and what was remembered and what happened meanwhile is there."""
    master = redis(t)
    replica = t.start(Redis(t.dir / "replica", "--replicaof", "127.0.0.1", str(master.port)))
    wait_for(lambda: "master_link_status:up" in replica.ask("info", "replication"), "a replica")
    sentinel = t.start(Sentinel(t.dir / "sentinel", master))
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main"  # the first one is not there
    first = host(t, master, url=f"{url}?sentinel=:{sentinel.PASSWORD}")
    second = host(t, master, url=f"{url}?sentinel=default:{sentinel.PASSWORD}")
    second.recipient = first.recipient
    for guard in (first, second):
        wait_until_shared(guard)
    try_once(first, "before@good.test", GREYLISTED)
    replica.wait_for_key("smtpguard:grey:*before@good.test*")
    master.kill()
    try_once(first, "during@good.test", GREYLISTED)
    for guard in (first, second):
        wait_for(lambda: guard.events(event="store-away"), "store-away")
        wait_until_shared(guard)
    has(replica.ask("info", "replication"), "role:master")
    wait_out(second, "before@good.test")
    wait_out(second, "during@good.test")
    try_once(first, "during@good.test", "250 ")
    for guard in (first, second):
        true(sentinel.PASSWORD not in guard.log.read_text(), "the sentinels' password is nowhere to be seen")


def test_cluster(t):
    """A cluster of three: rows are found on their nodes, follow a slot that moves, and a node that dies costs nothing."""
    cluster = t.start(Cluster(t.dir / "cluster"))
    first, second = (host(t, cluster.nodes[0], url=cluster.url) for _ in range(2))
    second.recipient = first.recipient
    for guard in (first, second):
        wait_until_shared(guard)
    node = cluster.move("smtpguard:grey:{net:127.0.1.0/24}")
    try_once(first, "before@good.test", GREYLISTED)
    node.wait_for_key("smtpguard:grey:{net:127.0.1.0/24}*before@good.test*")
    wait_out(second, "before@good.test")
    for guard in (first, second):
        same(guard.events(event="store-away"), [], "words about a store that is away")
    has(first.cli("greylist", "list")[1], "before@good.test")
    node.kill()
    try_once(first, "during@good.test", GREYLISTED)
    try_once(first, "before@good.test", "250 ")
    wait_out(first, "during@good.test")
    node.start()
    cluster.wait_until_whole()
    for guard in (first, second):
        wait_until_shared(guard)
    try_once(second, "during@good.test", "250 ")


def test_cluster_grows(t):
    """While a slot goes to a node that is new, key by key, its rows are found on both, and no store is away."""
    cluster = t.start(Cluster(t.dir / "cluster"))
    first, second = (host(t, cluster.nodes[0], url=cluster.url) for _ in range(2))
    second.recipient = first.recipient
    for guard in (first, second):
        wait_until_shared(guard)
    try_once(first, "before@good.test", GREYLISTED)
    wait_out(first, "before@good.test")
    cluster.join()
    rows, move, end = cluster.begin_to_move("smtpguard:grey:{net:127.0.1.0/24}")
    same(len(rows), 2, "how many rows the client has")
    try_once(second, "before@good.test", "250 ")  # nothing has moved yet
    move(rows[0])
    try_once(first, "before@good.test", "250 ")  # TRYAGAIN, so the file answers
    move(rows[1])
    try_once(second, "before@good.test", "250 ")  # ASK
    try_once(first, "during@good.test", GREYLISTED)  # TRYAGAIN again: of two rows one is not there
    cluster.spare.wait_for_key("smtpguard:grey:{net:127.0.1.0/24}*during@good.test*")  # merged, by itself
    end()
    has(first.cli("greylist", "list")[1], "during@good.test")
    wait_out(second, "during@good.test")
    for guard in (first, second):
        same(guard.events(event="store-away"), [], "words about a store that is away")


# ---- the store's verbs ----


def verb(guard, *words, code=0):
    """What it answers with --json, or why it does not."""
    got, text = guard.cli("store", *words, "--json")
    same(got, code, f"exit code of store {' '.join(map(str, words))}: {text}")
    return json.loads(text) if code == 0 else text


def test_verbs(t):
    """`store ping` tells whether it answers, `store backup` copies the file in use, `store migrate` merges there and back."""
    server = redis(t)
    alone = t.guard(greylist={"when": "always", "delay": "1h", "window": "4h"}, spf={"mode": "off"})
    alone.recipient = t.recipient()
    try_once(alone, "a@good.test", GREYLISTED)
    true(verb(alone, "ping")["answers"], "the file answers")
    copy = t.dir / "copy.db"
    verb(alone, "backup", copy)
    same(verb(alone, "backup", copy, code=65).count("is there already"), 1, "complaints about a file that is there")
    code, rows = alone.cli("greylist", "list", "--store", f"sqlite:{copy}")
    has(rows, "a@good.test")
    file, shared = f"sqlite:{alone.dir}/state/state.db", server.url
    moved = verb(alone, "migrate", "--from", file, "--to", shared)["rows"]
    same(verb(alone, "migrate", "--from", file, "--to", shared)["rows"], moved, "rows the second time")
    has(alone.cli("greylist", "list", "--store", shared)[1], "a@good.test")
    back = f"sqlite:{t.dir}/back.db"
    same(verb(alone, "migrate", "--from", shared, "--to", back)["rows"], moved, "rows on the way back")
    same(alone.cli("greylist", "list", "--store", back), alone.cli("greylist", "list"), "what is remembered")
    true(verb(alone, "ping", "--store", shared)["answers"], "the server answers")
    server.pause()
    has(verb(alone, "ping", "--store", shared, code=69), "is not available")


# ---- reports ----


def test_one_report_for_all(t):
    """Hosts that share count together, through an outage; of those that send at once, one sends each report, of all."""
    server, backend = redis(t), t.backend()
    domains = [f"d{i}.test" for i in range(8)]
    dns = name_server(t, {domain: f"p=none; rua=mailto:dmarc@{domain}" for domain in domains})
    guards = [
        reporter(
            t,
            dns,
            backend,
            host=f"mx{i}.example.net",
            store={"url": server.url, "timeout": "2s"},
            admin={"http": f"127.0.0.1:{free_port()}"},
        )
        for i in (1, 2)
    ]
    for guard in guards:
        wait_until_shared(guard)
        play(t, guard, [passing(domain, 2) for domain in domains], "bob@example.net")
    server.pause()
    play(t, guards[0], [passing(domain) for domain in domains], "bob@example.net")
    wait_for(lambda: guards[0].events(event="store-away"), "store-away")
    server.resume()
    for guard in guards:
        wait_until_shared(guard)
    play(t, guards[1], [passing(domain, 2) for domain in domains], "bob@example.net")
    for guard in guards:
        whole = {domain: (7, 7, 7, 2) for domain in domains}
        wait_for(lambda: listed(guard, date()) == whole, "seven messages of each domain, counted from the hosts' journals")
    make_yesterday(guards[0])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda guard: answer(guard, "report", "send"), guards))
    same(sum(one["fates"]["sent"] for one in said), len(domains), "reports sent, as both say")
    same(reports_at(backend), sorted(f"dmarc@{domain}" for domain in domains), "reports at the backend")


def test_report_verbs_look_at_another_store(t):
    """What a killed daemon has left to count goes to its own store, and never to another one that a verb is told to look at."""
    server = redis(t)
    guard = reporter(
        t, name_server(t, {"watch.test": "p=none; rua=mailto:a@watch.test"}), t.backend(), store={"url": server.url}
    )
    with guard.client(GOOD) as client:
        client.envelope("a@watch.test", "bob@example.net")
        starts(client.data(message(sender="a@watch.test")), "250 ")
        guard.kill()
    for url in (f"{server.url}/1", "sqlite:" + guard.settings["store"]["local"]):
        same(answer(guard, "report", "list", "--day", date(), "--store", url, code=1)["domains"], [], f"what {url} has")
    same(listed(guard, date()), {"watch.test": (1, 1, 1, 1)}, "what its own store has")
