use std::sync::mpsc;

use super::*;

fn nothing_lost(events: u64, diagnostics: u64) {
    assert_eq!((events, diagnostics), (0, 0));
}

/// A sink that takes a record only when it is let, and what it has taken.
fn gated() -> (Sink, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
    let (let_one, gate) = mpsc::channel();
    let (took, taken) = mpsc::channel();
    let sink = move |record: &[u8]| {
        // A gate that is gone is open.
        let _ = gate.recv();
        let _ = took.send(record.to_vec());
        Ok(record.len())
    };
    (Box::new(sink), let_one, taken)
}

#[tokio::test]
async fn a_receipt_is_good_once_all_before_it_is_written_and_no_earlier() {
    let (sink, let_one, taken) = gated();
    let queue = Queue::start(sink, nothing_lost).unwrap();
    queue.put(Weight::Owed, b"one".to_vec());
    let receipt = queue.receipt();
    queue.put(Weight::Owed, b"two".to_vec());
    assert!(!receipt.is_good());
    let_one.send(()).unwrap();
    receipt.good().await;
    assert_eq!(taken.recv().unwrap(), b"one");
    assert!(!queue.receipt().is_good());
    drop(let_one);
    queue.receipt().good().await;
    assert_eq!(taken.recv().unwrap(), b"two");
}

/// The sink takes nothing: who speaks goes on all the same, memory is bounded, and what is owed has its place.
#[test]
fn a_sink_that_takes_nothing_stops_nobody_and_what_is_lost_is_counted() {
    static LOST: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());
    let (sink, let_one, taken) = gated();
    let queue = Queue::start(sink, |events, lines| LOST.lock().unwrap().push((events, lines))).unwrap();
    let record = vec![b'x'; 1 << 20];
    for _ in 0..10 {
        queue.put(Weight::Diagnostic, record.clone());
    }
    for _ in 0..10 {
        queue.put(Weight::Event, record.clone());
    }
    queue.put(Weight::Owed, b"owed".to_vec());
    let state = queue.state();
    assert_eq!((state.lost_events, state.lost_diagnostics), (8, 8));
    assert_eq!((state.bytes, state.admitted), (ROOM + 4, 5));
    drop(state);
    drop(let_one);
    assert_eq!(taken.iter().take(5).last().unwrap(), b"owed");
    queue.drain(Duration::from_secs(60));
    assert!(queue.receipt().is_good());
    // The count is said by the thread that writes, once the last record is written.
    queue.put(Weight::Event, b"another".to_vec());
    assert_eq!(taken.recv().unwrap(), b"another");
    assert_eq!(*LOST.lock().unwrap(), [(8, 8)]);
}

#[test]
fn what_a_sink_took_in_part_is_not_begun_anew_and_what_it_refused_is_offered_again() {
    let (took, taken) = mpsc::channel();
    let mut calls = 0;
    let sink: Sink = Box::new(move |record: &[u8]| {
        calls += 1;
        match calls {
            1 => took.send(record[..2].to_vec()).map(|()| 2).map_err(io::Error::other),
            2 => Err(io::ErrorKind::Interrupted.into()),
            3 => Err(io::ErrorKind::StorageFull.into()),
            _ => took.send(record.to_vec()).map(|()| record.len()).map_err(io::Error::other),
        }
    });
    let queue = Queue::start(sink, nothing_lost).unwrap();
    queue.put(Weight::Event, b"record".to_vec());
    queue.drain(Duration::from_secs(60));
    assert_eq!(taken.iter().take(2).collect::<Vec<_>>().concat(), b"record");
}

#[test]
fn who_drains_a_sink_that_takes_nothing_waits_no_longer_than_it_said() {
    let (sink, let_one, _taken) = gated();
    let queue = Queue::start(sink, nothing_lost).unwrap();
    queue.put(Weight::Event, b"record".to_vec());
    queue.drain(Duration::from_millis(1));
    assert!(!queue.receipt().is_good());
    drop(let_one);
}
