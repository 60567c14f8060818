"""The proof of the producer's books: faults on the real protocol, and what the published books were meanwhile.

- `truth`: the server's own book, noted at every update id at which a client could stand;
- `judge`: what was published, compared with it, state by state;
- `adapters`: our client and NautilusTrader's stock client, both with real sockets, publishing into a judge;
- `cases`: the faults;
- `trial`: one case against one adapter;
- `__main__`: `python -m producer.faults`, all cases against both, written to docs/producer.md.
"""
