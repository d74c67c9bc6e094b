"""Starts, stops and restarts a local Kafka and schema registry; called through ./stack.

Everything of one stack lives in one folder, ports are picked at each first start, and processes are
ended by pid only. So any number of stacks run side by side, one per folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import fencing
import readiness
from fetch import cache, fetch, locked, runner_jar, say, update_checksums
from process import Failure, Process, fingerprint

JVM_FLAGS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]
# Below the range that Linux and macOS give to outgoing connections, so that a stopped broker
# finds its port free when it comes back.
PORTS = range(15_000, 32_000)
STOP_GRACE_SECONDS = 20
PORT_ATTEMPTS = 3
# Of several brokers the dead one is to be noticed soon. One that is alone and starved by its machine
# must not be: it comes back as the leader that it was, and fencing.py says what it would lose.
SESSION_MS = 3_000
LONE_SESSION_MS = 60_000
MESSAGE_BYTES_MAX = 8 * 1024 * 1024

SERVER_PROPERTIES = """\
{roles}
node.id={node}
controller.quorum.voters={voters}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={min_isr}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={min_isr}
min.insync.replicas={min_isr}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
message.max.bytes={message_bytes_max}
replica.fetch.max.bytes={message_bytes_max}
controlled.shutdown.max.retries=1
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
"""

BROKER_AND_CONTROLLER = """\
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{proxied_listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{proxied_advertised}"""

ONLY_CONTROLLER = """\
process.roles=controller
listeners=CONTROLLER://127.0.0.1:{controller_port}"""

LOG4J_PROPERTIES = """\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n%throwable
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
"""


def free_port(taken: set[int]) -> int:
    for port in random.sample(PORTS, 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            # As the JVM does: connections in TIME_WAIT do not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise Failure("no free loopback port between 15000 and 32000")


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    named = Path(home) / "bin" / "java" if home else None
    found = str(named) if named and named.exists() else shutil.which("java")
    if found is None:
        raise Failure("java is missing; run `deploy/stack/stack install`")
    return found


class Stack:
    """One folder: its layout (`stack.json`), its brokers and its registry."""

    def __init__(self, home: Path):
        self.home = home
        self.layout_file = home / "stack.json"
        known = self.layout_file.exists()
        self.layout = json.loads(self.layout_file.read_text()) if known else None

    def save(self, layout: dict) -> None:
        self.layout = layout
        temporary = self.layout_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(layout, indent=2) + "\n")
        temporary.replace(self.layout_file)

    def nodes(self) -> list[int]:
        return [broker["node"] for broker in self.layout["brokers"]]

    def is_alone(self) -> bool:
        return len(self.nodes()) == 1

    def broker(self, node: int) -> Process:
        return Process(f"kafka-{node}", self.home / f"kafka-{node}")

    def lone_controller(self, node: int) -> Process:
        """What a broker that died alone runs as for a moment before it is started again."""
        return Process(f"kafka-{node}, only its controller,", self.broker(node).home / "controller")

    def registry(self) -> Process:
        return Process("registry", self.home / "registry")

    def processes(self) -> list[Process]:
        return [self.broker(node) for node in self.nodes()] + [self.registry()]

    def registry_url(self) -> str:
        return f"http://127.0.0.1:{self.layout['registry_port']}/apis/ccompat/v7"

    def pick_layout(self, options: argparse.Namespace) -> None:
        """Keeps what an earlier `up` chose; a port that is free of choice is drawn anew."""
        old, brokers = self.layout, options.brokers
        port_kafka, port_registry = options.port_kafka, options.port_registry
        if old and len(old["brokers"]) != brokers:
            raise Failure(f"{self.home} holds {len(old['brokers'])} brokers; give another --dir")
        taken = {port for port in (port_kafka, port_registry) if port}
        listed = [
            {"node": node, "port": free_port(taken), "controller_port": free_port(taken)}
            for node in range(1, brokers + 1)
        ]
        if port_kafka:
            listed[0]["port"] = port_kafka
        if options.proxied:
            for broker in listed:
                broker.update(proxied_port=free_port(taken), proxy_port=free_port(taken))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.save({
            # A leading dash would read as an option of the storage tool.
            "cluster_id": old["cluster_id"] if old else cluster_id.replace("-", "A"),
            "brokers": listed,
            "registry_port": port_registry or free_port(taken),
        })

    def write_config(self, broker: dict, process: Process, roles: str, session_ms: int) -> Path:
        home = self.broker(broker["node"]).home
        process.home.mkdir(parents=True, exist_ok=True)
        listed = self.layout["brokers"]
        voters = ",".join(f"{b['node']}@127.0.0.1:{b['controller_port']}" for b in listed)
        config = process.home / "server.properties"
        # Clients that come in on this listener are sent back to the proxy by every answer.
        proxied = {
            f"proxied_{name}": f",PROXIED://127.0.0.1:{broker[port]}" if port in broker else ""
            for name, port in (("listener", "proxied_port"), ("advertised", "proxy_port"))
        }
        replicas = min(len(listed), 3)
        config.write_text(SERVER_PROPERTIES.format(
            node=broker["node"], roles=roles.format(**broker, **proxied), session_ms=session_ms,
            voters=voters, data=home / "data", replicas=replicas,
            min_isr=max(replicas - 1, 1), message_bytes_max=MESSAGE_BYTES_MAX,
        ))
        (home / "log4j2.properties").write_text(LOG4J_PROPERTIES)
        return config

    def kafka_command(self, jars: Path, node: int, heap: str, main: str) -> list[str]:
        log4j = self.broker(node).home / "log4j2.properties"
        return [
            java(), f"-Xmx{heap}", *JVM_FLAGS, f"-Dlog4j2.configurationFile={log4j}",
            f"-Dsendplane.stack.dir={self.home}", "-cp", f"{jars}/kafka/*", main,
        ]

    def format_storage(self, jars: Path, node: int) -> None:
        home = self.broker(node).home
        if (home / "data" / "meta.properties").exists():
            return
        command = self.kafka_command(jars, node, "256m", "kafka.tools.StorageTool")
        config = str(home / "server.properties")
        command += ["format", "-t", self.layout["cluster_id"], "-c", config]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stdout[-2000:] + done.stderr[-2000:]
            raise Failure(f"formatting kafka-{node} failed:\n{said}")

    def start_broker(self, jars: Path, broker: dict) -> None:
        process = self.broker(broker["node"])
        session_ms = LONE_SESSION_MS if self.is_alone() else SESSION_MS
        config = self.write_config(broker, process, BROKER_AND_CONTROLLER, session_ms)
        died = self.is_alone() and fencing.is_unclean(process.home / "data")
        self.format_storage(jars, broker["node"])
        if died:
            self.fence(jars, broker)
        command = self.kafka_command(jars, broker["node"], "384m", "kafka.Kafka")
        process.start([*command, str(config)])

    def fence(self, jars: Path, broker: dict) -> None:
        """Has the controller of a broker that died alone record that it died."""
        process = self.lone_controller(broker["node"])
        config = self.write_config(broker, process, ONLY_CONTROLLER, fencing.SESSION_MS)
        command = self.kafka_command(jars, broker["node"], "256m", "kafka.Kafka")
        process.start([*command, str(config)])
        try:
            process.wait_ready(
                lambda: fencing.await_fenced(process.log_text(), broker["node"]),
                deadline_from_now(),
            )
        finally:
            process.stop(STOP_GRACE_SECONDS)

    def start_registry(self, jars: Path) -> None:
        # On disk like the records of Kafka: schema ids must mean the same after a restart.
        home = self.registry().home
        command = [
            java(), "-Xmx256m", *JVM_FLAGS, f"-Dsendplane.stack.dir={self.home}",
            "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.layout['registry_port']}",
            "-jar", str(runner_jar(jars)),
        ]
        environment = {
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{home}/db",
        }
        self.registry().start(command, environment)

    def wait_brokers(self, deadline: float) -> None:
        nodes = set(self.nodes())
        for broker in self.layout["brokers"]:
            port = broker["port"]
            self.broker(broker["node"]).wait_ready(lambda: readiness.kafka(port, nodes), deadline)

    def wait_registry(self, deadline: float) -> None:
        self.registry().wait_ready(lambda: readiness.registry(self.registry_url()), deadline)

    def write_env(self) -> str:
        bootstrap = ",".join(f"127.0.0.1:{broker['port']}" for broker in self.layout["brokers"])
        pids = " ".join(str(self.broker(node).pid()) for node in self.nodes())
        values = {
            "SENDPLANE_STACK_DIR": str(self.home),
            "SENDPLANE_STACK_BOOTSTRAP": bootstrap,
            "SENDPLANE_STACK_REGISTRY": self.registry_url(),
            "SENDPLANE_STACK_KAFKA_PID": pids,
            "SENDPLANE_STACK_REGISTRY_PID": str(self.registry().pid()),
        }
        routes = [
            f"127.0.0.1:{broker['proxy_port']}>127.0.0.1:{broker['proxied_port']}"
            for broker in self.layout["brokers"] if "proxy_port" in broker
        ]
        if routes:
            # Where a proxy has to listen, and what it forwards to.
            values["SENDPLANE_STACK_PROXY_ROUTES"] = ",".join(routes)
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        temporary = self.home / "env.tmp"
        temporary.write_text(text)
        temporary.replace(self.home / "env")
        return text

    def stop_all(self) -> None:
        fencing_now = [self.lone_controller(node) for node in self.nodes()]
        running = [process for process in [*fencing_now, *self.processes()] if process.pid()]
        for process in running:
            process.terminate()
        # The last of several brokers has no majority of controllers and cannot stop cleanly.
        grace = STOP_GRACE_SECONDS if self.is_alone() else STOP_GRACE_SECONDS / 4
        for process in running:
            say(f"{process.name} {process.stop(grace).replace('was not running', 'stopped')}")
        (self.home / "env").unlink(missing_ok=True)

    def met_busy_port(self) -> bool:
        logs = "".join(process.log_text() for process in self.processes())
        return "already in use" in logs or "seems to be in use" in logs


def deadline_from_now() -> float:
    return time.monotonic() + float(os.environ.get("SENDPLANE_STACK_TIMEOUT_SECONDS", "180"))


def start_all(stack: Stack, jars: Path) -> None:
    deadline = deadline_from_now()
    stack.start_registry(jars)
    for broker in stack.layout["brokers"]:
        stack.start_broker(jars, broker)
    stack.wait_brokers(deadline)
    stack.wait_registry(deadline)


def up(stack: Stack, options: argparse.Namespace) -> None:
    jars = fetch()
    if stack.layout and all(process.pid() for process in stack.processes()):
        stack.wait_brokers(deadline_from_now())
        stack.wait_registry(deadline_from_now())
        print(stack.write_env(), end="")
        return
    started = time.monotonic()
    chosen_by_caller = options.port_kafka or options.port_registry
    for attempt in range(1, PORT_ATTEMPTS + 1):
        if stack.layout:
            stack.stop_all()
        stack.pick_layout(options)
        try:
            start_all(stack, jars)
            break
        except BaseException as error:
            stack.stop_all()
            if not isinstance(error, Failure):
                raise
            # Another process may take a port between the choice and the bind.
            if attempt == PORT_ATTEMPTS or chosen_by_caller or not stack.met_busy_port():
                raise
            say("a port was taken meanwhile, choosing others")
    if options.owner:
        watch(stack, options.owner)
    say(f"ready after {time.monotonic() - started:.1f} s")
    print(stack.write_env(), end="")


def watch(stack: Stack, owner: int) -> None:
    """Leaves a small process behind that takes the stack down when `owner` has ended."""
    if fingerprint(owner) is None:
        stack.stop_all()
        raise Failure(f"--owner {owner}: no such process")
    command = [sys.executable, __file__, "_watch", "--dir", str(stack.home), "--owner", str(owner)]
    Process("watch", stack.home / "watch").start(command)


def run_watch(stack: Stack, options: argparse.Namespace) -> None:
    started = fingerprint(options.owner)
    while fingerprint(options.owner) == started is not None:
        if not any(process.pid() for process in stack.processes()):
            return
        time.sleep(1)
    with locked(stack.home / "lock"):
        Stack(stack.home).stop_all()


def down(stack: Stack, _options: argparse.Namespace) -> None:
    if stack.layout is None:
        say(f"nothing was started in {stack.home}")
        return
    if not any(process.pid() for process in stack.processes()):
        say(f"nothing runs in {stack.home}")
    stack.stop_all()
    Process("watch", stack.home / "watch").stop(STOP_GRACE_SECONDS)


def restart_kafka(stack: Stack, options: argparse.Namespace) -> None:
    """Ends one broker and starts it again on its port with its data."""
    jars = fetch()
    if stack.layout is None:
        raise Failure(f"nothing was started in {stack.home}")
    brokers = {broker["node"]: broker for broker in stack.layout["brokers"]}
    if options.node not in brokers:
        raise Failure(f"no node {options.node} in {stack.home}")
    process = stack.broker(options.node)
    say(f"{process.name} {process.stop(STOP_GRACE_SECONDS, kill=options.kill)}")
    if options.pause:
        time.sleep(options.pause)
    started = time.monotonic()
    stack.start_broker(jars, brokers[options.node])
    stack.wait_brokers(deadline_from_now())
    say(f"{process.name} ready after {time.monotonic() - started:.1f} s")
    print(stack.write_env(), end="")


def stop_registry(stack: Stack, options: argparse.Namespace) -> None:
    """Ends the registry and leaves it down."""
    if stack.layout is None:
        raise Failure(f"nothing was started in {stack.home}")
    process = stack.registry()
    say(f"{process.name} {process.stop(STOP_GRACE_SECONDS, kill=options.kill)}")


def start_registry(stack: Stack, _options: argparse.Namespace) -> None:
    """Starts a registry that is down, on its port with its data."""
    jars = fetch()
    if stack.layout is None:
        raise Failure(f"nothing was started in {stack.home}")
    if stack.registry().pid() is None:
        stack.start_registry(jars)
    stack.wait_registry(deadline_from_now())
    print(stack.write_env(), end="")


def status(stack: Stack, _options: argparse.Namespace) -> None:
    if stack.layout is None:
        raise Failure(f"nothing was started in {stack.home}")
    running = True
    for process in stack.processes():
        pid = process.pid()
        running = running and pid is not None
        print(f"{process.name:10} {'running, pid ' + str(pid) if pid else 'down'}")
    if not running:
        sys.exit(1)
    stack.wait_brokers(time.monotonic())
    stack.wait_registry(time.monotonic())
    print((stack.home / "env").read_text(), end="")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="bring the jars into the cache and print the folder")
    commands.add_parser("checksums", help="write checksums.sha256 anew after a change of pom.xml")
    in_folder = {name: commands.add_parser(name, help=text) for name, text in (
        ("up", "start, wait until ready, print DIR/env"),
        ("down", "stop; the data stays"),
        ("status", "exit 0 if everything runs and answers"),
        ("restart-kafka", "restart a broker on its port with its data"),
        ("stop-registry", "end the registry and leave it down"),
        ("start-registry", "start the registry again on its port with its data"),
        ("_watch", argparse.SUPPRESS),
    )}
    for command in in_folder.values():
        command.add_argument("--dir", required=True, type=lambda text: Path(text).resolve())
    in_folder["up"].add_argument("--brokers", type=int, default=1, choices=range(1, 6))
    in_folder["up"].add_argument("--port-kafka", type=int)
    in_folder["up"].add_argument("--port-registry", type=int)
    in_folder["up"].add_argument(
        "--proxied", action="store_true", help="a second listener that advertises a proxy's ports"
    )
    in_folder["up"].add_argument("--owner", type=int, help="take it down when this pid has ended")
    in_folder["_watch"].add_argument("--owner", type=int, required=True)
    in_folder["restart-kafka"].add_argument("--node", type=int, default=1)
    in_folder["restart-kafka"].add_argument("--kill", action="store_true", help="SIGKILL at once")
    in_folder["stop-registry"].add_argument("--kill", action="store_true", help="SIGKILL at once")
    in_folder["restart-kafka"].add_argument("--pause", type=float, help="seconds to stay down")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.command == "fetch":
        print(fetch())
    elif options.command == "checksums":
        update_checksums()
    elif options.command == "status":
        status(Stack(options.dir), options)
    elif options.command == "_watch":
        run_watch(Stack(options.dir), options)
    else:
        action = {
            "up": up, "down": down, "restart-kafka": restart_kafka,
            "stop-registry": stop_registry, "start-registry": start_registry,
        }[options.command]
        with locked(options.dir / "lock"):
            action(Stack(options.dir), options)


if __name__ == "__main__":
    # So that a SIGTERM while starting takes down what was started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        main()
    except Failure as failure:
        say(str(failure))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
