//! What the manual says of each command beyond its help: when to use it, examples, how it ends.
//!
//! Responsible for the words alone; `man.rs` makes pages of them, and `--help` shows the examples. `.ci/docs.py` carries every
//! example out, in the order in which they stand here.

use super::exit::Exit;

/// A command's page.
pub(super) struct Page {
    /// The command; empty for the program itself.
    pub(super) command: &'static str,
    /// Paragraphs. What stands in backticks is bold.
    pub(super) text: &'static [&'static str],
    /// Command lines, each with what it does.
    pub(super) examples: &'static [Example],
    /// How it ends; [`Exit::meaning`] where nothing is said.
    pub(super) exits: &'static [(Exit, &'static str)],
    /// Pages, such as `cbs-backupd-status(8)`.
    pub(super) see: &'static [&'static str],
}

/// What it does, and the command line.
pub(super) type Example = (&'static str, &'static str);

/// The page of a command.
pub(super) fn page(command: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.command == command)
}

const USUAL: (Exit, &str) = (Exit::Usage, "");
const IO: (Exit, &str) = (Exit::InputOutput, "");
const FAULTY: (Exit, &str) = (Exit::BadConfiguration, "");
const GOOD: (Exit, &str) = (Exit::Good, "");

const READS: &str =
    "It reads the configuration and the journal alone: no daemon is needed and no call is made.";
const THROUGH: &str = "Beside a running daemon it leaves a request in the journal, which the daemon takes up within a second, so that all calls share one limit; without one, it takes the daemon's lock and does the same work itself.";

