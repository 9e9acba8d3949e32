use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use super::super::arrivals::Schedule;
use super::super::reply::Expected;
use super::super::target::Target;
use super::super::wire::Wire;
use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// A server that accepts when the test accepts, and what its clients ask.
struct Stage {
    _directory: tempfile::TempDir,
    listener: UnixListener,
    script: Script,
    watch: Watch,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let script = Script {
            target: Target::parse(socket.as_os_str()).unwrap(),
            request: b"ping\n".to_vec(),
            wire: Wire::OneShot,
            method: "".into(),
            depth: 1,
            half_close: false,
            expected: Expected::Any,
        };
        Self { _directory: directory, listener, script, watch: Watch::default() }
    }

    fn driver(&self, clients: usize, arrivals: Arrivals, began: Instant) -> Driver<'_> {
        Driver::new(&self.script, &self.watch, (clients, HOUR), arrivals, (began, None)).unwrap()
    }

    fn accept(&self) -> UnixStream {
        self.listener.accept().unwrap().0
    }
}

const CLOSED: Arrivals = Arrivals::Closed { until: None, left: Some(1_000) };

fn knock(driver: &mut Driver<'_>, client: usize, left: Duration) {
    let now = Instant::now();
    driver.free.retain(|free| *free != client);
    driver.connect(client, Knock { since: now, deadline: now + left }, true).unwrap();
}

#[test]
fn a_client_without_room_at_first_is_given_up_no_later_for_that() {
    let stage = Stage::new();
    let mut driver = stage.driver(2, CLOSED, Instant::now());
    // Has begun later, and found room at once.
    knock(&mut driver, 0, HOUR);
    knock(&mut driver, 1, Duration::ZERO);
    driver.end_late_ones();
    assert_eq!(driver.tally.of(Ended::TimedOut), 1);
    assert!(driver.clients[0].exchange.is_some() && driver.clients[1].exchange.is_none());
}

#[test]
fn what_came_while_the_generator_was_held_up_came_in_time() {
    let stage = Stage::new();
    let mut driver = stage.driver(1, CLOSED, Instant::now());
    knock(&mut driver, 0, Duration::ZERO);
    // Its deadline is over when this is looked at.
    let mut server = stage.accept();
    std::io::Read::read_exact(&mut server, &mut [0; 5]).unwrap();
    server.write_all(b"pong\n").unwrap();
    drop(server);
    driver.end_late_ones();
    assert_eq!(driver.tally.of(Ended::Answered), 1);
}

#[test]
fn one_that_hangs_keeps_no_memory_of_all_the_others() {
    let stage = Stage::new();
    let mut driver = stage.driver(2, CLOSED, Instant::now());
    knock(&mut driver, 0, HOUR);
    let _hung = stage.accept();
    let mut events = Vec::with_capacity(EVENTS);
    for _ in 0..100 {
        driver.begin_due().unwrap();
        drop(stage.accept());
        let wake = Wake { pause: HOUR, is_precise: false };
        driver.wait(wake, &mut events).unwrap();
        for event in events.drain(..) {
            driver.go_on(event.data.u64()).unwrap();
        }
    }
    assert_eq!(driver.tally.exchanges(), 100);
    assert!(driver.deadlines.len() <= 2, "{}", driver.deadlines.len());
}

#[test]
fn the_first_is_late_by_the_generators_own_fault() {
    let stage = Stage::new();
    let began = Instant::now().checked_sub(Duration::from_millis(50)).unwrap();
    let mut driver = stage.driver(1, Arrivals::Open(Schedule::new(0, 1, 1.0, 1)), began);
    driver.begin_due().unwrap();
    assert_eq!((driver.tally.late, driver.tally.late_generator), (1, 1));
}

/// The clock had gone on since the look at what is due: an exchange that had come due waited for an
/// event or for the next look, 100 ms later, though a client was free.
#[test]
fn what_is_due_while_a_client_is_free_waits_for_nothing() {
    let stage = Stage::new();
    let driver = stage.driver(2, Arrivals::Open(Schedule::new(0, 1, 1.0, 9)), Instant::now());
    assert_eq!(driver.next().unwrap().pause, Duration::ZERO);
}

#[test]
fn an_interrupted_run_does_not_give_up_all_that_were_due_one_by_one() {
    let stage = Stage::new();
    let began = Instant::now().checked_sub(HOUR).unwrap();
    let many = Schedule::new(0, 1, 10_000_000.0, u64::MAX);
    let times = (began, Some(began + HOUR / 2));
    let mut driver =
        Driver::new(&stage.script, &stage.watch, (1, HOUR), Arrivals::Open(many), times).unwrap();
    stage.watch.stop.store(true, Ordering::Relaxed);
    driver.give_up_late_starts();
    assert_eq!(driver.tally.never_started(), 0);
}
