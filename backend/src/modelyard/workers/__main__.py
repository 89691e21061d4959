"""`python -m modelyard.workers api|worker …`: the child processes of the supervisor."""

import argparse
import os
import pkgutil
import resource
import socket
import sys

from modelyard.core.errors import ModelyardError
from modelyard.core.process import EXIT_CONFIGURATION, configure_logging, prepare_process, watch_parent
from modelyard.core.repeated_lines import limit_repeated_lines

MAX_SOCKET_MESSAGE_BYTES = 1_024
"""Clients of the live events have nothing to say."""


def main() -> int:
    prepare_process()
    watch_parent()
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers(dest="part", required=True)
    api = parts.add_parser("api")
    api.add_argument("--application", required=True)
    api.add_argument("--fd", type=int, required=True)
    worker = parts.add_parser("worker")
    worker.add_argument("--celery", required=True)
    worker.add_argument("--queues", type=lambda value: value.split(","), required=True)
    worker.add_argument("--concurrency", type=int)
    arguments = parser.parse_args()
    configure_logging("api" if arguments.part == "api" else "+".join(arguments.queues))
    try:
        if arguments.part == "api":
            return _run_api(arguments.application, arguments.fd)
        return _run_worker(arguments.celery, arguments.queues, arguments.concurrency)
    except ModelyardError as error:
        # The supervisor shows the last line of the log.
        print(f"{error.message} {error.hint or ''}".strip(), file=sys.stderr)
        return EXIT_CONFIGURATION


def _run_api(application: str, descriptor: int) -> int:
    import uvicorn

    from modelyard.workers.http_protocol import BoundedHttpProtocol
    from modelyard.workers.websocket_protocol import SharedDeflateProtocol

    os.set_inheritable(descriptor, False)
    _allow_many_sockets()
    # Of requests that cannot be read, and of files that cannot be served.
    limit_repeated_lines("uvicorn.error", "modelyard.hub.server.metadata", "modelyard.hub.server.file_response")
    config = uvicorn.Config(
        pkgutil.resolve_name(application)(),
        lifespan="on",
        http=BoundedHttpProtocol,
        proxy_headers=False,  # the application decides whose it believes
        ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        ws=SharedDeflateProtocol,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])
    return 0


def _allow_many_sockets() -> None:
    """Each open page holds a socket; the limit on open files is raised to what this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_worker(celery: str, queues: list[str], concurrency: int | None) -> int:
    from modelyard.workers.celery_app import run_worker

    return run_worker(queues, concurrency=concurrency, app=pkgutil.resolve_name(celery))


if __name__ == "__main__":
    sys.exit(main())