/// All pages, in the order of the manual.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "",
        text: &[
            "A long-running service that backs up Tencent Cloud disks (CBS) on per-disk schedules. It promises that every due backup of every disk is made once, followed until the cloud says NORMAL, and accounted for in one line of the log: through crashes, lost replies, throttling, full quotas and changes of clocks.",
            "`cbs-backupd run` is the daemon; the other commands look at what it does, or ask it to do something. They find its journal by the same configuration. Under systemd the unit cbs-backupd.service runs it.",
            "A backup is crash-consistent at best: the disk as it was at one instant, as if the power had gone.",
        ],
        examples: &[
            ("See what is wrong with the configuration, or when each job is next due:", "cbs-backupd check"),
            ("See whether every disk is protected:", "cbs-backupd status"),
        ],
        exits: &[
            GOOD,
            (Exit::Late, "What the command says: something is late, failed, or will break."),
            USUAL,
            IO,
            (Exit::Held, ""),
            FAULTY,
        ],
        see: &[
            "cbs-backupd-config(5)",
            "cbs-backupd-run(8)",
            "cbs-backupd-check(8)",
            "cbs-backupd-status(8)",
            "systemctl(1)",
            "journalctl(1)",
        ],
    },
    Page {
        command: "run",
        text: &[
            "Runs the daemon until it is stopped. It plans what is due, makes backups, follows them, deletes what no rule keeps, and writes one line of the log for each thing that happens, on standard error.",
            "It says READY=1 to systemd when everything is in place (`daemon.ready`), and reports to systemd's watchdog as long as all its tasks move.",
            "A daemon that is killed at any instant loses nothing: at the next start it looks up what may have been made, and goes on. One daemon holds a journal; a second one ends at once with 75.",
        ],
        examples: &[("Run it in the foreground, to see what it does:", "cbs-backupd run --log-format text")],
        exits: &[(Exit::Good, "It was stopped by a signal."), USUAL, IO, (Exit::Held, ""), FAULTY],
        see: &["cbs-backupd-check(8)", "cbs-backupd-status(8)", "cbs-backupd-config(5)"],
    },
    Page {
        command: "check",
        text: &[
            "Reads the configuration and says all mistakes at once, each with file, line, column and what was expected; or, for a good one, when each job is next due. Run it before every reload: the daemon refuses a faulty file as a whole, and goes on with the old one.",
            "With `--online` the cloud is asked which disks each job is about, what their backup quotas are, and whether it knows all of them.",
        ],
        examples: &[
            ("Check the file:", "cbs-backupd check"),
            ("Check it, and ask the cloud about its disks:", "cbs-backupd check --online"),
        ],
        exits: &[
            GOOD,
            (
                Exit::Late,
                "With `--online`: a job has no disk, or one that the cloud does not know, or its target does not answer.",
            ),
            USUAL,
            IO,
            FAULTY,
        ],
        see: &["cbs-backupd-config(5)", "cbs-backupd-next(8)", "cbs-backupd-forecast(8)"],
    },
    Page {
        command: "next",
        text: &[
            "Shows when each job is next due on each disk, and when the run starts there: later by spread and blackout.",
            READS,
        ],
        examples: &[
            ("The next due instant of every job and disk:", "cbs-backupd next"),
            (
                "What a change of clocks does to the schedule:",
                "cbs-backupd next --from 2026-10-24T12:00:00Z --count 3",
            ),
        ],
        exits: &[GOOD, USUAL, IO, FAULTY],
        see: &["cbs-backupd-forecast(8)", "cbs-backupd-check(8)"],
    },
    Page {
        command: "forecast",
        text: &[
            "Walks through the coming days by the daemon's own rules, and says what breaks before the night on which it does: quotas that will be full, runs that will start too late or be overtaken, backups that will be older than the job's objective.",
            "Without `--online` it begins with no backups and knows no quota but that of `--quota`.",
        ],
        examples: &[
            ("The coming week, by the configuration alone:", "cbs-backupd forecast"),
            ("Whether a quota of 10 backups a disk is enough:", "cbs-backupd forecast --days 14 --quota 10"),
            ("With the backups and quotas that there are:", "cbs-backupd forecast --online"),
        ],
        exits: &[GOOD, (Exit::Late, "Something breaks."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-next(8)", "cbs-backupd-check(8)", "cbs-backupd-config(5)"],
    },
    Page {
        command: "backup",
        text: &[
            "Makes a backup of each disk now, under the job that holds it, or under the job `manual` where none does, and waits until the cloud says NORMAL. Backups of `manual` are never deleted by retention.",
            THROUGH,
            "It may be interrupted: what was asked for is done by the daemon, or looked up by the next one.",
        ],
        examples: &[
            ("Before something dangerous is done to a disk:", "cbs-backupd backup disk-1a2b3c4d"),
            (
                "From a script that may be run twice:",
                "cbs-backupd backup disk-1a2b3c4d --request-id before-upgrade-7 --json",
            ),
        ],
        exits: &[GOOD, (Exit::Late, "A run ended without a good backup."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-history(8)", "cbs-backupd-retry(8)", "cbs-backupd-restore(8)"],
    },
    Page {
        command: "retry",
        text: &[
            "Takes a run up again that failed or was skipped, under its own due instant and name. The cloud is asked first whether its backup exists after all.",
            THROUGH,
        ],
        examples: &[(
            "Try again what the night left undone:",
            "cbs-backupd history --state failed --json | jq -r '.[].run' | xargs -r -n 1 cbs-backupd retry",
        )],
        exits: &[GOOD, (Exit::Late, "The run ended without a good backup again."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-history(8)", "cbs-backupd-backup(8)"],
    },
    Page {
        command: "restore",
        text: &[
            "Puts a disk back, in place, to what it was at one of its backups. Everything written to it since is lost, and nothing brings it back: if you are not sure, make a backup first.",
            "The disk must be detached, or its instance shut down (`--auto-stop` lets the cloud do it). The command shows what it is about to do, wants the disk's id typed, and follows the rollback to its end. It is never asked for a second time by itself.",
            THROUGH,
        ],
        examples: &[
            ("See which backups there are:", "cbs-backupd backups --disk disk-5e6f7a8b"),
            (
                "Put the disk back to one of them, without being asked:",
                "cbs-backupd restore disk-5e6f7a8b --backup dbp-0a1b2c3d --yes",
            ),
        ],
        exits: &[
            (Exit::Good, "The disk is what it was at the backup."),
            (Exit::Late, "It may not be: read the reason."),
            (Exit::Usage, "Nothing was changed: not confirmed, or something stands against it."),
            IO,
            FAULTY,
        ],
        see: &["cbs-backupd-backups(8)", "cbs-backupd-backup(8)"],
    },
    Page {
        command: "history",
        text: &[
            "Shows runs, the latest due first: what state each is in, how many attempts it took, which backup it made, and why it ended or what it waits for.",
            "The states are planned (waits for its start), creating (an attempt whose outcome is not known yet), absent (the last attempt made nothing; another follows), freeing and promoting (making room in a full quota), tracking (accepted, not NORMAL yet), completed, failed and skipped.",
            READS,
        ],
        examples: &[
            ("What happened on a disk:", "cbs-backupd history --disk disk-1a2b3c4d"),
            (
                "What failed since an instant:",
                "cbs-backupd history --state failed --since 2026-11-24T00:00:00Z",
            ),
        ],
        exits: &[GOOD, USUAL, IO, FAULTY],
        see: &["cbs-backupd-status(8)", "cbs-backupd-retry(8)"],
    },
    Page {
        command: "status",
        text: &[
            "Shows whether a daemon runs, and of every job how old its last good backup is (of its disks, the one that is worst off) and when it is next due; then what a person should look at: runs that are past `start_within` and have not ended, last runs that failed, good backups that are older than the job's `objective`.",
            "With `--check` it says all of this in one line, with figures after a `|`, and ends as Nagios and Icinga expect of a check: 0 good, 1 warning, 2 critical, 3 unknown.",
            READS,
        ],
        examples: &[
            ("How everything stands:", "cbs-backupd status"),
            ("For a script: only what is late:", "cbs-backupd status --json | jq '.late'"),
            ("For Nagios or Icinga, of one job:", "cbs-backupd status --check --job db-nightly"),
        ],
        exits: &[
            (Exit::Good, "Nothing is late."),
            (Exit::Late, "Something is to be looked at; with `--check`, a warning."),
            (Exit::Usage, "The command line makes no sense; with `--check`, critical."),
            (
                Exit::CheckUnknown,
                "With `--check` alone: unknown, such as for a configuration or a journal that cannot be read.",
            ),
            IO,
            FAULTY,
        ],
        see: &["cbs-backupd-history(8)", "cbs-backupd-next(8)", "cbs-backupd-backups(8)"],
    },
    Page {
        command: "notify-test",
        text: &[
            "Sends each notifier of the configuration, and the ping of each job, a test, and says what came back; so nobody has to wait for a failure to learn that the word does not get through. It needs no daemon and changes nothing.",
            "A ping of a job is named `ping:JOB`.",
        ],
        examples: &[
            ("Everybody who is told of anything:", "cbs-backupd notify-test"),
            ("One of them:", "cbs-backupd notify-test chat"),
        ],
        exits: &[
            (Exit::Good, "Every one took it."),
            (Exit::Late, "One at least did not."),
            (Exit::Usage, "There is no notifier of that name."),
            IO,
            FAULTY,
        ],
        see: &["cbs-backupd-config(5)", "cbs-backupd-status(8)"],
    },
    Page {
        command: "log-level",
        text: &[
            "Shows what a running daemon logs, or changes it at once, without a restart: for a time, or until the daemon ends. What is asked for here goes before `--log-level` and the configuration's `log`.",
            "A filter is a level (error, warn, info, debug, trace, off), or one with levels of modules besides, such as `warn,cbs=debug`. No level shows a secret. What a level leaves out of the log, such as completed runs at `warn`, `history` has all the same.",
        ],
        examples: &[
            (
                "See every call to the cloud for ten minutes:",
                "cbs-backupd log-level info,cbs=debug --for 10m",
            ),
            ("What is logged now:", "cbs-backupd log-level"),
            ("Back to what the configuration says:", "cbs-backupd log-level --reset"),
        ],
        exits: &[GOOD, (Exit::Late, "No daemon runs."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-run(8)", "cbs-backupd-config(5)"],
    },
    Page {
        command: "backups",
        text: &[
            "Asks the cloud for the backups of all disks of the configuration: ours, by job; those of jobs that are gone; those of others, the vendor's own among them.",
            THROUGH,
        ],
        examples: &[
            ("Everything that there is:", "cbs-backupd backups"),
            ("Of one disk, for a script:", "cbs-backupd backups --disk disk-1a2b3c4d --json"),
        ],
        exits: &[GOOD, (Exit::Late, "Something could not be listed."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-prune(8)", "cbs-backupd-restore(8)", "cbs-backupd-history(8)"],
    },
    Page {
        command: "prune",
        text: &[
            "Deletes, now, what no rule of its job's `keep` keeps, by the rules by which the daemon does it by itself. The last good backup of a disk is never deleted, nor what does not bear our mark. It takes as long as `settle` at least.",
            "Backups of jobs that are gone are deleted by this command alone, with `--orphans`: by no rule at all but the last good one's.",
            THROUGH,
        ],
        examples: &[
            ("See every backup of ours with its verdict, and delete nothing:", "cbs-backupd prune --dry-run"),
            ("Delete:", "cbs-backupd prune"),
            ("See what jobs that are gone have left:", "cbs-backupd prune --dry-run --orphans"),
        ],
        exits: &[GOOD, (Exit::Late, "Something could not be listed or deleted."), USUAL, IO, FAULTY],
        see: &["cbs-backupd-backups(8)", "cbs-backupd-config(5)"],
    },
    Page {
        command: "pause",
        text: &[
            "Holds the runs of a job or a disk until `cbs-backupd resume`, across restarts. A backup under way goes on. A run that is held longer than its `start_within` ends as skipped, `paused`. What is asked for by `backup` waits as well.",
            "It writes to the journal; a running daemon heeds it within seconds. `status` shows what is paused.",
        ],
        examples: &[
            ("Before a disk is moved:", "cbs-backupd pause --disk disk-1a2b3c4d"),
            ("And afterwards:", "cbs-backupd resume --disk disk-1a2b3c4d"),
        ],
        exits: &[GOOD, (Exit::Usage, "There is no such job or disk in the configuration."), IO, FAULTY],
        see: &["cbs-backupd-resume(8)", "cbs-backupd-status(8)"],
    },
    Page {
        command: "resume",
        text: &[
            "Lets the runs of a paused job or disk start again. A run that is still within its `start_within` starts at once; what was skipped meanwhile stays skipped (`cbs-backupd retry` makes it).",
        ],
        examples: &[("Let a job go on:", "cbs-backupd resume --job db-nightly")],
        exits: &[GOOD, (Exit::Usage, "There is no such job or disk in the configuration."), IO, FAULTY],
        see: &["cbs-backupd-pause(8)", "cbs-backupd-retry(8)"],
    },
    Page {
        command: "demo",
        text: &[
            "Starts a simulated cloud on loopback that misbehaves in many ways, lets the daemon make a night's backups against it, and ends with a table. It touches nothing outside a temporary folder.",
        ],
        examples: &[("A smaller night:", "cbs-backupd demo --disks 100")],
        exits: &[
            (Exit::Good, "Every due backup was made once."),
            (Exit::Late, "The promise was not kept: please report it."),
            USUAL,
            IO,
        ],
        see: &["cbs-backupd-simulate(8)", "cbs-backupd-run(8)"],
    },
    Page {
        command: "simulate",
        text: &[
            "Lets the whole daemon live for days against a simulated cloud, under a clock that jumps: replies are lost, the daemon is killed between two instructions, its clock is set, its configuration edited, its credential taken back. Everything is drawn from the seed, and judged: every due instant must be one run or lie in one row of misses, no backup may be made twice, no create may leave before its intent is durable.",
        ],
        examples: &[("Three days of another seed:", "cbs-backupd simulate --seed 42 --days 3 --disks 3")],
        exits: &[
            (Exit::Good, "Every promise was kept."),
            (Exit::Late, "One was not: please report the command line."),
            USUAL,
            IO,
        ],
        see: &["cbs-backupd-demo(8)"],
    },
    Page {
        command: "completions",
        text: &[
            "Prints a script that teaches a shell the commands and options. The package installs those of bash, zsh and fish.",
        ],
        examples: &[("For bash, in this session:", "source <(cbs-backupd completions bash)")],
        exits: &[GOOD, USUAL],
        see: &["cbs-backupd(8)"],
    },
];

/// What the daemon does at a signal.
pub(super) const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGHUP",
        "Reads the configuration anew. If it is faulty, the old one stays in force, and the log says why (`daemon.reload_rejected`).",
    ),
    (
        "SIGTERM, SIGINT",
        "Stops: no new call is made, those under way are awaited, and what they became is written down.",
    ),
];

/// Variables.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("CBS_BACKUPD_CONFIG", "The configuration file, as `--config`."),
    ("CBS_BACKUPD_LOG", "What is logged, as `--log-level`."),
    (
        "JOURNAL_STREAM",
        "Set by systemd where standard error goes to its journal: the log is then written there with its fields.",
    ),
    (
        "CBS_BACKUPD__PATH__OF__KEY",
        "Any single value of the configuration outside `jobs`, laid over the file's: CBS_BACKUPD__SETTLE=10m, CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT=10.",
    ),
    (
        "TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY, TENCENTCLOUD_TOKEN",
        "The credential, for `source: environment`; the token for a temporary one alone.",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "The way to the cloud. The first line of the log names the proxy.",
    ),
    ("CREDENTIALS_DIRECTORY", "Where systemd puts the files of `source: systemd`."),
];

/// Files.
pub(super) const FILES: &[(&str, &str)] = &[
    (
        "/etc/cbs-backupd/config.yaml",
        "The configuration; see `cbs-backupd-config(5)`. Secrets belong into other files.",
    ),
    (
        "/etc/cbs-backupd/environment",
        "Variables for the unit: credentials, proxies. Keep it root's, mode 0600.",
    ),
    (
        "/etc/credstore/cbs-backupd.secret_id, /etc/credstore/cbs-backupd.secret_key",
        "The credential that systemd hands over, for `source: systemd`. Keep them root's, mode 0600.",
    ),
    (
        "/var/lib/cbs-backupd/journal.sqlite3",
        "The journal: every run and what became of it. The files that end in -wal and -shm belong to it: keep them together, and never copy one of them alone.",
    ),
    ("/var/lib/cbs-backupd/lock", "Held by the daemon as long as it lives; it names the process."),
];
