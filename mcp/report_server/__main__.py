"""`python -m report_server`: the same as `context8 reader`."""

import argparse
import sys

from report_server.command import HELP, add_arguments, run

parser = argparse.ArgumentParser(prog="python -m report_server", description=HELP)
add_arguments(parser)
sys.exit(run(parser.parse_args()))
