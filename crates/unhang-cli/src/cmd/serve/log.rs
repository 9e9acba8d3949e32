//! What `unhang serve` prints: a line per exchange, for people or for machines.

#[cfg(feature = "nats")]
mod calls;
mod columns;
mod exchange;
mod hint;
mod limiter;
mod lines;
mod paint;
mod writer;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use unhang::backend::{Notice, Why};
use unhang::{Address, Cause, Ended, Event};

use crate::units::Mode;
use hint::Hint;
use limiter::{Kind, Limiter, WINDOW};
use lines::Line;
use paint::Paint;
use writer::Writer;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Form {
    #[default]
    Text,
    Json,
}

/// How a line becomes text.
#[derive(Clone)]
enum Style {
    Text(Paint),
    Json,
}

thread_local! {
    /// Where each thread writes its lines, so that none needs memory of its own.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The log of one server.
pub(crate) struct Log {
    style: Style,
    quiet: bool,
    writer: Writer,
    hint: Hint,
    limiter: Limiter,
    answered: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

impl Log {
    /// Of a server at that address.
    pub(crate) fn start(form: Form, quiet: bool, address: &Address) -> Self {
        Self::with_hint(form, quiet, Hint::new(address))
    }

    /// Of a service that has no socket.
    #[cfg(feature = "nats")]
    pub(crate) fn of_service(form: Form, quiet: bool) -> Self {
        Self::with_hint(form, quiet, Hint::of_process())
    }

    fn with_hint(form: Form, quiet: bool, hint: Hint) -> Self {
        let style = match form {
            Form::Text => Style::Text(Paint::for_stdout()),
            Form::Json => Style::Json,
        };
        let dropped = style.clone();
        let dropped = move |count| dropped.render(&Line::Dropped { count });
        Self {
            style,
            quiet,
            writer: Writer::start(crate::stdio::Stdout, dropped),
            hint,
            limiter: Limiter::default(),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            other: AtomicU64::new(0),
        }
    }

    pub(crate) fn listening(&self, address: &Address, mode: Option<Mode>) {
        self.say(&Line::Listening { address, mode });
    }

    #[cfg(feature = "nats")]
    pub(crate) fn serving(&self, address: &unhang_nats::Address, worker: &str) {
        self.say(&Line::Serving { address, worker });
    }

    /// What a door or a service has to say of NATS.
    #[cfg(feature = "nats")]
    pub(crate) fn call(&self, notice: &unhang_nats::Notice) {
        if let unhang_nats::Notice::Served { outcome, .. } = notice {
            let tally = match *outcome {
                "answered" => &self.answered,
                "busy" | "late" | "stopping" => &self.refused,
                _ => &self.other,
            };
            tally.fetch_add(1, Ordering::Relaxed);
        }
        // At a door a call that was answered has its exchange's line; machines get its id.
        let is_said = calls::is_news(notice)
            || (!self.quiet
                && (matches!(self.style, Style::Json)
                    || matches!(notice, unhang_nats::Notice::Served { .. })));
        if is_said && calls::kind(notice).is_none_or(|kind| self.limiter.admits(kind)) {
            self.say(&Line::Call(notice));
        }
    }

    pub(crate) fn event(&self, event: &Event) {
        let is_shown =
            Kind::of(event).is_none_or(|kind| self.is_quiet(event) || self.limiter.admits(kind));
        match event {
            Event::Exchange(exchange) => {
                let tally = match exchange.ended {
                    Ended::Answered => &self.answered,
                    Ended::Refused(_) => &self.refused,
                    _ => &self.other,
                };
                tally.fetch_add(1, Ordering::Relaxed);
                if is_shown && !self.is_quiet(event) {
                    self.say(&Line::Exchange(exchange, self.hint.command(&exchange.ended)));
                    self.hint(&exchange.ended);
                }
            }
            _ if !is_shown => {}
            Event::AcceptFailed(error) => self.say(&Line::AcceptFailed(error)),
            Event::Replaced { by } => self.say(&Line::Replaced { by: *by }),
            Event::NotReplaced { by, error } => self.say(&Line::NotReplaced { by: *by, error }),
            Event::SocketLost(lost) => self.say(&Line::SocketLost(*lost)),
            Event::Draining { open, within } => {
                self.say(&Line::Draining { open: *open, within: *within });
            }
            Event::Dropped { events } => self.say(&Line::Dropped { count: *events }),
            // The library may learn to tell more than this command has a line for.
            _ => {}
        }
    }

    /// Whether nothing is said of it.
    fn is_quiet(&self, event: &Event) -> bool {
        matches!(event, Event::Exchange(exchange) if self.quiet && !is_fault(&exchange.ended))
    }

    /// For ever: once a second, says how many lines were held back.
    pub(crate) async fn count_lines(&self) {
        loop {
            self.limiter.has_counts().await;
            loop {
                tokio::time::sleep(WINDOW).await;
                if !self.say_counts() {
                    break;
                }
            }
        }
    }

    /// Whether there may be more.
    fn say_counts(&self) -> bool {
        let (counts, go_on) = self.limiter.take();
        for (Kind { what, uid }, count) in counts {
            self.say(&Line::More { what, uid, count });
        }
        go_on
    }

    /// What a backend has to say of its processes.
    pub(crate) fn notice(&self, notice: &Notice) {
        if is_worth_a_line(notice) {
            self.say(&Line::Notice(notice));
        }
    }

    /// Says that all is over, and waits a moment until it is written.
    pub(crate) fn stopped(&self) {
        self.say_counts();
        let line = Line::Stopped {
            answered: self.answered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        };
        self.writer.finish(self.style.render(&line));
    }

    /// A line of its own for people; for machines it stands with each exchange.
    fn hint(&self, ended: &Ended) {
        if !matches!(self.style, Style::Text(_)) {
            return;
        }
        if let Some(command) = self.hint.is_due(ended, Instant::now()) {
            self.say(&Line::Hint { command });
        }
    }

    fn say(&self, line: &Line<'_>) {
        LINE.with_borrow_mut(|text| {
            text.clear();
            self.style.write(line, text);
            self.writer.write(text);
        });
    }
}

impl Style {
    fn render(&self, line: &Line<'_>) -> String {
        let mut text = String::new();
        self.write(line, &mut text);
        text
    }

    fn write(&self, line: &Line<'_>, text: &mut String) {
        match self {
            Self::Text(paint) => line.write_text(paint, text),
            Self::Json => line.write_json(text),
        }
    }
}

/// What the service itself, and not its client, did wrong or had not enough of.
fn is_fault(ended: &Ended) -> bool {
    matches!(
        ended,
        Ended::Refused(
            Cause::HandlerFailed(_) | Cause::HandlerLate { .. } | Cause::Stopping | Cause::Busy(_)
        ) | Ended::Cut(_)
            | Ended::Failed(..)
    )
}

/// Whether the operator has something to do or to know. Events that need nobody are counted only.
pub(super) fn is_worth_a_line(notice: &Notice) -> bool {
    match notice {
        Notice::Started { .. } | Notice::ReplyEnded { .. } | Notice::Waited { .. } => false,
        Notice::Ended { worker, why, .. } => match why {
            Why::Done => worker.is_some(),
            Why::Stopping => false,
            _ => true,
        },
        _ => true,
    }
}
