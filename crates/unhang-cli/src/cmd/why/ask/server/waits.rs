//! A server's answer to the question what it waits for. Pure bytes, and all or nothing: an answer
//! with anything odd in it is not known.

use std::time::Duration;

/// All that a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitTable {
    pub(crate) until: Until,
    pub(crate) waits: Vec<Wait>,
}

/// Where a request ends, besides at a half-close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When the receive queue is dry.
    Dry,
    Newline,
    /// Nowhere else.
    HalfClose,
    /// At its delimiter; the connection is kept for the next one. So are those below.
    Lines,
    /// Where HTTP's head says.
    Http,
    /// Where the frame's header says.
    Goridge,
}

/// One connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Its number in the server.
    pub(crate) fd: u32,
    pub(crate) stage: Stage,
    pub(crate) waited: Duration,
    /// Until the server ends it.
    pub(crate) left: Duration,
    pub(crate) behind: Option<Behind>,
}

/// What the handler waits for, if it has said so: `unhang serve` does with a program, workers, or another
/// server behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The process that has the request.
    Process(u32),
    /// The far end of a descriptor of the server's own.
    Descriptor(u32),
    /// Until one of its workers or processes is free.
    Place,
    /// A call on another machine, of which the server can be asked.
    Call(u32),
}

/// What a server says of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerReport {
    /// The process that was asked.
    pub(crate) pid: u32,
    pub(crate) until: Until,
    pub(crate) stage: Stage,
    pub(crate) waited: Duration,
    pub(crate) left: Duration,
    pub(crate) behind: Option<Behind>,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request, or the rest of it.
    Request,
    /// The next request, on a connection that is kept.
    Idle,
    /// The handler, which waits for something itself.
    Handler,
    /// The same, and the handler blocks the thread that it began on.
    Blocked,
    /// The client to read its reply.
    Reader,
    /// The client to close, as it has its answer and the end of it.
    Close,
}

impl Until {
    const ALL: [Self; 6] =
        [Self::Dry, Self::Newline, Self::HalfClose, Self::Lines, Self::Http, Self::Goridge];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dry => "dry",
            Self::Newline => "newline",
            Self::HalfClose => "half-close",
            Self::Lines => "lines",
            Self::Http => "http",
            Self::Goridge => "goridge",
        }
    }

    /// The first line of the answer.
    fn line(self) -> String {
        let kind = match self {
            Self::Dry | Self::Newline | Self::HalfClose => "until",
            Self::Lines | Self::Http | Self::Goridge => "wire",
        };
        format!("{kind} {}", self.word())
    }
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Request, Self::Idle, Self::Handler, Self::Blocked, Self::Reader, Self::Close];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Idle => "idle",
            Self::Handler => "handler",
            Self::Blocked => "blocked",
            Self::Reader => "reader",
            Self::Close => "close",
        }
    }
}

/// `until WORD`, or `wire WORD` if connections are kept, and a line `FD WORD MS MS` for each connection; behind that, if its handler has said so,
/// `process PID`, `descriptor FD`, `call NUMBER` or `place`.
pub(crate) fn parse(answer: &[u8]) -> Option<WaitTable> {
    let text = std::str::from_utf8(answer).ok()?;
    // A last line without its end was cut off.
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let first = lines.next()?;
    let until = Until::ALL.into_iter().find(|one| one.line() == first)?;
    Some(WaitTable { until, waits: lines.map(wait).collect::<Option<_>>()? })
}

fn wait(line: &str) -> Option<Wait> {
    let columns: Vec<_> = line.split(' ').collect();
    let [fd, stage, waited, left, ref behind @ ..] = columns[..] else { return None };
    Some(Wait {
        fd: number(fd)?.try_into().ok()?,
        stage: Stage::ALL.into_iter().find(|one| one.word() == stage)?,
        waited: Duration::from_millis(number(waited)?),
        left: Duration::from_millis(number(left)?),
        behind: match behind {
            [] => None,
            ["place"] => Some(Behind::Place),
            ["call", call] => Some(Behind::Call(number(call)?.try_into().ok()?)),
            ["process", pid] => Some(Behind::Process(number(pid)?.try_into().ok()?)),
            ["descriptor", fd] => Some(Behind::Descriptor(number(fd)?.try_into().ok()?)),
            _ => return None,
        },
    })
}

/// Of digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_where_a_request_ends_and_what_is_waited_for() {
        let ms = Duration::from_millis;
        let answer = parse(b"until newline\n7 request 4100 5900\n12 blocked 20 0\n").unwrap();
        assert_eq!(answer.until, Until::Newline);
        let wait = |fd, stage, waited, left| Wait { fd, stage, waited, left, behind: None };
        assert_eq!(
            answer.waits,
            [
                wait(7, Stage::Request, ms(4_100), ms(5_900)),
                wait(12, Stage::Blocked, ms(20), ms(0)),
            ]
        );
    }

    #[test]
    fn a_handler_may_say_what_it_waits_for() {
        let behind = |words: &str| {
            let answer = parse(format!("until dry\n7 handler 1 2{words}\n").as_bytes());
            answer.map(|answer| answer.waits[0].behind)
        };
        assert_eq!(behind(""), Some(None));
        assert_eq!(behind(" place"), Some(Some(Behind::Place)));
        assert_eq!(behind(" process 812"), Some(Some(Behind::Process(812))));
        assert_eq!(behind(" descriptor 9"), Some(Some(Behind::Descriptor(9))));
        assert_eq!(behind(" call 0"), Some(Some(Behind::Call(0))));
        for odd in [
            " call",
            " call x",
            " process",
            " process -1",
            " process 4294967296",
            " place 1",
            " moon 1",
            " ",
        ] {
            assert_eq!(behind(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_server_may_wait_for_nobody() {
        for until in Until::ALL {
            let answer = parse(format!("{}\n", until.line()).as_bytes());
            assert_eq!(answer, Some(WaitTable { until, waits: Vec::new() }));
        }
    }

    #[test]
    fn every_stage_is_known() {
        for stage in Stage::ALL {
            let answer = parse(format!("until dry\n3 {} 1 2\n", stage.word()).as_bytes());
            assert_eq!(answer.unwrap().waits[0].stage, stage);
        }
    }

    #[test]
    fn anything_odd_is_not_known() {
        let odd: [&[u8]; 17] = [
            b"until lines\n",
            b"wire dry\n",
            b"",
            b"\n",
            b"until newline",
            b"until tomorrow\n",
            b"until  dry\n",
            b"until dry\r\n",
            b"the other side runs as user 7, expected 0 or root\n",
            b"until dry\n7 request 1",
            b"until dry\n7 request 1 2",
            b"until dry\n\n",
            b"until dry\n7 request 1 2 3\n",
            b"until dry\n7 dancing 1 2\n",
            b"until dry\n-7 request 1 2\n",
            b"until dry\n7 request +1 2\n",
            b"until dry\n7 request 1 99999999999999999999\n",
        ];
        for answer in odd {
            assert_eq!(parse(answer), None, "{}", answer.escape_ascii());
        }
        assert_eq!(parse(b"until dry\n4294967296 request 1 2\n"), None);
        assert_eq!(parse(b"until dry\n7 request 1 \n"), None);
        assert_eq!(parse(b"until dry\n\xff request 1 2\n"), None);
    }
}
