"""Real redis-servers, which tests pause, fill and kill."""

import shutil
import signal

from lib.check import Failed, Skipped, wait_for
from lib.process import Daemon, free_port, run, tail


class Redis:
    """One redis-server; it keeps nothing on disk, so after kill() it comes back empty."""

    def __init__(self, directory, *options, password="", certificate=None):
        if not shutil.which("redis-server"):
            raise Skipped("no redis-server")
        directory.mkdir(parents=True)
        self.port, self.password, self.certificate = free_port(), password, certificate
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
    """Three masters, each with a third of the slots."""

    def __init__(self, directory):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.nodes = [Redis(directory / f"node{i}", *options) for i in range(3)]

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

    def wait_until_whole(self):
        for node in self.nodes:
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

    def stop(self):
        for node in self.nodes:
            node.stop()

    def logs(self):
        return {f"redis {node.port}": tail(node.log) for node in self.nodes}
