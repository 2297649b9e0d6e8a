use super::*;
use crate::bgp::table::{announcements, churn, withdrawals};

const LAYOUT: Layout =
    Layout { senders: 2, each: 20, per_set: 10, overlap: false, reflection: false };
const RECEIVER: usize = 2;

/// As if the daemon had passed on what a sender says.
fn pass(board: &Board, layout: &Layout, from: usize, to: usize) {
    let octets = announcements(layout, from).unwrap();
    assert_eq!(board.read(to, &octets), Ok(octets.len()));
}

fn failure(board: &Board) -> Option<String> {
    board.failure.borrow().clone()
}

#[test]
fn a_peer_is_complete_with_what_the_others_have_said() {
    let board = Board::new(&LAYOUT);
    pass(&board, &LAYOUT, 0, RECEIVER);
    assert!(!board.is_complete(RECEIVER));
    pass(&board, &LAYOUT, 1, RECEIVER);
    assert!(board.is_complete(RECEIVER) && !board.all_complete());
    pass(&board, &LAYOUT, 1, 0);
    // Its own changes nothing, and may not come.
    pass(&board, &LAYOUT, 1, 1);
    assert!(board.is_complete(0) && !board.is_complete(1));
    assert!(board.complete_but(1..2) && !board.complete_but(0..1));
    pass(&board, &LAYOUT, 0, 1);
    assert!(board.all_complete());
    assert_eq!(board.prefixes_read(), 5 * 20);
}

#[test]
fn what_should_be_gone_must_go() {
    let board = Board::new(&LAYOUT);
    for (from, to) in [(0, RECEIVER), (1, RECEIVER), (1, 0), (0, 1)] {
        pass(&board, &LAYOUT, from, to);
    }
    let (octets, indices) = withdrawals(&LAYOUT, 0).unwrap();
    board.expect(&LAYOUT, &indices, false);
    assert!(board.is_complete(0) && !board.is_complete(1) && !board.is_complete(RECEIVER));
    for peer in [1, RECEIVER] {
        board.read(peer, &octets).unwrap();
    }
    assert!(board.all_complete());
    // And must not come back.
    pass(&board, &LAYOUT, 0, RECEIVER);
    assert!(!board.is_complete(RECEIVER));
    board.expect(&LAYOUT, &indices, true);
    assert!(board.is_complete(RECEIVER) && !board.is_complete(1));
}

#[test]
fn a_lost_session_has_nothing() {
    let board = Board::new(&LAYOUT);
    (0..3).for_each(|peer| board.established(peer));
    assert!(board.all_established());
    pass(&board, &LAYOUT, 1, 0);
    board.lost(0);
    assert!(!board.is_complete(0) && !board.all_established());
    board.lost(0);
    board.lost(1);
    board.lost(2);
    assert!(board.none_established());
    pass(&board, &LAYOUT, 1, 0);
    assert!(board.complete_but(1..3));
}

#[test]
fn of_overlapping_paths_only_the_best_will_do() {
    let layout = Layout { overlap: true, ..LAYOUT };
    let board = Board::new(&layout);
    pass(&board, &layout, 1, RECEIVER);
    pass(&board, &layout, 0, RECEIVER);
    assert!(!board.is_complete(RECEIVER), "the second set is the other's");
    assert_eq!(board.ledgers[RECEIVER].borrow().wrong, 10);
}

#[test]
fn what_nobody_has_sent_is_a_failure() {
    let board = Board::new(&LAYOUT);
    let larger = Layout { each: 21, ..LAYOUT };
    pass(&board, &larger, 1, RECEIVER);
    let why = failure(&board).unwrap();
    assert!(why.contains("peer 2 was told") && why.contains("nobody has sent"), "{why}");
}

#[test]
fn an_update_is_timed_once_wherever_it_arrives_but_at_home() {
    let board = Board::new(&LAYOUT);
    board.follow(2);
    for number in 0..2 {
        board.departs(number);
        let (_, octets) = churn(&LAYOUT, number).unwrap();
        for peer in [RECEIVER, RECEIVER, number, 1 - number] {
            assert!(!board.all_arrived());
            board.read(peer, &octets).unwrap();
        }
    }
    assert!(board.all_arrived());
    assert_eq!([0, 1, RECEIVER].map(|peer| board.journeys(peer).len()), [1, 1, 2]);
    assert_eq!(failure(&board), None);
}

#[test]
fn an_error_says_how_far_everybody_has_come() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let board = Board::new(&LAYOUT);
    pass(&board, &LAYOUT, 0, RECEIVER);
    let until = || runtime.block_on(board.until("the tables", Instant::now(), Board::all_complete));
    let error = until().unwrap_err().to_string();
    assert!(error.contains("0 of 3 peers") && error.contains("peer 2 holds 20, 20 are"), "{error}");
    board.fail("peer 1: closed".to_owned());
    let error = until().unwrap_err().to_string();
    assert!(error.contains("the tables: peer 1: closed"), "{error}");
}
