"""Settings as the parameters of an engine: the same for a live worker and a backtest."""

from app.microstructure.engine import EngineParams
from app.microstructure.metrics.volume_profile import ProfileParams
from app.settings import Settings


def engine_params(config: Settings) -> EngineParams:
    """Return what `config` says about windows and thresholds."""
    return EngineParams(
        flow_window_sec=config.flow_window_sec,
        degraded_after_ms=config.degraded_after_ms,
        down_after_ms=config.down_after_ms,
        profile=ProfileParams(window_sec=config.report_window_sec),
    )
