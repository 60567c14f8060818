"""`context8 exchange`: a recorded or a synthetic market behind Binance Spot's public API, on loopback."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from producer.exchange.market import Market
    from producer.exchange.sim import SimMarket

HELP: Final = "serve recorded or synthetic market data as Binance Spot does"

DEFAULT_PORT: Final = 9080
DEFAULT_SYMBOLS: Final = "BTCUSDT,ETHUSDT"
DEFAULT_SEED: Final = 7
DEFAULT_RATE: Final = 200.0
DEFAULT_SCENARIO_RATE: Final = 20.0  # in a faster market an iceberg's price is left before it is found
DEFAULT_SPEED: Final = 1.0
DEFAULT_START_DELAY: Final = 1.0
DEFAULT_TRUTH: Final = Path("truth.jsonl")

_TAPE_ONLY: Final = ("speed", "loop", "keep_times", "start_delay")
_SIM_ONLY: Final = ("market", "symbols", "seed", "rate", "distinct", "scenario", "truth")
_SCENARIO_ON_TAPE: Final = (
    "--scenario does not work with --tape, whose market and clock begin with a client and may jump;"
    " `context8 scorecard --tape FILE` plays every scenario into a recording and scores the detectors"
)
_RANGES: Final = {
    "port": (0, 65535),
    "speed": (0.01, 1000),
    "start_delay": (0, 3600),
    "rate": (1, 5000),
    "distinct": (1, 1000),
}


class UsageError(ValueError):
    """One line that says which arguments do not go together or are out of range."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments. Defaults that depend on the source are filled in by `run`."""
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port, 0 for a free one (default: %(default)s)")
    tape = parser.add_argument_group("recorded market")
    tape.add_argument("--tape", type=Path, nargs="+", metavar="FILE", help="files of one recording, gzipped or not")
    tape.add_argument(
        "--speed", type=float, metavar="N", help=f"times as fast as recorded (default: {DEFAULT_SPEED:g})"
    )
    tape.add_argument("--loop", action="store_true", default=None, help="start over at the end, ids and times go on")
    tape.add_argument(
        "--keep-times", action="store_true", default=None, help="leave event times as recorded (default: now)"
    )
    tape.add_argument(
        "--start-delay",
        type=float,
        metavar="SECONDS",
        help="the tape waits for a subscription, and then until there was no further one for this long"
        f" (default: {DEFAULT_START_DELAY:g})",
    )
    sim = parser.add_argument_group("synthetic market")
    sim.add_argument("--market", choices=["sim"], help="the default where no tape is given")
    sim.add_argument("--symbols", metavar="A,B", help=f"symbols (default: {DEFAULT_SYMBOLS})")
    sim.add_argument("--seed", type=int, help=f"the same seed gives the same market (default: {DEFAULT_SEED})")
    sim.add_argument(
        "--rate",
        type=float,
        help=f"trades and 100 ms book updates together, per second and symbol, on average (default: {DEFAULT_RATE:g},"
        f" with --scenario {DEFAULT_SCENARIO_RATE:g})",
    )
    sim.add_argument(
        "--distinct",
        type=int,
        metavar="N",
        help="simulate N symbols only; the others are copies of them, at a twentieth of the cost (default: all)",
    )
    sim.add_argument(
        "--scenario",
        metavar="NAME@TIME[:SYMBOL],…",
        help="what happens when, such as spoofing@90s,flash_crash@3m:ETHUSDT; a wrong name lists all;"
        " detectors learn for a minute first",
    )
    sim.add_argument(
        "--truth", type=Path, metavar="FILE", help=f"what was played when, as JSON lines (default: {DEFAULT_TRUTH})"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    from producer.exchange.server import check_loopback
    from producer.exchange.tape import TapeError

    start_ns = time.time_ns()
    try:
        check_arguments(args)
        check_loopback(args.host)
        market, source = open_market(args)
    except (UsageError, TapeError, ValueError) as error:
        return _fail(error, code=2)
    import uvloop

    return uvloop.run(_serve(market, source, args.host, args.port, start_ns))


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that do not go together or are out of range.

    Raises:
        UsageError: they do.
    """
    if args.tape and args.scenario:
        raise UsageError(_SCENARIO_ON_TAPE)
    other, problem = (_SIM_ONLY, "does not work") if args.tape else (_TAPE_ONLY, "only works")
    for name in other:
        if getattr(args, name) is not None:
            raise UsageError(f"{_flag(name)} {problem} with --tape")
    if args.distinct and args.scenario:
        raise UsageError("--distinct does not work with --scenario")
    if args.truth and not args.scenario:
        raise UsageError("--truth only works with --scenario")
    if args.loop and args.keep_times:
        raise UsageError("--loop does not work with --keep-times: event times would go back")
    for name, (least, most) in _RANGES.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"{_flag(name)} {value:g} is not allowed: {least:g} to {most:g}")


def open_market(args: argparse.Namespace) -> tuple["Market", str]:
    """Return the market that the arguments ask for, and a few words on it.

    Raises:
        ValueError: a symbol is not allowed.
        TapeError: the tape cannot be played.
    """
    return _tape_market(args) if args.tape else _sim_market(args)


def _tape_market(args: argparse.Namespace) -> tuple["Market", str]:
    from producer.exchange.replay import TapeMarket
    from producer.exchange.survey import survey
    from producer.exchange.tape import Record, read_tape

    paths: Sequence[Path] = args.tape

    def read() -> Iterator[Record]:
        return read_tape(paths)

    held = survey(read())
    delay = DEFAULT_START_DELAY if args.start_delay is None else args.start_delay
    speed = args.speed or DEFAULT_SPEED
    market = TapeMarket(
        held,
        read,
        speed=speed,
        loop=bool(args.loop),
        keep_times=bool(args.keep_times),
        start_delay_ns=int(delay * 1e9),
    )
    files = ", ".join(path.name for path in paths)
    how = f"{', looped' if args.loop else ''}; starts {delay:g} s after the last subscription"
    return market, f"{','.join(held.symbols)}, tape {files} ({held.lines} lines) at speed {speed:g}{how}"


def _sim_market(args: argparse.Namespace) -> tuple["Market", str]:
    from producer.exchange.copies import CopiedMarket
    from producer.exchange.sim import SimMarket

    symbols = list(dict.fromkeys((args.symbols or DEFAULT_SYMBOLS).split(",")))
    seed = DEFAULT_SEED if args.seed is None else args.seed
    rate = args.rate or (DEFAULT_SCENARIO_RATE if args.scenario else DEFAULT_RATE)
    start_ns = time.time_ns()
    market = SimMarket(symbols[: args.distinct], seed=seed, rate=rate, start_ns=start_ns)
    source = f"{','.join(symbols)}, synthetic, seed {seed}, {rate:g} events/s each"
    if len(market.symbols()) < len(symbols):
        return CopiedMarket(market, symbols), f"{source}, {args.distinct} distinct"
    if args.scenario is None:
        return market, source
    return _staged(market, args, seed, start_ns), f"{source}; {args.scenario}, truth in {args.truth or DEFAULT_TRUTH}"


def _staged(market: "SimMarket", args: argparse.Namespace, seed: int, start_ns: int) -> "Market":
    from producer.exchange.scenario import TruthFile, parse
    from producer.exchange.stage import ScenarioMarket

    planned = parse(args.scenario, market.symbols())
    path = args.truth or DEFAULT_TRUTH
    try:
        truth = TruthFile(path)
    except OSError as error:
        raise UsageError(f"--truth {path}: {error.strerror or error}") from None
    return ScenarioMarket(market, planned, seed=seed, start_ns=start_ns, tell=truth.tell)


async def _serve(market: "Market", source: str, host: str, port: int, start_ns: int) -> int:
    import asyncio
    import errno
    import signal

    from producer.exchange.server import ExchangeServer
    from producer.exchange.tape import TapeError

    server = ExchangeServer(market, host=host, port=port, start_ns=start_ns)
    try:
        await server.start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or error
        return _fail(f"cannot listen on {host}:{port}: {reason}", code=1)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"exchange: {server.http_url} and {server.ws_url}: {source}", flush=True)
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(server.ended())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    try:
        await server.stop()
    except TapeError as error:
        return _fail(error, code=1)
    return 0


def _fail(problem: object, code: int) -> int:
    print(f"context8 exchange: {problem}", file=sys.stderr)
    return code


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
