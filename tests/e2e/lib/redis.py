"""Real redis-servers, which tests pause, fill and kill."""

import shutil
import signal

from lib.check import Failed, Skipped, wait_for
from lib.process import Daemon, free_port, run, tail


class Redis:
    """One redis-server; it keeps nothing on disk, so after kill() it comes back empty."""

    def __init__(self, directory, *options, password="", certificate=None, port=None):
        if not shutil.which("redis-server"):
            raise Skipped("no redis-server")
        directory.mkdir(parents=True)
        self.port, self.password, self.certificate = port or free_port(), password, certificate
        command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", directory, *options]
        if certificate:
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", certificate.cert, "--tls-key-file", certificate.key]
        else:
            command += ["--port", str(self.port)]
        if password:
            command += ["--requirepass", password]
        self.log = directory / "redis.log"
        self.daemon = Daemon(command, self.log)

    @property
    def url(self):
        scheme = "rediss" if self.certificate else "redis"
        user = f":{self.password}@" if self.password else ""
        ca = f"?ca={self.certificate.cert}" if self.certificate else ""
        return f"{scheme}://{user}127.0.0.1:{self.port}{ca}"

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: self.ask("ping") == "PONG", "it answered PING")
        return self

    def stop(self):
        self.resume()
        self.daemon.stop()

    def logs(self):
        return {"redis": tail(self.log)}

    def kill(self):
        self.daemon.kill()

    def pause(self):
        self.daemon.send(signal.SIGSTOP)

    def resume(self):
        if self.daemon.runs():
            self.daemon.send(signal.SIGCONT)

    def ask(self, *words):
        """What redis-cli says, without its last newline."""
        command = ["redis-cli", "-p", str(self.port), "--no-auth-warning"]
        if self.password:
            command += ["-a", self.password]
        if self.certificate:
            command += ["--tls", "--insecure"]
        return run(*command, *words, check=False)[1].decode().strip()

    def do(self, *words):
        answer = self.ask(*words)
        if answer != "OK":
            raise Failed(f"redis-cli {' '.join(words)}: {answer}")

    def rows(self, pattern):
        """The keys with this pattern, octet by octet."""
        return run("redis-cli", "-p", str(self.port), "keys", pattern)[1].splitlines()

    def wait_for_key(self, pattern):
        return wait_for(lambda: self.ask("keys", pattern), f"a key like {pattern} in Redis")


class Sentinel:
    """One redis-sentinel that watches `master` under the name "main", decides alone, and asks for a password."""

    PASSWORD = "sentinels-word"

    def __init__(self, directory, master):
        if not shutil.which("redis-sentinel"):
            raise Skipped("no redis-sentinel")
        directory.mkdir()
        self.port, self.log = free_port(), directory / "sentinel.log"
        file = directory / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\nrequirepass {self.PASSWORD}\n"
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
        )
        self.daemon = Daemon(["redis-sentinel", file], self.log)

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: "+slave " in tail(self.log), "it knew the replica")
        return self

    def stop(self):
        self.daemon.stop()

    def logs(self):
        return {"sentinel": tail(self.log)}


class Cluster:
    """Three masters, each with a third of the slots; `spare` has none yet."""

    def __init__(self, directory):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        ports = [free_port(above=10000) for _ in range(4)]  # there the nodes talk to each other
        *self.nodes, self.spare = (Redis(directory / f"node{port}", *options, port=port) for port in ports)

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self):
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        run("redis-cli", "--cluster", "create", *addresses, "--cluster-yes")
        self.wait_until_whole()
        return self

    def wait_until_whole(self, *others):
        for node in (*self.nodes, *others):
            wait_for(lambda: "cluster_state:ok" in node.ask("cluster", "info"), "a cluster that is whole")

    def move(self, key):
        """The slot of this key, in which nothing lies yet, goes to the next node."""
        slot = self.nodes[0].ask("cluster", "keyslot", key)
        owner = next(i for i, node in enumerate(self.nodes) if "MOVED" not in node.ask("get", key))
        to = self.nodes[(owner + 1) % 3]
        identity = to.ask("cluster", "myid")
        for node in (to, self.nodes[owner], self.nodes[owner - 1]):
            node.do("cluster", "setslot", slot, "node", identity)
        return to

    def join(self):
        """The spare node becomes a part of it."""
        self.spare.start()
        run("redis-cli", "--cluster", "add-node", f"127.0.0.1:{self.spare.port}", f"127.0.0.1:{self.nodes[0].port}")
        for node in (*self.nodes, self.spare):
            wait_for(lambda: "cluster_known_nodes:4" in node.ask("cluster", "info"), "a cluster of four")
        self.wait_until_whole(self.spare)

    def begin_to_move(self, key):
        """The slot of this key begins to go to the spare node: its rows, what moves one, and what ends that."""
        slot = self.nodes[0].ask("cluster", "keyslot", key)
        owner = next(node for node in self.nodes if "MOVED" not in node.ask("get", key))
        self.spare.do("cluster", "setslot", slot, "importing", owner.ask("cluster", "myid"))
        owner.do("cluster", "setslot", slot, "migrating", self.spare.ask("cluster", "myid"))

        def move(row):
            target = ("migrate", "127.0.0.1", str(self.spare.port), "", "0", "5000", "keys")
            run("redis-cli", "-p", str(owner.port), "-x", *target, stdin=row)

        def end():
            for node in (self.spare, owner, *self.nodes):
                node.do("cluster", "setslot", slot, "node", self.spare.ask("cluster", "myid"))

        return owner.rows(f"{key}*"), move, end

    def stop(self):
        for node in (*self.nodes, self.spare):
            node.stop()

    def logs(self):
        return {f"redis {node.port}": tail(node.log) for node in self.nodes}
