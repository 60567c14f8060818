"""An exchange on loopback that speaks Binance Spot's public REST and WebSocket.

It exists so that the producer, the real NautilusTrader adapter included, can run and be tested without the
network. From the inside out:

- pure, time is an argument: `units` (decimal text), `symbols` (trading rules), `book`, `ticker`, `streams`
  (what follows from a book and its trades), `sim` (synthetic market), `tape` and `replay` (recorded market);
- `market` is the one interface of both sources;
- `faults` lets things go wrong on request, on the way from the market to the clients;
- `rest`, `control`, `hub` and `server` put a market on a port; `command` is `context8 exchange`.
"""
