"""What the producer's tests share: NautilusTrader, imported once and quietly."""

import warnings

with warnings.catch_warnings():
    # pandas 2.3 does at import what numpy 2.5 warns of; here warnings are errors.
    warnings.filterwarnings("ignore", "The 'generic' unit for NumPy timedelta", DeprecationWarning)
    import nautilus_trader.config  # noqa: F401
