//! Breaking, without breaking much: one block, where the machine has secret memory.

use super::*;
use crate::secret::Availability;

#[test]
fn a_step_touches_one_secret_page_and_a_block_of_others() {
    if !matches!(Availability::probe(), Availability::Available { .. }) {
        let error = Breaker::new(4 * MIB_2).expect_err("no secret memory");
        assert!(error.to_string().contains("secret memory"), "{error}");
        return;
    }
    let Ok(mut breaker) = Breaker::new(2 * MIB_2) else {
        return; // Memory may not be locked here.
    };
    let first = breaker.step().expect("a page");
    let second = breaker.step().expect("a page");
    assert_eq!(second - first, KIB_4 as usize);
    assert_eq!(breaker.secret_pages, 2);
    if breaker.is_spread() {
        let end = breaker.step().expect_err("only two blocks were asked for");
        assert!(matches!(end, Ended::Memory | Ended::Locked(_)), "{end:?}");
    }
}

#[test]
fn nothing_is_broken_where_nothing_is_wanted() {
    if !matches!(Availability::probe(), Availability::Available { .. }) {
        return;
    }
    let session = Session::quiet(std::env::temp_dir());
    let task = session.task("breaking");
    match break_map(&Root::system(), 0, &session, &task) {
        Ok(broken) => {
            assert_eq!(broken.secret_pages, 0);
            assert!(matches!(broken.ended, Ended::Reached | Ended::Memory), "{:?}", broken.ended);
        }
        Err(error) => assert!(error.to_string().contains("memory"), "{error}"),
    }
    session.end();
    if let Ok(broken) = break_map(&Root::system(), u64::MAX, &session, &task) {
        assert_eq!((broken.ended, broken.secret_pages), (Ended::Cancelled, 0));
    }
}

#[test]
fn too_little_memory_is_said() {
    let error = Breaker::new(0).expect_err("no memory");
    assert!(error.to_string().contains("too little memory"), "{error}");
}

#[test]
fn the_limit_of_locked_memory_is_named_only_where_it_is_the_bound() {
    assert_eq!(bounded(100, None), (100, None));
    assert_eq!(bounded(100, Some(40 * KIB_4)), (40, Some(40 * KIB_4)));
    assert_eq!(bounded(100, Some(100 * KIB_4 + 1)), (100, None), "memory is the bound");
}
