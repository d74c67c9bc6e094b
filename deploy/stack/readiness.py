"""Readiness by real calls: a few Kafka requests in their oldest encodings, and one HTTP GET.

Each probe returns when the service is ready and raises one of NOT_READY when it is not.
"""

from __future__ import annotations

import http.client
import socket
import struct
import urllib.request

TIMEOUT_SECONDS = 5
NOT_READY = (OSError, ValueError, struct.error, http.client.HTTPException)
METADATA, FIND_COORDINATOR, API_VERSIONS = 3, 10, 18
GROUP_COORDINATOR, TRANSACTION_COORDINATOR = 0, 1


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">h", len(encoded)) + encoded


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    chunks = b""
    while len(chunks) < size:
        chunk = connection.recv(size - len(chunks))
        if not chunk:
            raise ConnectionError("the broker closed the connection")
        chunks += chunk
    return chunks


def _call(port: int, api: int, version: int, body: bytes) -> bytes:
    correlation = 7
    request = struct.pack(">hhi", api, version, correlation) + _string("sendplane-stack") + body
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read_exactly(connection, 4))
        if not 4 <= size <= 1 << 20:
            raise ValueError("not a Kafka broker")
        response = _read_exactly(connection, size)
    if struct.unpack_from(">i", response)[0] != correlation:
        raise ValueError("answer to another request")
    return response[4:]


def _broker_ids(port: int) -> set[int]:
    response = _call(port, METADATA, 1, struct.pack(">i", 0))
    (count,) = struct.unpack_from(">i", response)
    offset, ids = 4, set()
    for _ in range(count):
        node, host_length = struct.unpack_from(">ih", response, offset)
        ids.add(node)
        offset += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", response, offset)
        offset += 2 + max(rack_length, 0)
    return ids


def kafka(port: int, nodes: set[int]) -> None:
    """The broker speaks, sees all nodes, and both coordinators have an owner."""
    (error,) = struct.unpack_from(">h", _call(port, API_VERSIONS, 0, b""))
    if error:
        raise ValueError(f"ApiVersions error {error}")
    seen = _broker_ids(port)
    if seen != nodes:
        raise ValueError(f"brokers {sorted(seen)} of {sorted(nodes)}")
    for kind in (GROUP_COORDINATOR, TRANSACTION_COORDINATOR):
        # The first such call creates the internal topic, so no client has to wait for it later.
        body = _string("sendplane-stack") + struct.pack(">b", kind)
        _, error = struct.unpack_from(">ih", _call(port, FIND_COORDINATOR, 1, body))
        if error:
            raise ValueError(f"FindCoordinator({kind}) error {error}")


def registry(url: str) -> None:
    with urllib.request.urlopen(f"{url}/subjects", timeout=TIMEOUT_SECONDS) as response:
        if response.status != 200:
            raise ValueError(f"GET /subjects: {response.status}")
        response.read()
