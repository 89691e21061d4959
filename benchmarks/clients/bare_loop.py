"""The least a download can cost on this machine: receive, write, sha256, one thread per file, and nothing else.

    python -I -S benchmarks/clients/bare_loop.py TARGET URL …

No retries, no resume, no progress, no check of what arrives. `benchmarks/download.py` runs it as the floor.
"""

import hashlib
import os
import socket
import sys
import threading

BUFFER_BYTES = 1 << 20


def fetch(url: str, target: str) -> None:
    """Fetch one plain HTTP URL into the folder `target`, under its last part."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    view = memoryview(bytearray(BUFFER_BYTES))
    with socket.create_connection((name, int(port))) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        count = connection.recv_into(view)
        head, _, body = bytes(view[:count]).partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        left = int(lines[b"content-length"])
        view[: len(body)] = body
        filled, position = len(body), 0
        hasher = hashlib.sha256()
        descriptor = os.open(os.path.join(target, path.rsplit("/", 1)[-1]), os.O_CREAT | os.O_RDWR)  # noqa: PTH118
        while left:
            while filled < min(left, BUFFER_BYTES):
                count = connection.recv_into(view[filled:])
                if count == 0:
                    raise ConnectionError(f"{url} ended early")
                filled += count
            os.pwrite(descriptor, view[:filled], position)
            hasher.update(view[:filled])
            position, left, filled = position + filled, left - filled, 0
        os.close(descriptor)


def main() -> None:
    target, *urls = sys.argv[1:]
    threads = [threading.Thread(target=fetch, args=(url, target)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
