"""Many sockets of live events in one process: `python -m scaling.clients PORT COUNT SECONDS [--plain]`.

Prints one line of JSON: for each number of a report, the moments (of the monotonic clock) at which the clients had it
or a newer one; snapshots beyond the first, sockets that were cut off, messages, bytes on the wire, processor seconds.
As little as possible is done with a message: it is inflated, and the number of the report is looked for.
"""

import asyncio
import base64
import json
import os
import resource
import sys
import time
import zlib
from typing import Any

MARK = b"report "
_END_OF_BLOCK = b"\x00\x00\xff\xff"


class Client(asyncio.Protocol):
    """One socket that reads."""

    def __init__(self, port: int, *, plain: bool) -> None:
        self.port, self.plain = port, plain
        self.buffer = bytearray()
        self.upgraded = False
        self.receipts: list[tuple[int, float]] = []
        self.messages = self.snapshots = self.wire_bytes = 0
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        offer = "" if self.plain else "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /api/v1/events?batch=true HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n".encode()
        )

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self.wire_bytes += len(data)
        self.buffer += data
        if not self.upgraded:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), bytes(head)
            assert (b"permessage-deflate" in head) is not self.plain
            self.upgraded, self.buffer = True, bytearray(rest)
        while self._take_frame():
            pass

    def _take_frame(self) -> bool:
        if len(self.buffer) < 2:
            return False
        kind, size, start = self.buffer[0], self.buffer[1] & 127, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(self.buffer) < start:
                return False
            size = int.from_bytes(self.buffer[2:start], "big")
        if len(self.buffer) < start + size:
            return False
        payload = bytes(self.buffer[start : start + size])
        del self.buffer[: start + size]
        if kind & 15 == 9:  # a ping, answered with an empty mask
            self.transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        elif kind & 15 == 1:
            inflate = zlib.decompressobj(wbits=-15)
            self._receive(inflate.decompress(payload + _END_OF_BLOCK) if kind & 64 else payload)
        return True

    def _receive(self, payload: bytes) -> None:
        self.messages += 1
        self.snapshots += payload.startswith(b'{"type":"snapshot"')
        found = payload.find(MARK)
        if found >= 0:
            number = payload[found + len(MARK) : payload.index(b'"', found)]
            self.receipts.append((int(number), time.monotonic()))


async def run(port: int, count: int, seconds: float, *, plain: bool) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(lambda: Client(port, plain=plain), "127.0.0.1", port)
        clients.append(client)
    print("connected", flush=True)
    await asyncio.sleep(seconds)
    return clients


def main() -> None:
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = asyncio.run(run(port, count, seconds, plain="--plain" in sys.argv))
    moments: dict[int, list[float]] = {}
    for client in clients:
        last = None
        for number, moment in client.receipts:
            for each in range(number if last is None else last + 1, number + 1):
                moments.setdefault(each, []).append(moment)
            last = number if last is None else max(last, number)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "moments": moments,
                "again": sum(max(0, client.snapshots - 1) for client in clients),
                "lost": sum(client.lost for client in clients),
                "messages": sum(client.messages for client in clients),
                "wire_bytes": sum(client.wire_bytes for client in clients),
                "cpu_seconds": used.ru_utime + used.ru_stime,
            }
        )
    )


if __name__ == "__main__":
    main()
