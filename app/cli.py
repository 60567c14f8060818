"""The `context8` command: one subcommand for each thing that people start."""

import argparse
import sys
from importlib import import_module
from typing import Final

# Imported only when asked for: a reader needs no Faust, a worker no NautilusTrader.
_COMMANDS: Final = {
    "demo": "app.stack.demo",
    "exchange": "producer.exchange.command",
    "record": "producer.record.command",
    "producer": "producer.command",
    "worker": "app.worker_command",
    "reader": "report_server.command",
    "report": "app.terminal.report_command",
    "watch": "app.terminal.watch_command",
    "topics": "app.topics_command",
    "repartition": "app.repartition_command",
    "doctor": "app.doctor.command",
    "backtest": "producer.backtest.command",
    "plot": "app.plot.command",
    "scorecard": "app.scorecard.command",
    "faults": "producer.faults.__main__",
}
_HELP: Final = {
    "demo": "run the whole system on this machine and show live reports",
    "exchange": "replay server that speaks Binance Spot, from a tape or a simulated market",
    "record": "write live market data to tapes, for backtest, plot and exchange",
    "producer": "read Binance (or the replay server) and publish events to Kafka",
    "worker": "compute reports from events; start as many as you like",
    "reader": "answer questions about reports over MCP and HTTP",
    "report": "show the newest report of a symbol",
    "watch": "watch the reports of all symbols, or of some",
    "topics": "create the Kafka topics and check those that exist",
    "repartition": "give the topics more partitions, and move every symbol's state along",
    "doctor": "check everything that a deployment needs, and say what to do",
    "backtest": "compute the same reports from recorded data, without Kafka or Redis",
    "plot": "draw reports over time as PNG and HTML",
    "scorecard": "score the anomaly detectors on patterns with known truth",
    "faults": "hold the producer's client and the stock one to every fault, and print both columns",
}


def main(argv: list[str] | None = None) -> int:
    """Run the subcommand named in `argv` and return its exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="context8", description="Live market microstructure on Kafka.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    for name, summary in _HELP.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:
            import_module(_COMMANDS[name]).add_arguments(subparser)
    parsed = parser.parse_args(arguments)
    return int(import_module(_COMMANDS[parsed.command]).run(parsed))


if __name__ == "__main__":
    sys.exit(main())
