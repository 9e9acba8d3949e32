//! The line of an exchange, put together piece by piece: through `fmt` and a derived `Serialize` it
//! took more than the exchange that it tells of.

use serde::Serialize;
use unhang::{Cause, Ended, Exchange, State};

use super::columns::{left, number, right, size, span};
use super::paint::Paint;

/// For people.
pub(super) fn write_text(exchange: &Exchange, paint: &Paint, text: &mut String) {
    let (word, why) = describe(&exchange.ended);
    *text += match exchange.ended {
        Ended::Answered | Ended::NoRequest => &paint.good,
        _ => &paint.bad,
    };
    left(text, 10, |text| *text += word);
    *text += &paint.end;
    text.push(' ');
    if let Some(peer) = exchange.peer {
        *text += "pid ";
        left(text, 7, |text| number(text, peer.pid.into()));
        *text += " uid ";
        left(text, 6, |text| number(text, peer.uid.into()));
    }
    *text += " in ";
    right(text, 8, |text| size(text, exchange.bytes_in));
    *text += "  out ";
    right(text, 8, |text| size(text, exchange.bytes_out));
    *text += "  ";
    right(text, 8, |text| span(text, exchange.took));
    if !why.is_empty() {
        *text += "  ";
        *text += &one_line(&why);
    }
}

/// A handler may have put parts of the request into its fault: they write no lines of their own, and
/// drive no terminal.
fn one_line(why: &str) -> String {
    why.replace(char::is_control, " ")
}

/// For machines: by the alphabet, as the other lines are. `diagnose` is the command that can tell
/// more of it.
pub(super) fn write_json(
    exchange: &Exchange,
    diagnose: Option<&str>,
    time: &str,
    text: &mut String,
) {
    let (_, why) = describe(&exchange.ended);
    let cause = match &exchange.ended {
        Ended::Refused(cause) | Ended::Cut(cause) => Some(cause.code()),
        _ => None,
    };
    let peer = exchange.peer;
    // In the same memory: serde_json writes bytes.
    let mut line = std::mem::take(text).into_bytes();
    put(&mut line, r#"{"bytes_in":"#, &exchange.bytes_in);
    put(&mut line, r#","bytes_out":"#, &exchange.bytes_out);
    put(&mut line, r#","cause":"#, &cause);
    put(&mut line, r#","diagnose":"#, &diagnose);
    put(&mut line, r#","ended":"#, exchange.ended.code());
    put(&mut line, r#","event":"exchange","gid":"#, &peer.map(|peer| peer.gid));
    put(&mut line, r#","handled_s":"#, &exchange.handled.map(|handled| handled.as_secs_f64()));
    put(&mut line, r#","pid":"#, &peer.map(|peer| peer.pid));
    put(&mut line, r#","time":"#, time);
    put(&mut line, r#","took_s":"#, &exchange.took.as_secs_f64());
    put(&mut line, r#","uid":"#, &peer.map(|peer| peer.uid));
    put(&mut line, r#","why":"#, &(!why.is_empty()).then_some(why));
    line.push(b'}');
    // What it writes is always text.
    *text = String::from_utf8(line).unwrap_or_default();
}

fn put<T: Serialize + ?Sized>(line: &mut Vec<u8>, name: &str, value: &T) {
    line.extend_from_slice(name.as_bytes());
    // Each of them can be written.
    let _ = serde_json::to_writer(line, value);
}

/// How it ended in a word or two, and why if that is not all there is to say.
fn describe(ended: &Ended) -> (&'static str, String) {
    match ended {
        Ended::Answered => ("answered", String::new()),
        Ended::Refused(cause) => ("refused", reason(cause)),
        Ended::NoRequest => ("no request", String::new()),
        Ended::ClientGone(state) => ("gone", format!("the client left {}", during(*state))),
        Ended::ReplyNotTaken => {
            ("not taken", "the client did not read its whole reply in time".to_owned())
        }
        Ended::Cut(cause) => ("cut", format!("in the middle of the reply: {}", reason(cause))),
        Ended::Failed(state, error) => ("failed", format!("{error}, {}", during(*state))),
        _ => ("ended", String::new()),
    }
}

/// What the client was told, and what only the log may know.
fn reason(cause: &Cause) -> String {
    match cause {
        Cause::HandlerFailed(fault) => {
            let (told, known) = (cause.to_string(), fault.to_string());
            if told == known { told } else { format!("{told}: {known}") }
        }
        _ => cause.to_string(),
    }
}

fn during(state: State) -> &'static str {
    match state {
        State::Reading => "while its request was read",
        State::Writing => "while its reply was written",
        _ => "in mid-exchange",
    }
}

#[cfg(test)]
mod tests {
    use unhang::Fault;

    use super::*;

    /// It did.
    #[test]
    fn a_fault_with_a_newline_from_its_client_does_not_write_a_line_of_its_own() {
        let fault = Fault::new("no customer x\n09:41:12.871  answered\x1b[2J");
        let (_, why) = describe(&Ended::Refused(Cause::HandlerFailed(fault)));
        assert_eq!(one_line(&why), "no customer x 09:41:12.871  answered [2J");
    }
}
