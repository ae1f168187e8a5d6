//! What the books say after each kind of entry.

use super::*;

fn receipt(endpoint: usize, sequence: u64) -> Receipt {
    let id = id_mark(format!("evt_{sequence}").as_bytes());
    Receipt {
        endpoint,
        sequence,
        id,
        sent_ns: 1_000,
        now_ns: 5_000,
        signature: Signature::Good,
    }
}

fn publish(ledger: &mut Ledger, count: u64) {
    for _ in 0..count {
        let sequence = ledger.issue(1).unwrap();
        ledger.accept(
            sequence,
            id_mark(format!("evt_{sequence}").as_bytes()),
            1_000,
            3_000,
        );
    }
}

#[test]
fn an_accepted_event_is_outstanding_at_each_healthy_endpoint_until_it_comes() {
    let mut ledger = Ledger::new(&[Kind::Healthy, Kind::Healthy, Kind::Dead], None, 0, 0.0);
    publish(&mut ledger, 100);
    assert_eq!(ledger.outstanding(), 200);
    assert_eq!(ledger.receive(receipt(0, 7)), Answer::Taken);
    assert_eq!(ledger.receive(receipt(2, 7)), Answer::Silence);
    assert_eq!((ledger.outstanding(), ledger.is_drained()), (199, false));
    assert_eq!(
        (
            ledger.totals().delivered,
            ledger.totals().delivered_to_others
        ),
        (1, 1)
    );
}

#[test]
fn a_second_receipt_is_a_duplicate() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 0, 0.0);
    publish(&mut ledger, 1);
    ledger.receive(receipt(0, 0));
    ledger.receive(receipt(0, 0));
    assert_eq!(
        (ledger.totals().delivered, ledger.totals().duplicated),
        (1, 1)
    );
    assert!(ledger.is_drained());
}

#[test]
fn what_was_never_issued_is_unknown() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 0, 0.0);
    publish(&mut ledger, 3);
    ledger.receive(receipt(0, 3));
    ledger.receive(receipt(1, 0));
    assert_eq!((ledger.totals().unknown, ledger.totals().delivered), (2, 0));
}

#[test]
fn a_delivery_under_another_id_is_noticed_whichever_comes_first() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 0, 0.0);
    ledger.issue(2);
    ledger.accept(0, id_mark(b"evt_x"), 0, 1);
    ledger.receive(receipt(0, 0));
    ledger.receive(receipt(0, 1));
    ledger.accept(1, id_mark(b"evt_1"), 0, 1);
    assert_eq!(ledger.totals().wrong_ids, 1);
}

#[test]
fn a_bad_signature_is_counted_and_the_delivery_is_not_called_lost_too() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 0, 0.0);
    publish(&mut ledger, 1);
    ledger.receive(Receipt {
        signature: Signature::Bad,
        ..receipt(0, 0)
    });
    assert_eq!(
        (ledger.totals().bad_signatures, ledger.outstanding()),
        (1, 0)
    );
}

#[test]
fn the_failing_share_is_refused_once_and_then_taken() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 0, 0.25);
    publish(&mut ledger, 4_000);
    for sequence in 0..4_000 {
        if ledger.receive(receipt(0, sequence)) == Answer::Refused {
            assert_eq!(ledger.receive(receipt(0, sequence)), Answer::Taken);
        }
    }
    let totals = ledger.totals();
    assert!(
        (800..1200).contains(&totals.refused),
        "{} refused",
        totals.refused
    );
    assert_eq!(
        (totals.delivered, totals.duplicated, ledger.outstanding()),
        (4_000, 0, 0)
    );
    assert_eq!(
        ledger.latencies(Kind::Healthy).from_send.total(),
        4_000 - totals.refused
    );
}

#[test]
fn latencies_leave_the_warm_up_out_and_are_nought_before_the_acceptance_is_known() {
    let mut ledger = Ledger::new(&[Kind::Healthy], None, 1_000, 0.0);
    ledger.issue(3);
    ledger.receive(receipt(0, 0));
    ledger.accept(1, 0, 1_000, 3_000);
    ledger.receive(receipt(0, 1));
    ledger.receive(Receipt {
        sent_ns: 999,
        ..receipt(0, 2)
    });
    let latencies = ledger.latencies(Kind::Healthy);
    assert_eq!(
        (latencies.from_send.total(), latencies.from_send.max()),
        (2, 4_000)
    );
    assert_eq!(
        (
            latencies.from_accept.quantile(1),
            latencies.from_accept.max()
        ),
        (Some(0), 2_000)
    );
    assert_eq!((ledger.outstanding(), ledger.unacknowledged()), (0, 2));
}

#[test]
fn no_more_than_the_agreed_number_is_issued() {
    let mut ledger = Ledger::new(&[], Some(4), 0, 0.0);
    assert_eq!(
        (ledger.issue(2), ledger.issue(2), ledger.issue(2)),
        (Some(0), Some(2), None)
    );
}

#[test]
fn shares_become_parts() {
    assert_eq!(
        (parts_of_2_32(0.0), parts_of_2_32(1.0), parts_of_2_32(7.0)),
        (0, 1 << 32, 1 << 32)
    );
    assert!(spread(123, 4) < 1 << 32);
}
