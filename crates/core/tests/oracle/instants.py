"""What croniter (PyPI) has due in 2026 and 2027: writes instants.txt to standard output.

A row for each pattern and zone: `cron | zone | count | check | near changes of the zone's offset`.

- check: over all instants in order, check = (check * 31 + minutes since 1970) mod (2^31 - 1).
- near changes: the instants within two days of each, as the first one and then `COUNTxMINUTES` for equal steps.

Zones are those of the `tzdata` package, whatever the machine has.
"""

import zoneinfo
from datetime import datetime, timedelta, timezone
from itertools import groupby

from croniter import croniter

ZONES = [
    "Asia/Shanghai",
    "Asia/Kathmandu",  # off by 5:45, no changes
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Santiago",  # changes at midnight
    "Africa/Cairo",  # changes at midnight, between Thursday and Friday
]

CRONS = [
    # Intervals: all hours match.
    "*/30 * * * *",
    "0 * * * *",
    "45 * * * *",
    "15 0-23 * * *",
    # Several times of day.
    "0 */6 * * *",
    "0 2,3 * * *",
    "*/20 1-3 * * *",
    "10,50 23,0 * * *",
    # Daily, in a gap or a fold of some zone.
    "0 0 * * *",
    "30 0 * * *",
    "45 1 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "30 23 * * *",
    # Daily, outside all.
    "5 12 * * *",
    # Days of the week, of the month, and of both.
    "30 2 * * 0",
    "0 0 * * fri",
    "0 2 * * mon-fri",
    "30 2 1,15 * *",
    "0 4 31 * *",
    "30 2 L * *",
    "0 22 * * sat#2",
    "30 1 1 * 7",
    "0 0 8-14 3,9 sun",
]

FROM, TO = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2028, 1, 1, tzinfo=timezone.utc)
NEAR = timedelta(days=2)


def changes(zone):
    """The instants at which the zone's offset changes, to the quarter of an hour."""
    step = timedelta(minutes=15)
    instants = (FROM + step * index for index in range((TO - FROM) // step))
    return [at for at in instants if at.astimezone(zone).utcoffset() != (at - step).astimezone(zone).utcoffset()]


def due(cron, zone):
    iterator = croniter(cron, (FROM - timedelta(seconds=1)).astimezone(zone))
    while (at := iterator.get_next(datetime).astimezone(timezone.utc)) < TO:
        yield at


def near(instants, change):
    minutes = [int(at.timestamp()) // 60 for at in instants if abs(at - change) <= NEAR]
    if not minutes:
        return "-"
    steps = (later - earlier for earlier, later in zip(minutes, minutes[1:]))
    runs = [f"{len(list(equal))}x{step}" for step, equal in groupby(steps)]
    return " ".join([f"{datetime.fromtimestamp(minutes[0] * 60, timezone.utc):%Y-%m-%dT%H:%MZ}", *runs])


def main():
    zoneinfo.reset_tzpath(to=[])
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        for cron in CRONS:
            instants = list(due(cron, zone))
            check = 0
            for at in instants:
                check = (check * 31 + int(at.timestamp()) // 60) % (2**31 - 1)
            nearby = ", ".join(near(instants, change) for change in changes(zone))
            print(f"{cron} | {name} | {len(instants)} | {check} | {nearby}".rstrip())


if __name__ == "__main__":
    main()
