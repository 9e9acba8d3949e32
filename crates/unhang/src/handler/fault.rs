//! A handler that could not answer.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::Reply;

/// A handler that could not answer.
///
/// Any error becomes one with `?`: errors of the standard library, `anyhow::Error`, a
/// `Box<dyn Error + Send + Sync>`. The client is then told only that the handler failed; the log
/// is told why. [`Fault::new`] has a reason that the client may read.
///
/// ```
/// # use unhang::{Fault, Request};
/// async fn read(request: Request) -> Result<Vec<u8>, Fault> {
///     let name = request.text();
///     if name.contains('/') {
///         return Err(Fault::new("expected a name without a slash"));   // ERR expected a name …
///     }
///     Ok(std::fs::read(format!("/srv/pages/{name}"))?)                 // ERR the handler failed
/// }
/// ```
#[derive(Clone)]
#[must_use = "a fault says why there is no answer only if the handler returns it"]
pub struct Fault {
    pub(crate) kind: FaultKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
    reply: Option<Arc<Reply>>,
    code: Option<&'static str>,
    pub(crate) says: Says,
}

/// What a wire with words for it says of a fault: HTTP has a status for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Says {
    #[default]
    Failed,
    Busy,
    Late,
    TooLarge,
}

/// Kept apart because the client is told different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Told(String),
    Failed,
    Panicked(String),
}

impl Fault {
    /// A fault whose reason the client may read: it is told `ERR <reason>`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self::with_kind(FaultKind::Told(reason.into()))
    }

    /// The same for a request that did not run, as there was no room for it: an HTTP client is told 503 and to
    /// try again soon, where other faults are a 500.
    pub fn busy(reason: impl Into<String>) -> Self {
        Self { says: Says::Busy, ..Self::new(reason) }
    }

    /// The same for an answer that something behind the handler did not give in time: a 504 in HTTP.
    pub fn late(reason: impl Into<String>) -> Self {
        Self { says: Says::Late, ..Self::new(reason) }
    }

    /// The same for a request that is larger than what answers takes: a 413 in HTTP.
    pub fn too_large(reason: impl Into<String>) -> Self {
        Self { says: Says::TooLarge, ..Self::new(reason) }
    }

    fn with_kind(kind: FaultKind) -> Self {
        Self { kind, source: None, reply: None, code: None, says: Says::default() }
    }

    /// The client gets this reply in place of the line `ERR <reason>`: for a service whose clients
    /// expect errors in a form of their own. It still counts as a fault, in the log and in counters.
    /// A [streamed](Reply::stream) reply cannot be one; the client is then told the reason.
    pub fn with_reply(self, reply: impl Into<Reply>) -> Self {
        Self { reply: Some(Arc::new(reply.into())), ..self }
    }

    /// The word for it in logs and counters ([`Cause::code`](crate::Cause::code)) in place of
    /// `handler_failed`: for a service with causes that its operator has to tell apart.
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The error that it was made of.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// The error that it was made of, if that is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        let source: &(dyn Error + 'static) = self.source.as_deref()?;
        source.downcast_ref()
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self::with_kind(FaultKind::Panicked(message))
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code.unwrap_or(match self.kind {
            FaultKind::Panicked(_) => "handler_panicked",
            FaultKind::Told(_) | FaultKind::Failed => "handler_failed",
        })
    }

    pub(crate) fn reply(&self) -> Option<&[u8]> {
        self.reply.as_deref().and_then(Reply::whole)
    }
}

/// For the log: everything that is known.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Told(reason) => f.write_str(reason)?,
            FaultKind::Failed => {}
            FaultKind::Panicked(message) => write!(f, "it panicked: {message}")?,
        }
        let Some(error) = &self.source else { return Ok(()) };
        write!(f, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self { source: Some(Arc::from(error.into())), ..Self::with_kind(FaultKind::Failed) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// `?` on a boxed error did not compile.
    #[test]
    fn boxed_errors_become_faults_and_are_found_again() {
        fn fails() -> Result<(), Fault> {
            Err::<(), Box<dyn Error + Send + Sync>>(Box::new(io::Error::other("no page")))?;
            Ok(())
        }
        let fault = fails().unwrap_err();
        assert_eq!(fault.downcast_ref::<io::Error>().unwrap().to_string(), "no page");
        assert!(fault.downcast_ref::<fmt::Error>().is_none() && fault.source().is_some());
        assert_eq!(format!("{fault} {fault:?}"), "no page Fault(no page)");
    }

    #[test]
    fn a_fault_may_carry_its_own_reply() {
        let fault = Fault::new("no").with_reply("{\"error\":1}\n");
        assert_eq!(fault.reply(), Some(&b"{\"error\":1}\n"[..]));
        let (_sender, streamed) = Reply::stream(1);
        assert_eq!(Fault::new("no").with_reply(streamed).reply(), None);
    }
}
