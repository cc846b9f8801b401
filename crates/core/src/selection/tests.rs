use proptest::prelude::*;

use super::*;

fn id(number: usize) -> DiskId {
    format!("disk-{number:08x}").parse().unwrap()
}

fn disk() -> Attributes {
    Attributes {
        name: "db-data-1".to_owned(),
        zone: "ap-guangzhou-3".to_owned(),
        project: 7,
        instances: vec!["ins-1".parse().unwrap(), "ins-2".parse().unwrap()],
        usage: "DATA_DISK".to_owned(),
        state: "ATTACHED".to_owned(),
        tags: [("backup", "nightly"), ("team", "db")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

fn tag(key: &str, values: &[&str]) -> Tag {
    Tag { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn each_condition_holds_by_any_of_its_values_and_all_must_hold() {
    let none = Conditions::default;
    let (good, bad) = (tag("backup", &["weekly", "nightly"]), tag("backup", &["never"]));
    let table = [
        (none(), true),
        (Conditions { tags: vec![good.clone(), tag("team", &["db"])], ..none() }, true),
        (Conditions { tags: vec![good.clone(), tag("team", &["web"])], ..none() }, false),
        (Conditions { tags: vec![tag("stage", &[""])], ..none() }, false),
        (Conditions { any_tags: vec![bad.clone(), tag("team", &["db"])], ..none() }, true),
        (Conditions { any_tags: vec![bad.clone(), tag("team", &["web"])], ..none() }, false),
        (Conditions { tags: vec![bad], any_tags: vec![good], ..none() }, false),
        (Conditions { zones: texts(&["ap-guangzhou-4", "ap-guangzhou-3"]), ..none() }, true),
        (Conditions { zones: texts(&["ap-guangzhou-4"]), ..none() }, false),
        (Conditions { projects: vec![1, 7], ..none() }, true),
        (Conditions { projects: vec![0], ..none() }, false),
        (Conditions { instances: vec!["ins-2".parse().unwrap()], ..none() }, true),
        (Conditions { instances: vec!["ins-3".parse().unwrap()], ..none() }, false),
        (Conditions { names: vec![Pattern::new("web-*"), Pattern::new("db-*")], ..none() }, true),
        (Conditions { names: vec![Pattern::new("web-*")], ..none() }, false),
        (Conditions { usages: texts(&["DATA_DISK"]), ..none() }, true),
        (Conditions { usages: texts(&["SYSTEM_DISK"]), ..none() }, false),
        (Conditions { states: texts(&["UNATTACHED", "ATTACHED"]), ..none() }, true),
        (Conditions { states: texts(&["UNATTACHED"]), ..none() }, false),
    ];
    for (conditions, holds) in table {
        assert_eq!(conditions.hold_for(&disk()), holds, "{conditions:?}");
        assert_eq!(Selection { of: conditions, ..Selection::default() }.selects(&id(1), &disk()), holds);
    }
}

#[test]
fn some_are_left_out_by_their_id_or_by_what_they_are() {
    let all = Selection::default();
    assert!(all.selects(&id(1), &disk()));
    let but = Selection { but_disks: vec![id(1)], ..all.clone() };
    assert_eq!([1, 2].map(|number| but.selects(&id(number), &disk())), [false, true]);
    let of_db = Conditions { tags: vec![tag("team", &["db"])], ..Conditions::default() };
    let but = Selection { but: vec![of_db], ..all };
    assert!(!but.selects(&id(1), &disk()));
    assert!(but.selects(&id(1), &Attributes { tags: BTreeMap::new(), ..disk() }));
}

#[test]
fn a_disk_in_the_recycle_bin_is_selected_by_name_alone() {
    let thrown_away = Attributes { state: RECYCLED.to_owned(), ..disk() };
    assert!(!Selection::default().selects(&id(1), &thrown_away));
    let of = Conditions { states: texts(&[RECYCLED]), ..Conditions::default() };
    assert!(Selection { of, ..Selection::default() }.selects(&id(1), &thrown_away));
}

#[test]
fn patterns_are_of_the_whole_name() {
    for (pattern, name, matches) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("db", "db", true),
        ("db", "db1", false),
        ("db", "adb", false),
        ("db-?", "db-1", true),
        ("db-?", "db-", false),
        ("*-data-*", "db-data-1", true),
        ("*a*b", "aab", true),
        ("*a*b", "aba", false),
        ("数据?", "数据盘", true),
        ("[ab]", "a", false),
        ("Db", "db", false),
    ] {
        assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name}");
    }
    // Backtracking by recursion would not come back from this.
    assert!(!Pattern::new("*a".repeat(40)).matches(&format!("{}b", "a".repeat(2000))));
}

fn known(disks: impl IntoIterator<Item = (usize, u32)>) -> BTreeMap<DiskId, Member> {
    disks.into_iter().map(|(number, missing)| (id(number), Member { instance: None, missing })).collect()
}

fn listed(disks: impl IntoIterator<Item = usize>) -> BTreeMap<DiskId, Option<InstanceId>> {
    disks.into_iter().map(|number| (id(number), None)).collect()
}

#[test]
fn a_disk_is_in_doubt_at_the_second_listing_without_it() {
    let ten = known((0..10).map(|number| (number, 0)));
    let first = refresh(&ten, &listed(1..10), 20);
    assert_eq!(first.changed, known([(0, 1)]));
    assert!(first.in_doubt.is_empty() && first.joined.is_empty() && first.refused.is_none());
    let mut once = ten;
    once.extend(first.changed);
    let second = refresh(&once, &listed(1..10), 20);
    assert_eq!((second.changed, second.in_doubt), (known([(0, 2)]), vec![id(0)]));
    // It is back: as if nothing had been.
    let back = refresh(&once, &listed(0..10), 20);
    assert_eq!(back, Refresh { changed: known([(0, 0)]), ..Refresh::default() });
}

#[test]
fn more_than_a_fifth_is_not_let_go_at_once() {
    let missing = |count: usize| known((0..10).map(|number| (number, u32::from(number < count))));
    assert_eq!(refresh(&missing(2), &listed(2..10), 20).in_doubt, [id(0), id(1)]);
    let refused = refresh(&missing(3), &listed((3..10).chain([11])), 20);
    assert_eq!(refused.refused, Some(Refused { would_leave: 3, of: 10, at_most: 2 }));
    assert!(refused.in_doubt.is_empty());
    assert_eq!(refused.joined, [id(11)]);
    // Those that were not missing before would not leave now.
    assert_eq!(refresh(&missing(2), &listed(5..10), 20).in_doubt, [id(0), id(1)]);
    assert_eq!(refresh(&missing(3), &listed(3..10), 30).in_doubt.len(), 3);
    assert_eq!(refresh(&missing(10), &listed([]), 100).in_doubt.len(), 10);
}

#[test]
fn a_look_up_by_id_has_the_last_word() {
    let mut found =
        refresh(&known((0..10).map(|number| (number, u32::from(number < 2)))), &listed(2..10), 20);
    found.settle(&listed([1]));
    assert_eq!((found.changed, found.left), (known([(1, 0)]), vec![id(0)]));
    assert!(found.in_doubt.is_empty());
}

#[test]
fn where_something_else_is_selected_whoever_is_not_listed_leaves_at_once() {
    let found = reselect(&known((0..10).map(|number| (number, 0))), &listed([8, 9, 10]));
    assert_eq!(found.left, (0..8).map(id).collect::<Vec<_>>());
    assert_eq!((found.joined, found.changed), (vec![id(10)], known([(10, 0)])));
    assert!(found.in_doubt.is_empty() && found.refused.is_none());
}

#[test]
fn one_may_always_leave() {
    assert_eq!(refresh(&known([(0, 1), (1, 0)]), &listed([1]), 20).in_doubt, [id(0)]);
    assert_eq!(refresh(&known([(0, 1)]), &listed([]), 0).in_doubt, [id(0)]);
}

#[test]
fn a_disk_that_moves_to_another_instance_is_changed_and_not_new() {
    let moved = BTreeMap::from([(id(0), Some("ins-9".parse().unwrap()))]);
    let found = refresh(&known([(0, 0)]), &moved, 20);
    assert_eq!(found.changed[&id(0)].instance.as_ref().unwrap().as_str(), "ins-9");
    assert!(found.joined.is_empty());
}

proptest! {
    #[test]
    fn patterns_of_their_own_name_match(name in "[a-c]{0,6}", from in 0_usize..7, to in 0_usize..7) {
        prop_assert!(Pattern::new(&*name).matches(&name));
        let (from, to) = (from.min(to).min(name.len()), to.max(from).min(name.len()));
        let pattern = Pattern::new(format!("{}*{}", &name[..from], &name[to..]));
        prop_assert!(pattern.matches(&name));
    }

    #[test]
    fn whatever_is_listed_nobody_is_lost_in_it(
        before in proptest::collection::btree_map(0_usize..40, 0_u32..=2, 0..40),
        now in proptest::collection::btree_set(0_usize..40, 0..40),
        max_loss in 0_u32..=100,
    ) {
        let (known, listed) = (known(before.clone()), listed(now.iter().copied()));
        let found = refresh(&known, &listed, max_loss);
        let mut after = known.clone();
        after.extend(found.changed.clone());
        // Held is whoever was, or is listed; new is whoever is listed and was not.
        prop_assert!(known.keys().chain(listed.keys()).all(|disk| after.contains_key(disk)));
        prop_assert!(found.joined.iter().all(|disk| listed.contains_key(disk) && !known.contains_key(disk)));
        prop_assert_eq!(after.len(), known.len() + found.joined.len());
        // In doubt is only who was missing before and is again, and no more than may be.
        let limit = (known.len() * max_loss as usize / 100).max(1);
        prop_assert!(found.in_doubt.len() <= limit);
        for disk in &found.in_doubt {
            prop_assert!(!listed.contains_key(disk) && known[disk].missing >= 1);
        }
        let gone = known.iter().filter(|(disk, member)| member.missing >= 1 && !listed.contains_key(*disk)).count();
        prop_assert_eq!(found.refused.is_some(), gone > limit);
        prop_assert_eq!(found.in_doubt.len(), if gone > limit { 0 } else { gone });
        // The same listing again changes nothing but the count of those that were missing once.
        let again = refresh(&after, &listed, max_loss);
        prop_assert!(again.joined.is_empty());
        prop_assert!(again.changed.values().all(|member| member.missing == LEAVES_AFTER));
    }
}
