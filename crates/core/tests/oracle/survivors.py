"""What a year of backups leaves behind under some rules: writes survivors.txt to standard output.

After each backup that is made, what no rule keeps goes. A row for each schedule, zone and set of rules:
`cron | zone | first day | days | rules | made | check | survivors`.

- Of every eleven backups the fourth was not made, and none in the 20 days after the first 180.
- check: over all that is left after each backup, the oldest first, check = (check * 31 + minutes since 1970)
  mod (2^31 - 1).
- survivors: what is left in the end, the oldest first.

The reckoning is by counting, backup by backup: one stays if no later one lies in its stretch of the calendar, and
fewer later stretches hold a backup than the rule says. Zones are those of the `tzdata` package.
"""

import zoneinfo
from datetime import date, datetime, time, timedelta, timezone

UTC = timezone.utc

# cron, first day, days, rules; within is in hours.
CASES = [
    ("45 23 * * *", date(2026, 1, 1), 365, {"last": 7}),
    ("45 23 * * *", date(2026, 1, 1), 365, {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 3}),
    ("45 23 * * *", date(2026, 1, 1), 365, {"within": 240, "weekly": 8}),
    ("30 4 * * *", date(2026, 1, 1), 365, {"daily": 3, "weekly": 60}),
    ("30 4 * * *", date(2026, 7, 1), 365, {"last": 1, "monthly": 6, "yearly": 2}),
    ("0 5,11,17,23 * * *", date(2026, 1, 1), 365, {"last": 2, "hourly": 12, "daily": 14, "monthly": 3}),
    # Around the autumn's change of clocks in the north, and around the south's.
    ("*/30 * * * *", date(2026, 10, 20), 20, {"hourly": 30, "daily": 5}),
    ("*/30 * * * *", date(2026, 3, 25), 20, {"hourly": 30, "daily": 5}),
]
ZONES = ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]


def dues(cron, zone, first, days):
    if cron == "*/30 * * * *":
        at = datetime.combine(first, time(0), zone).astimezone(UTC)
        end = datetime.combine(first + timedelta(days), time(0), zone).astimezone(UTC)
        while at < end:
            yield at
            at += timedelta(minutes=30)
        return
    minute, hours = cron.split(" ")[:2]
    for day in range(days):
        for hour in hours.split(","):
            yield datetime.combine(first + timedelta(day), time(int(hour), int(minute)), zone).astimezone(UTC)


def is_made(index):
    return index % 11 != 3 and not 180 <= index < 200


def stretch(rule, at, zone):
    local = at.astimezone(zone)
    year, week, _ = local.isocalendar()
    return {
        "hourly": (local.date(), local.hour, local.utcoffset()),
        "daily": local.date(),
        "weekly": (year, week),
        "monthly": (local.year, local.month),
        "yearly": local.year,
    }[rule]


def is_kept(at, there, rules, zone, now):
    later = [other for other in there if other > at]
    for rule, count in rules.items():
        if rule == "last":
            kept = len(later) < count
        elif rule == "within":
            kept = now - at <= timedelta(hours=count)
        else:
            own, others = stretch(rule, at, zone), {stretch(rule, other, zone) for other in later}
            kept = own not in others and len(others) < count
        if kept:
            return True
    return not later


def main():
    zoneinfo.reset_tzpath(to=[])
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        for cron, first, days, rules in CASES:
            there, made, check = [], 0, 0
            for index, at in enumerate(dues(cron, zone, first, days)):
                if not is_made(index):
                    continue
                made += 1
                there.append(at)
                now = at + timedelta(minutes=20)
                there = [one for one in there if is_kept(one, there, rules, zone, now)]
                for one in there:
                    check = (check * 31 + int(one.timestamp()) // 60) % (2**31 - 1)
            said = " ".join(f"{rule}={count}" for rule, count in rules.items())
            left = " ".join(f"{one:%Y-%m-%dT%H:%MZ}" for one in there)
            print(f"{cron} | {name} | {first} | {days} | {said} | {made} | {check} | {left}")


if __name__ == "__main__":
    main()
