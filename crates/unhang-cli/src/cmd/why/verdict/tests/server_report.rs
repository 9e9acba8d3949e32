//! What a server of our own says, beside what its client does.

use super::*;
use crate::cmd::why::ask::server::waits::ServerReport;
use crate::cmd::why::ask::server::waits::{Stage, Until};

const LONG: Duration = Duration::from_secs(4);
const SHORT: Duration = Duration::from_millis(600);

impl World {
    fn word(mut self, until: Until, stage: Stage, waited: Duration) -> Self {
        let word = ServerReport {
            pid: SERVER_PID,
            until,
            stage,
            waited,
            left: Duration::from_secs(6),
            behind: None,
        };
        self.0.details.reports.insert(SERVER, word);
        self
    }

    /// As the library's servers do it.
    fn served(self) -> Self {
        self.event_loop(SERVER_PID, &[(3, LISTENER, RUNTIME), (4, SERVER, RUNTIME)])
    }
}

#[test]
fn where_the_request_ends_tells_what_is_missing() {
    let waits = |until| World::asked().served().word(until, Stage::Request, SHORT);
    says(&waits(Until::Newline), Code::ServerWaitsDelimiter, Certainty::Certain, true);
    says(&waits(Until::HalfClose), Code::ServerWaitsEof, Certainty::Certain, true);
    says(&waits(Until::Dry), Code::BothWaiting, Certainty::Certain, true);
}

#[test]
fn a_client_that_does_not_wait_may_still_write_its_request() {
    let writes = |waited| {
        World::new().served().thread(CLIENT_PID, Call::Sleep).word(
            Until::Newline,
            Stage::Request,
            waited,
        )
    };
    says_nothing(&writes(SHORT));
    says(&writes(LONG), Code::ServerWaitsDelimiter, Certainty::Certain, false);
}

#[test]
fn a_handler_that_has_only_begun_does_not_hang() {
    for stage in [Stage::Handler, Stage::Blocked] {
        let world = |waited| World::asked().served().word(Until::Dry, stage, waited);
        // The client has waited for longer than that, and its server's word does not acquit it.
        says(&world(SHORT), Code::BothWaiting, Certainty::Possible, false);
        says(&world(LONG), Code::HandlerBlocked, Certainty::Certain, true);
    }
}

/// It was said that the client `waits 213503982334d`.
#[test]
fn a_word_that_is_older_than_its_connection_is_not_believed() {
    let world = |waited| {
        let mut world = World::asked().served().word(Until::Newline, Stage::Request, waited);
        for process in world.0.processes.values_mut() {
            process.age = Some(Duration::from_secs(60));
        }
        world
    };
    says(&world(LONG), Code::ServerWaitsDelimiter, Certainty::Certain, true);
    for waited in [Duration::from_secs(62), Duration::from_millis(u64::MAX)] {
        says(&world(waited), Code::BothWaiting, Certainty::Possible, false);
    }
}

/// Regression: "handler 0 0" for ever, and its client stood still.
#[test]
fn a_word_that_all_is_well_acquits_nobody() {
    let world = World::asked().thread(SERVER_PID, Call::Sleep);
    let world = world.word(Until::Dry, Stage::Handler, Duration::ZERO);
    says(&world, Code::HandlerBlocked, Certainty::Certain, true);
    let world = World::asked().served().unread(SERVER, 8);
    let world = world.word(Until::Dry, Stage::Close, Duration::ZERO);
    says(&world, Code::RequestUnread, Certainty::Certain, true);
}

#[test]
fn a_handler_has_the_request_even_where_more_lies_unread() {
    let world = World::asked().served().unread(SERVER, 8);
    let world = world.word(Until::Newline, Stage::Handler, LONG);
    says(&world, Code::HandlerBlocked, Certainty::Certain, true);
}

#[test]
fn a_handler_that_blocks_its_thread_and_computes_is_likely_that_thread() {
    let world = World::asked().served().moving(SERVER_PID, Call::None, Activity::Computing);
    says(&world.word(Until::Dry, Stage::Blocked, LONG), Code::HandlerCpu, Certainty::Likely, true);
}

#[test]
fn of_a_client_that_may_not_be_seen_only_the_servers_side_is_told() {
    let world = World::new().hidden(CLIENT).served().word(Until::Newline, Stage::Request, LONG);
    says(&world, Code::ServerWaitsDelimiter, Certainty::Certain, false);
}

#[test]
fn a_client_that_reads_is_not_said_not_to() {
    let world =
        |world: World| world.served().unread(CLIENT, 8).word(Until::Dry, Stage::Reader, SHORT);
    let reads = World::new().moving(CLIENT_PID, Call::Read(3), Activity::Moving);
    says_nothing(&world(reads));
    let sleeps = World::new().thread(CLIENT_PID, Call::Sleep);
    says(&world(sleeps), Code::ClientNotReading, Certainty::Certain, true);
}

#[test]
fn after_the_answer_nobody_hangs() {
    let world = |waited| {
        let world = World::new().served().thread(CLIENT_PID, Call::Sleep);
        world.word(Until::Newline, Stage::Close, waited)
    };
    says_nothing(&world(SHORT));
    says(&world(LONG), Code::ServerClosed, Certainty::Certain, false);
    says(&world(LONG).unread(CLIENT, 8), Code::ReplyUnread, Certainty::Certain, true);
}

#[test]
fn every_verdict_says_that_the_server_ends_it_by_itself() {
    let stages = [Stage::Request, Stage::Handler, Stage::Blocked, Stage::Reader, Stage::Close];
    for stage in stages {
        let world = World::asked().served().word(Until::Newline, stage, LONG);
        let world = if stage == Stage::Reader { world.unread(CLIENT, 8) } else { world };
        let verdicts = judge(&world.0, &Target::All);
        let [verdict] = &verdicts[..] else { panic!("{stage:?}: {verdicts:#?}") };
        let now = &verdict.now[0];
        assert!(now.starts_with("wait: the server ends this by itself in 6s"), "{now}");
        let told = verdict.evidence.iter().find(|one| one.source == Some("PATH.ctl"));
        assert!(told.is_some_and(|told| told.text.contains("4s")), "{verdict:#?}");
    }
}
