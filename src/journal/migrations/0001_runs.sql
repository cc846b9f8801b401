-- Numbers the epochs of monotonic time: see backup_core::moment.
CREATE TABLE epoch (
    number INTEGER NOT NULL,
    behind INTEGER NOT NULL                         -- the cloud may know of backups that this journal does not
) STRICT;
INSERT INTO epoch VALUES (0, 1);

-- What runs were planned with. Few distinct ones, many runs.
CREATE TABLE policies (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL UNIQUE                       -- JSON
) STRICT;

CREATE TABLE runs (
    job        TEXT NOT NULL,
    disk       TEXT NOT NULL,
    due        INTEGER NOT NULL,                    -- unix seconds
    target     TEXT NOT NULL,
    owner      TEXT NOT NULL,                       -- with job and due, the backup's name
    policy     INTEGER NOT NULL REFERENCES policies (id),
    start_at   INTEGER NOT NULL,                    -- unix milliseconds, like all below
    state      TEXT NOT NULL,                       -- the state's name
    body       TEXT NOT NULL,                       -- the state, JSON
    attempts   INTEGER NOT NULL,
    setback    TEXT,                                -- JSON
    unsure     INTEGER NOT NULL,
    taken      TEXT,                                -- the point that it took away to make room, JSON
    snapshot   TEXT,                                -- what its good backup was promoted to
    stays      INTEGER NOT NULL DEFAULT 0,          -- that snapshot has no deadline
    attend_at  INTEGER,                             -- not worth a look before; a hint: the state decides
    version    INTEGER NOT NULL DEFAULT 0,          -- counts what happened to the row: see Change::Attend
    began_at   INTEGER,                             -- the first attempt's intent
    ended_at   INTEGER,
    reported   INTEGER NOT NULL DEFAULT 0,          -- outbox: its terminal event has been logged
    missing    INTEGER NOT NULL DEFAULT 0,          -- from how many listings in a row its good backup was missing
    PRIMARY KEY (job, disk, due)
) STRICT, WITHOUT ROWID;

-- With `ended_at`, which is always none, these two cover: an entry whose row is lost is seen, and not passed over.
CREATE INDEX runs_to_attend ON runs (target, state, attend_at, ended_at) WHERE ended_at IS NULL;
CREATE INDEX runs_of_disk ON runs (disk, state, ended_at) WHERE ended_at IS NULL;
CREATE INDEX runs_to_report ON runs (ended_at) WHERE ended_at IS NOT NULL AND reported = 0;
-- Covering: the good backups of each job and disk are counted without a look at their rows.
CREATE INDEX runs_good ON runs (disk, job, state, missing) WHERE state = 'completed' AND missing < 3;
CREATE INDEX runs_promoted ON runs (disk) WHERE snapshot IS NOT NULL;
CREATE INDEX runs_by_due ON runs (due);
CREATE INDEX runs_completed ON runs (ended_at) WHERE state = 'completed';

-- The watermark: up to where the due instants of a job on a disk have been planned, and by which schedule.
CREATE TABLE schedules (
    job             TEXT NOT NULL,
    disk            TEXT NOT NULL,
    schedule        TEXT NOT NULL,
    planned_through INTEGER NOT NULL,               -- unix seconds
    next_due        INTEGER,                        -- unix seconds; of `schedule`, after planned_through
    PRIMARY KEY (job, disk)
) STRICT, WITHOUT ROWID;

CREATE INDEX schedules_next ON schedules (next_due);

-- Jobs whose disks were listed, and what was asked for.
CREATE TABLE selections (
    job       TEXT PRIMARY KEY,
    target    TEXT NOT NULL,
    selection TEXT NOT NULL                         -- JSON
) STRICT, WITHOUT ROWID;

