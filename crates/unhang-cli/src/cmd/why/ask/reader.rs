//! Who reads a descriptor.

/// Who reads a descriptor of a Go program.
#[derive(Debug)]
pub(crate) enum Reader {
    /// This goroutine waits until there is something to read. Its functions, innermost first; how
    /// the runtime parks it is left out.
    Waiting { goroutine: u64, frames: Vec<String> },
    /// None does.
    Nobody {
        /// How many goroutines could own it nevertheless. Not counted are the runtime's own, and
        /// those (the main one too) that wait in accept or for ever in `select {}`. So with 0 there
        /// is no goroutine left that would read or close it; a timer (`time.AfterFunc`), the
        /// garbage collector, or whoever accepts the next connection still might.
        handlers: usize,
    },
}
