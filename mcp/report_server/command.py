"""`context8 reader`: the reader as a command."""

import argparse
import sys

from app import exit_codes, traces
from app.security.redis import redis_refusal
from app.settings import SettingsError, load

HELP = "serve reports from Redis over MCP and HTTP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the reader to `parser`."""
    parser.add_argument(
        "--transport",
        choices=("http", "stdio"),
        default="http",
        help="http (the default): a server for any number of clients; stdio: for a client that starts it",
    )
    parser.add_argument("--host", help="address to listen on (READER_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=_port, help="port to listen on, 0 for a free one (READER_PORT, 8080)")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name or name:port by which clients call this reader; may be repeated; not needed on loopback",
    )


def run(args: argparse.Namespace) -> int:
    """Run the reader until it is told to stop; 2 if it cannot start, 3 if Redis refuses it."""
    from report_server import serve
    from report_server.security import HostError
    from report_server.tokens import TokenFileError

    try:
        settings = load()
        traces.require(settings)
        refusal = redis_refusal(settings, writes=False)
        if refusal:
            print(f"context8 reader: {refusal}", file=sys.stderr)
            return exit_codes.CANNOT_START
        serve.configure_logging(settings)
        if args.transport == "stdio":
            serve.serve_stdio(settings)
        else:
            host = args.host or settings.reader_host
            port = settings.reader_port if args.port is None else args.port
            serve.serve_http(settings, host, port, args.allowed_host)
    except (SettingsError, HostError, TokenFileError, serve.ListenError) as error:
        print(f"context8 reader: {error}", file=sys.stderr)
        return 2
    return 0


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(text)
