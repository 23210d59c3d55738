//! Who may add a job, and which one runs.

use super::*;
use crate::dbus::flags::{Effect, Taking};
use crate::operation::snapshot::Wanted;
use crate::plan::request::Resetting;
use crate::store::records::Level;

const RESET: Work = reset(Effect::NextBoot);

const fn reset(effect: Effect) -> Work {
    let wanted = Resetting { level: Level::Baseline, keep: Vec::new(), drop_kept: false };
    Work::Reset { wanted, via: None, effect }
}

fn user(uid: u32) -> Initiator {
    Initiator { uid, name: format!("user {uid}") }
}

#[test]
fn a_second_writer_is_told_who_is_in_the_way() {
    let mut jobs = Jobs::new(5);
    assert_eq!(jobs.submit(RESET, "root", user(1)).unwrap(), 5);
    let error = jobs.submit(RESET, "root", user(2)).unwrap_err();
    assert_eq!(error.name(), "org.overlayd1.Error.JobInProgress");
    assert!(error.message().contains("job 5 (reset of root) by user 1"), "{error}");
    assert!(jobs.submit(reset(Effect::DryRun), "root", user(2)).is_ok());
    assert!(jobs.submit(RESET, "var", user(3)).is_ok());
}

#[test]
fn the_queue_is_bounded_in_all_and_per_user() {
    let mut jobs = Jobs::new(1);
    let dry = || reset(Effect::DryRun);
    for n in 0..8 {
        jobs.submit(dry(), "root", user(n / 2)).unwrap();
        if n == 1 {
            assert_eq!(jobs.submit(dry(), "root", user(0)).unwrap_err().name(), errors::LIMITS);
            let request = jobs.submit(RESET, "root", user(0)).unwrap();
            jobs.finish(request, Ended::Done(Details::default()), Instant::now());
        }
    }
    assert_eq!(jobs.submit(dry(), "root", user(9)).unwrap_err().name(), errors::LIMITS);
}

#[test]
fn one_writer_runs_at_a_time_and_others_beside_it() {
    let mut jobs = Jobs::new(1);
    let a = jobs.submit(RESET, "root", user(1)).unwrap();
    let b = jobs.submit(RESET, "var", user(2)).unwrap();
    let c = jobs.submit(Work::Cleanup, "", user(0)).unwrap();
    assert!(jobs.start().is_empty(), "not announced yet");
    for id in [a, b, c] {
        jobs.announced(id);
    }
    let ids = |jobs: Vec<Job>| jobs.iter().map(|j| j.id).collect::<Vec<_>>();
    assert_eq!(ids(jobs.start()), [a, c]);
    assert!(jobs.start().is_empty());
    jobs.finish(a, Ended::Done(Details::default()), Instant::now());
    assert_eq!(ids(jobs.start()), [b]);
}

#[test]
fn a_request_does_not_wait_for_a_copy_and_a_second_copy_does() {
    let mut jobs = Jobs::new(1);
    let copy = || Work::Snapshot(Wanted::default(), Taking::Now);
    let a = jobs.submit(copy(), "root", user(1)).unwrap();
    let b = jobs.submit(RESET, "root", user(2)).unwrap();
    let c = jobs.submit(copy(), "var", user(3)).unwrap();
    let error = jobs.submit(Work::Delete(3), "root", user(4)).unwrap_err();
    assert!(error.message().contains("job 1 (snapshot of root) by user 1"), "{error}");
    assert!(jobs.submit(Work::Snapshot(Wanted::default(), Taking::Quiesced), "root", user(4)).is_err());
    for id in [a, b, c] {
        jobs.announced(id);
    }
    let ids: Vec<u64> = jobs.start().iter().map(|j| j.id).collect();
    assert_eq!(ids, [a, b], "the store is copied to by one at a time");
}

#[test]
fn a_finished_job_stays_listed_for_a_minute_and_numbers_only_grow() {
    let mut jobs = Jobs::new(1);
    let now = Instant::now();
    let id = jobs.submit(RESET, "root", user(1)).unwrap();
    assert_eq!(jobs.active("root").unwrap().id, id);
    jobs.finish(id, Ended::Canceled(Details::default()), now).unwrap();
    assert!(jobs.active("root").is_none());
    assert!(jobs.expire(now + LISTED - Duration::from_millis(1)).is_empty());
    assert_eq!(jobs.next_expiry(), Some(now + LISTED));
    assert_eq!(jobs.expire(now + LISTED), [id]);
    assert!(jobs.get(id).is_none());
    assert!(jobs.submit(RESET, "root", user(1)).unwrap() > id);
}
