"""The pure core: market events and times in, reports out.

Nothing in this package opens a socket, reads a clock, the environment or a file, or logs. A lint test
(tests/app/microstructure/test_purity.py) keeps the infrastructure libraries out.
"""
