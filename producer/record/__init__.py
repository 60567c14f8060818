"""Live market data written down as it comes, in the format that `context8 exchange` and `context8 backtest` read.

- `tape_file`: the files: gzip members that are whole at any moment, parts;
- `book`: when a recording needs a depth snapshot, so that its book can be replayed;
- `recorder`: connections, messages, snapshots;
- `command`: `context8 record`.
"""
