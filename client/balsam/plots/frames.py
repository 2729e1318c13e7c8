"""Series as data frames of pandas, where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.errors import ValidationError

if TYPE_CHECKING:
    import pandas

    from balsam.plots.series import Series


def frame_of(series: Series) -> pandas.DataFrame:
    """A row for each bin; see `Series.frame`."""
    columns: dict[str, Any] = {"seconds": series.widths}
    columns |= {f"jobs_{state}": counts for state, counts in series.jobs.items()}
    columns |= {f"entered_{state}": counts for state, counts in series.entered.items()}
    columns |= {"nodes": series.nodes, "capacity": series.capacity() if series.edges else []}
    pd = _pandas()
    return pd.DataFrame(columns, index=pd.DatetimeIndex(series.times()[:-1], name="time", tz="UTC"))


def stays_frame_of(series: Series) -> pandas.DataFrame:
    """A row for each state; see `Series.stays_frame`."""
    rows = [(s.count, s.mean, s.low, s.median, s.high) for s in series.stays.values()]
    pd = _pandas()
    index = pd.Index(list(series.stays), name="state", dtype=object)
    return pd.DataFrame(rows, index=index, columns=["count", "mean", "low", "median", "high"])


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ValidationError("data frames need the package pandas: `pip install pandas`") from None
    return pandas
