"""What ``weed filer.sync`` says of itself: counters in Prometheus' text format, one set for each direction. Pure.

They begin anew when it is restarted. ``lag_seconds`` is not read: it saws between 0 and 5 s while nothing happens.
"""

from __future__ import annotations

import re
from typing import Final

from teraferry.installer.blue_green_ports import ReplicationObservation

PREFIX: Final = "SeaweedFS_filerSync_"
FIELDS: Final = {
    "events_received_total": "received",
    "events_processed_total": "processed",
    "in_flight_jobs": "in_flight",
    "events_failed_total": "failed",
}

_SAMPLE: Final = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)\{([^}]*)\} (\S+)$")


class MetricsUnclearError(ValueError):
    """The text does not say what was asked; its message says what is missing."""


def parse_metrics(text: str, *, source: str, target: str, path: str) -> ReplicationObservation:
    """Return the counts from ``source`` to ``target``, filers as they were named to ``filer.sync``.

    Raises:
        MetricsUnclearError: A count is missing, or there twice.
    """
    wanted = {f'sourceFiler="{source}"', f'targetFiler="{target}"', f'path="{path}"'}
    counts: dict[str, int] = {}
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None or not sample[1].startswith(PREFIX):
            continue
        field = FIELDS.get(sample[1].removeprefix(PREFIX))
        if field is None or not wanted <= set(sample[2].split(",")):
            continue
        if field in counts:
            raise MetricsUnclearError(f"{field} from {source} to {target} twice")
        counts[field] = _count(sample[3])
    missing = [field for field in FIELDS.values() if field not in counts]
    if missing:
        raise MetricsUnclearError(f"no {', '.join(missing)} from {source} to {target} below {path}")
    return ReplicationObservation(**counts)


def _count(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**53 or value != int(value):
        raise MetricsUnclearError(f"{text[:40]} as a count")
    return int(value)
