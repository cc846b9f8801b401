use super::*;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
}

fn disk(name: &str) -> DiskId {
    format!("disk-{name}").parse().unwrap()
}

fn stands(last: Option<(i64, Ended)>, beyond: bool) -> BTreeMap<DiskId, Stands> {
    BTreeMap::from([(disk("a"), Stands { last: last.map(|(due, ended)| (at(due), ended)), beyond })])
}

/// What is told of one disk as it comes to stand so, one after the other: `F` failed, `B` beyond, `R` recovered.
#[track_caller]
fn tells(story: &[(Option<(i64, Ended)>, bool)], expected: &[&str]) {
    let mut told = ToldOfJob::new();
    let mut said = Vec::new();
    for (last, beyond) in story {
        let (news, after) = news(&stands(*last, *beyond), &told);
        let mark = |disks: &[DiskId], sign: &'static str| if disks.is_empty() { "" } else { sign };
        let one = [mark(&news.failed, "F"), mark(&news.beyond, "B"), mark(&news.recovered, "R")].concat();
        assert_eq!(one.is_empty(), news.is_empty());
        said.push(one);
        told = after;
    }
    assert_eq!(said, expected);
}

#[test]
fn the_first_failure_speaks_its_repetition_does_not_and_the_recovery_does() {
    use Ended::{Completed, Failed, Skipped};
    tells(
        &[
            (None, false),
            (Some((0, Completed)), false),
            (Some((24, Failed)), false),
            (Some((24, Failed)), false),
            (Some((48, Failed)), false),
            (Some((72, Completed)), false),
            (Some((72, Completed)), false),
            (Some((96, Failed)), false),
        ],
        &["", "", "F", "", "", "R", "", "F"],
    );
    // Nothing is mended by a run that was skipped, nor while a failed one is tried again.
    tells(
        &[
            (Some((24, Failed)), false),
            (Some((48, Skipped)), false),
            (Some((0, Completed)), false),
            (Some((24, Completed)), false),
        ],
        &["F", "", "", "R"],
    );
    // What matters is the last failure that is known of, told or not.
    tells(
        &[(Some((24, Failed)), false), (Some((48, Failed)), false), (Some((24, Completed)), false)],
        &["F", "", ""],
    );
    tells(&[(Some((0, Skipped)), false)], &[""]);
}

#[test]
fn a_passed_objective_speaks_beside_a_failure_and_both_must_be_over() {
    use Ended::{Completed, Failed};
    tells(
        &[
            (Some((24, Failed)), false),
            (Some((24, Failed)), true),
            (Some((48, Failed)), true),
            (Some((48, Failed)), false),
            (Some((48, Failed)), true),
            (Some((72, Completed)), false),
        ],
        &["F", "B", "", "", "B", "R"],
    );
    tells(&[(None, true), (None, false)], &["B", "R"]);
}

#[test]
fn a_disk_that_left_is_not_spoken_of_and_is_forgotten() {
    let told = ToldOfJob::from([(disk("gone"), ToldOfDisk { failed: Some(at(0)), beyond: true })]);
    let (news, after) = news(&stands(Some((24, Ended::Completed)), false), &told);
    assert_eq!((news, after), (News::default(), ToldOfJob::new()));
}

#[test]
fn news_are_held_while_more_may_come_but_not_for_ever() {
    const GATHER: Duration = Duration::from_secs(300);
    assert!(is_ripe(false, Duration::ZERO, GATHER));
    assert!(!is_ripe(true, Duration::from_secs(299), GATHER));
    assert!(is_ripe(true, GATHER, GATHER));
}

#[test]
fn what_is_still_so_is_recalled_where_that_is_asked_for() {
    let day = Some(Duration::from_secs(86_400));
    assert!(is_to_be_recalled(at(0), day, at(24)));
    assert!(!is_to_be_recalled(at(0), day, at(23)));
    assert!(!is_to_be_recalled(at(0), None, at(9_999)));
    // The clock was set back.
    assert!(!is_to_be_recalled(at(48), day, at(0)));
}