-- The inventory: the disks of those jobs.
CREATE TABLE inventory (
    job        TEXT NOT NULL,
    disk       TEXT NOT NULL,
    instance   TEXT,                                -- the first that it is attached to
    first_seen INTEGER NOT NULL,                    -- unix milliseconds
    missing    INTEGER NOT NULL,                    -- from how many complete listings in a row it was missing
    PRIMARY KEY (job, disk)
) STRICT, WITHOUT ROWID;

-- Jobs of another priority than the usual one.
CREATE TABLE priorities (
    job  TEXT PRIMARY KEY,
    rank INTEGER NOT NULL                           -- by how much it is above the usual one
) STRICT, WITHOUT ROWID;

-- What commands ask of the daemon.
CREATE TABLE requests (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,                  -- a repeat with the same one is answered, not done again
    body       TEXT NOT NULL,                       -- JSON
    made_at    INTEGER NOT NULL,
    answer     TEXT                                 -- JSON, once the daemon has taken it up
) STRICT;

CREATE INDEX requests_open ON requests (number) WHERE answer IS NULL;

-- Backups that the daemon deletes: the intent, and that it was done.
CREATE TABLE deletions (
    point       TEXT PRIMARY KEY,                   -- a backup's id
    job         TEXT NOT NULL,                      -- of the run that it belongs to
    disk        TEXT NOT NULL,
    due         INTEGER NOT NULL,                   -- unix seconds
    intended_at INTEGER NOT NULL,
    done_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX deletions_pending ON deletions (disk) WHERE done_at IS NULL;
CREATE INDEX deletions_done ON deletions (done_at) WHERE done_at IS NOT NULL;

-- Windows in which a disk has no good backup because the daemon took the last one away. An outbox: `told` is 0, 1 once
-- the begin is logged, 2 once the end is.
CREATE TABLE gaps (
    number   INTEGER PRIMARY KEY,
    disk     TEXT NOT NULL,
    run      TEXT NOT NULL,                         -- the run that made room
    point    TEXT NOT NULL,                         -- the backup that it took
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    told     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX gaps_open ON gaps (disk) WHERE ended_at IS NULL;
CREATE INDEX gaps_to_tell ON gaps (number) WHERE told < 2;

-- Disks that are put back to a backup because a person asked for it.
CREATE TABLE restores (
    number    INTEGER PRIMARY KEY,                  -- the request's
    disk      TEXT NOT NULL,
    backup    TEXT NOT NULL,
    target    TEXT NOT NULL,
    auto_stop  INTEGER NOT NULL,
    auto_start INTEGER NOT NULL,
    state     TEXT NOT NULL,                        -- the state's name
    body      TEXT NOT NULL,                        -- the state, JSON
    attempts  INTEGER NOT NULL,
    asked_at  INTEGER NOT NULL,
    ended_at  INTEGER,
    reported  INTEGER NOT NULL DEFAULT 0            -- outbox: its terminal event has been logged
) STRICT;

CREATE INDEX restores_of_disk ON restores (disk, state) WHERE ended_at IS NULL;

-- What disks were last seen to hold, and whether that will do.
CREATE TABLE shelves (
    target  TEXT NOT NULL,
    disk    TEXT NOT NULL,
    quota   INTEGER NOT NULL,                       -- how many backup points the disk may have
    count   INTEGER NOT NULL,                       -- how many it has, by whoever
    short   TEXT,                                   -- the job for which it will not do
    PRIMARY KEY (target, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
    kind  TEXT NOT NULL CHECK (kind IN ('job', 'disk')),
    name  TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What notifiers were told, so that they hear of changes alone. The subject is `job NAME`, `rounds`, or a condition.
CREATE TABLE told (
    notifier TEXT NOT NULL,                         -- its name; `ping:JOB` of a job's own ping
    subject  TEXT NOT NULL,
    body     TEXT NOT NULL,                         -- JSON
    at       INTEGER NOT NULL,                      -- unix milliseconds
    PRIMARY KEY (notifier, subject)
) STRICT, WITHOUT ROWID;
