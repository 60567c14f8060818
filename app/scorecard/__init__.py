"""How good are the detectors? Patterns of known truth are injected into market data, and what is reported is scored.

streams → inject (venue, scripts) → watch → score → document. Everything follows from seeds; nothing reads a clock.
"""
