"""Recorded data through the live path: NautilusTrader objects, the live actor, its event bytes, the same engine.

| module      | what it does                                                                           |
|-------------|----------------------------------------------------------------------------------------|
| `source`    | what a recording must offer                                                            |
| `tape`      | tape → NautilusTrader objects, with the books spliced as the live client splices them  |
| `catalog`   | NautilusTrader Parquet catalog → NautilusTrader objects                                |
| `nautilus`  | objects → NautilusTrader's `BacktestEngine` → `producer.actor` → event bytes           |
| `order`     | events in order of receipt → events in order of event time                             |
| `as_of`     | events → engines → a report of every symbol at every as-of time                        |
| `output`    | reports → a JSON Lines or Parquet file, whole or not at all                            |

Which report has seen which message is said in `order`.
"""
