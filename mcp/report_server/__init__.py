"""The reader: market reports from Redis, over MCP (stdio and streamable HTTP) and plain HTTP.

`service` answers a question, whatever it was, within the time limit: with the stored bytes, their ages brought up to
now (`freshness`), or the part that was asked for (`selection`). Everything else is a way to it. A request comes through
`guard` (who may ask, how often) to `fast_path`, which answers the hot ones in `frames` of its own or with the SDK's
`kept_answers`, and passes the rest on, within a limit (`deadline`), to the SDK's app: there `tools`, `resources` and
`prompts` put answers into MCP's terms, `routes` and `stream` into HTTP's, and `board` serves the page for people.
`changes` brings news of reports from the workers, to clients of old protocols through `legacy_subscriptions`.
`server` composes all this and `serve` runs it.

The reader never writes, and computes or caches no report: what a worker published is what a caller gets.
"""
