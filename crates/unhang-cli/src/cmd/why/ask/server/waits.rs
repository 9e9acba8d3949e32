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
}

/// What a server says of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerReport {
    pub(crate) until: Until,
    pub(crate) stage: Stage,
    pub(crate) waited: Duration,
    pub(crate) left: Duration,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request, or the rest of it.
    Request,
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
    const ALL: [Self; 3] = [Self::Dry, Self::Newline, Self::HalfClose];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dry => "dry",
            Self::Newline => "newline",
            Self::HalfClose => "half-close",
        }
    }
}

impl Stage {
    const ALL: [Self; 5] = [Self::Request, Self::Handler, Self::Blocked, Self::Reader, Self::Close];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Handler => "handler",
            Self::Blocked => "blocked",
            Self::Reader => "reader",
            Self::Close => "close",
        }
    }
}

/// `until WORD`, and a line `FD WORD MS MS` for each connection.
pub(crate) fn parse(answer: &[u8]) -> Option<WaitTable> {
    let text = std::str::from_utf8(answer).ok()?;
    // A last line without its end was cut off.
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let until = lines.next()?.strip_prefix("until ")?;
    let until = Until::ALL.into_iter().find(|one| one.word() == until)?;
    Some(WaitTable { until, waits: lines.map(wait).collect::<Option<_>>()? })
}

fn wait(line: &str) -> Option<Wait> {
    let columns: Vec<_> = line.split(' ').collect();
    let [fd, stage, waited, left] = columns[..] else { return None };
    Some(Wait {
        fd: number(fd)?.try_into().ok()?,
        stage: Stage::ALL.into_iter().find(|one| one.word() == stage)?,
        waited: Duration::from_millis(number(waited)?),
        left: Duration::from_millis(number(left)?),
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
        let wait = |fd, stage, waited, left| Wait { fd, stage, waited, left };
        assert_eq!(
            answer.waits,
            [
                wait(7, Stage::Request, ms(4_100), ms(5_900)),
                wait(12, Stage::Blocked, ms(20), ms(0)),
            ]
        );
    }

    #[test]
    fn a_server_may_wait_for_nobody() {
        for until in Until::ALL {
            let answer = parse(format!("until {}\n", until.word()).as_bytes());
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
        let odd: [&[u8]; 15] = [
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
