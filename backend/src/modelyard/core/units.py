"""Bytes and other figures as people read them; GB = 10^9 bytes, as disks and the Hub count. The page says the same."""

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float | None) -> str:
    """1.5 GB, 497 MB, 0 B; three significant digits at most."""
    if count is None:
        return "unknown"
    unit = 0
    while count >= 999.5 and unit < len(_BYTE_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{significant(count, whole=unit == 0)} {_BYTE_UNITS[unit]}"


def significant(value: float, *, whole: bool = False) -> str:
    if whole or value >= 99.95:
        return str(round(value))
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """8 s, 3 min, 1 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / 24)} days"