#[test]
fn a_condition_must_last_to_be_told_and_its_end_too() {
    for condition in Condition::ALL {
        let (patience, moment) = (condition.patience(), Duration::from_millis(1));
        assert_eq!(turn(condition, true, patience - moment, false), None);
        assert_eq!(turn(condition, true, patience, false), Some(Turn::Begins));
        assert_eq!(turn(condition, true, Duration::MAX, true), None);
        assert_eq!(turn(condition, false, IS_OVER_AFTER - moment, true), None);
        assert_eq!(turn(condition, false, IS_OVER_AFTER, true), Some(Turn::Ends));
        assert_eq!(turn(condition, false, Duration::MAX, false), None);
    }
}

fn round(due: i64, open: u64, failed: u64) -> Round {
    Round { due: at(due), open, failed }
}

/// All that is told until nothing more is.
fn all_told(told: &mut ToldRounds, rounds: &[Round]) -> Vec<(Timestamp, Said)> {
    let mut said = Vec::new();
    while let Some((due, one)) = next_ping(told, rounds) {
        *told = told.after(due, one);
        said.push((due, one));
        assert!(said.len() < 100, "it never ends: {said:?}");
    }
    said
}

#[test]
fn a_round_starts_once_and_ends_once() {
    let mut told = ToldRounds::begin(at(0));
    assert_eq!(all_told(&mut told, &[round(0, 0, 0)]), [], "due before anybody was to be told");
    assert_eq!(all_told(&mut told, &[round(24, 2, 0)]), [(at(24), Said::Start)]);
    assert_eq!(all_told(&mut told, &[round(24, 1, 1)]), [], "it is not over");
    assert_eq!(all_told(&mut told, &[round(24, 0, 1)]), [(at(24), Said::Fail)]);
    assert_eq!(all_told(&mut told, &[round(24, 1, 0)]), [], "the failed one is tried again");
    assert_eq!(all_told(&mut told, &[round(24, 0, 0)]), [(at(24), Said::Success)]);
    let both = [round(24, 0, 0), round(48, 0, 0)];
    assert_eq!(all_told(&mut told, &both), [(at(48), Said::Success)], "begin and end were not seen apart");
    assert_eq!(told, ToldRounds { since: at(48), said: BTreeMap::from([(at(48), Said::Success)]) });
    assert_eq!(told.from(), at(48));
}

#[test]
fn rounds_that_overlap_end_each_by_itself() {
    let mut told = ToldRounds::begin(at(0));
    all_told(&mut told, &[round(1, 1, 0)]);
    let said = all_told(&mut told, &[round(1, 1, 0), round(2, 1, 0)]);
    assert_eq!(said, [(at(2), Said::Start)]);
    assert_eq!(all_told(&mut told, &[round(1, 1, 0), round(2, 0, 0)]), [(at(2), Said::Success)]);
    assert_eq!(told.from(), at(1), "the first is still open");
    assert_eq!(all_told(&mut told, &[round(1, 0, 1), round(2, 0, 0)]), [(at(1), Said::Fail)]);
    assert_eq!(told.from(), at(2));
}

#[test]
fn of_rounds_that_nobody_could_be_told_of_the_last_alone_is_news() {
    let mut told = ToldRounds::begin(at(0));
    all_told(&mut told, &[round(1, 1, 0)]);
    let missed = [round(1, 0, 0), round(2, 0, 1), round(3, 0, 1), round(4, 0, 0), round(5, 3, 0)];
    let said = all_told(&mut told, &missed);
    assert_eq!(said, [(at(1), Said::Success), (at(4), Said::Success), (at(5), Said::Start)]);
    assert_eq!(all_told(&mut told, &missed), []);
}

#[test]
fn a_round_that_is_gone_is_not_waited_for() {
    let mut told = ToldRounds::begin(at(0));
    all_told(&mut told, &[round(1, 1, 0), round(2, 1, 0)]);
    let told = told.of_these(&[round(2, 1, 0)]);
    assert_eq!(told, ToldRounds { since: at(2), said: BTreeMap::from([(at(2), Said::Start)]) });
}

#[test]
fn what_was_told_is_kept_as_text() {
    let mut told = ToldRounds::begin(at(0));
    told = told.after(at(24), Said::Start);
    let text = serde_json::to_string(&told).unwrap();
    assert_eq!(text, r#"{"since":"2023-11-15T22:13:20Z","said":{"2023-11-15T22:13:20Z":"start"}}"#);
    assert_eq!(serde_json::from_str::<ToldRounds>(&text).unwrap(), told);
}
