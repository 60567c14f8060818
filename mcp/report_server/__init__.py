"""The reader: market reports from Redis, over MCP (stdio and streamable HTTP) and plain HTTP.

One request takes one path: `service` checks the symbol and reads the store within the time limit, `tools`
puts the answer into MCP's terms and `routes` into HTTP's; `server` composes them and `serve` runs them.
The reader never writes, computes or caches: what a worker published is what a caller gets.
"""
