"""The contenders: how each is started and stopped, and which of its processes are counted."""

import os
import pathlib
import re
import signal
import subprocess

from .base import BUILT, TARGET, free_port, wait_for


class Server:
    """A contender: its processes, and which of them are counted."""

    def __init__(self):
        self.processes, self.pids, self.ports = [], [], {}
        self.scheme, self.headers = "http", {}

    def spawn(self, command, **options):
        process = subprocess.Popen([str(word) for word in command], **options)
        self.processes.append(process)
        return process

    def stop(self):
        last = None
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
            last = last or said
        return last


class Aqueduct(Server):
    """The listener and its C reader. `more` is TOML of the tables that are not written here."""

    program = TARGET / "release/aqueduct"
    protocols = ("resp", "mqtt", "octets")

    def __init__(self, scratch, driver, ingest="", more="", ring="16MiB", reader=(), flags=()):
        super().__init__()
        # Several listeners by one driver may run beside each other.
        name = f"{driver}-{free_port()}"
        self.socket = scratch / f"{name}.sock"
        config = scratch / f"{name}.toml"
        listen = "".join(
            f'[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "{protocol}"\n'
            for protocol in self.protocols
        )
        config.write_text(f"[ingest]\n{ingest}\n[http]\nmax_connections = 6000\n{more}{listen}")
        where = ["--driver", driver, "--listen", "127.0.0.1:0", "--socket", self.socket]
        rest = ["--config", config, "--log-level", "warn", "--capacity-bytes", ring, *flags]
        out = subprocess.PIPE
        listener = self.spawn([self.program, "serve", *where, *rest], stdout=out)
        line = listener.stdout.readline().decode()
        for protocol, port in re.findall(r"(\w+)=127\.0\.0\.1:(\d+)", line):
            self.ports[protocol] = int(port)
        program = BUILT / "reader"
        counter = self.spawn([program, self.socket, "default", "default", *reader], stdout=out)
        self.pids = [listener.pid, counter.pid]
        self.path = "/v1/rings/default/records"

    def stop(self):
        said = (super().stop() or b"").decode().strip()
        if not said.endswith(" bad=0"):
            raise SystemExit(f"the reader found damage or did not end: {said!r}")
        return said


class Route(Aqueduct):
    """The listener with a route that wants a token and gives requests an id."""

    protocols = ()

    def __init__(self, scratch, driver):
        file = scratch / "credentials"
        command = [self.program, "credential", "add", "bench", "--file", file]
        command = [str(word) for word in command]
        said = subprocess.run(command, capture_output=True, check=True, text=True).stderr
        token = re.search(r"aqd_\S+", said)[0]
        units = '["authenticate", "request_id"]'
        route = f'[[route]]\npath = "/orders/{{id}}"\nring = "default"\nunits = {units}\n'
        more = f'authenticate = false\n[credentials]\nfile = "{file}"\n{route}'
        super().__init__(scratch, driver, more=more)
        self.path, self.headers = "/orders/4711", {"authorization": f"Bearer {token}"}


class Tls(Aqueduct):
    """The listener over TLS."""

    program = BUILT / "aqueduct-tls"
    protocols = ()

    def __init__(self, scratch, driver, certificate, key):
        more = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
        super().__init__(scratch, driver, more=more)
        self.scheme = "https"


class Nginx(Server):
    """Answers 204 without looking at the body, with two workers. `listen` and `more` are of its
    configuration."""

    def __init__(self, scratch, listen="", more=""):
        super().__init__()
        port = free_port()
        paths = "".join(
            f"{kind}_temp_path {scratch}/nginx-{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = scratch / "nginx.conf"
        config.write_text(
            f"daemon off; worker_processes 2; pid {scratch}/nginx.pid; error_log /dev/null;\n"
            "events { worker_connections 10000; }\n"
            f"http {{ access_log off; keepalive_requests 1000000000; {paths}\n"
            f"server {{ listen 127.0.0.1:{port} backlog=8192{listen}; {more}"
            "location / { return 204; } } }\n"
        )
        master = self.spawn(["nginx", "-c", config], stderr=subprocess.DEVNULL)
        wait_for(port)
        children = pathlib.Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text()
        self.pids = [int(pid) for pid in children.split()]
        self.ports, self.path = {"http": port}, "/"


class TlsNginx(Nginx):
    """The same over TLS 1.3, with tickets."""

    def __init__(self, scratch, certificate, key):
        more = f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; "
        super().__init__(scratch, " ssl", f"{more}ssl_session_tickets on; ")
        self.scheme = "https"


class Bare(Server):
    """The same driver, answering whatever comes with a fixed response, by as many loops as the
    listener has by default."""

    def __init__(self, driver):
        super().__init__()
        cores = len(os.sched_getaffinity(0))
        loops = max(min(cores, 2), -(-cores // 4))
        bare = self.spawn([TARGET / "release/bare", driver, str(loops)], stdout=subprocess.PIPE)
        port = int(bare.stdout.readline().decode().rsplit(":", 1)[1])
        self.pids, self.ports, self.path = [bare.pid], {"http": port}, "/"


class Peer(Server):
    """Axum or hyper: takes the body, answers 204."""

    def __init__(self, name):
        super().__init__()
        peer = self.spawn([TARGET / "release" / name], stdout=subprocess.PIPE)
        port = int(peer.stdout.readline().decode().rsplit(":", 1)[1])
        self.pids, self.ports, self.path = [peer.pid], {"http": port}, "/"


class Gin(Server):
    """Gin, records in POSIX shared memory, a C reader on a semaphore."""

    def __init__(self):
        super().__init__()
        name = f"/aqd-bridge-{free_port()}"
        self.segment = pathlib.Path(f"/dev/shm{name}")
        server = self.spawn([BUILT / "gin-server", name], stdout=subprocess.PIPE)
        port = int(server.stdout.readline().decode().rsplit(":", 1)[1])
        reader = self.spawn([BUILT / "gin-reader", name], stdout=subprocess.PIPE)
        self.pids, self.ports, self.path = [server.pid, reader.pid], {"http": port}, "/records"

    def stop(self):
        said = (super().stop() or b"").decode().strip()
        self.segment.unlink()
        if not said.endswith(" bad=0"):
            raise SystemExit(f"the reader of Gin's records found damage: {said!r}")


class Redis(Server):
    def __init__(self, scratch):
        super().__init__()
        port = free_port()
        flags = ["--port", port, "--save", "", "--appendonly", "no", "--dir", scratch]
        redis = self.spawn(["redis-server", *flags], stdout=subprocess.DEVNULL)
        wait_for(port)
        self.pids, self.ports = [redis.pid], {"resp": port}


class Mosquitto(Server):
    def __init__(self, scratch):
        super().__init__()
        port = free_port()
        config = scratch / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n")
        broker = self.spawn(["mosquitto", "-c", config], stderr=subprocess.DEVNULL)
        wait_for(port)
        self.pids, self.ports = [broker.pid], {"mqtt": port}


def both(scratch):
    """The listener by both drivers."""
    return {driver: Aqueduct(scratch, driver) for driver in ("epoll", "io_uring")}
