//! What other crates are given to work with: `tower` services as handlers, and spans of `tracing`.

#[cfg(feature = "tower")]
mod tower {
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use tower_service::Service;
    use unhang::{Fault, Request, TowerHandler};

    use crate::support::{Running, ask};

    /// Not `Sync`, ready at the second try, and broken for one request.
    #[derive(Clone)]
    struct Shout {
        tries: std::cell::Cell<u32>,
    }

    impl Service<Request> for Shout {
        type Response = String;
        type Error = Fault;
        type Future = Ready<Result<String, Fault>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
            self.tries.set(self.tries.get() + 1);
            if self.tries.get() == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request) -> Self::Future {
            assert_eq!(self.tries.get(), 2, "called before it was ready");
            ready(match &*request.text() {
                "fail" => Err(Fault::new("told to fail")),
                text => Ok(text.to_uppercase()),
            })
        }
    }

    #[test]
    fn a_tower_service_answers_once_it_is_ready() {
        let handler = TowerHandler::new(Shout { tries: 0.into() });
        let server = Running::start(|server| server, handler);
        assert_eq!(ask(&server.path, "hello"), "HELLO");
        assert_eq!(ask(&server.path, "again"), "AGAIN");
        assert_eq!(ask(&server.path, "fail"), "ERR told to fail\n");
    }
}

#[cfg(feature = "tracing")]
mod tracing {
    use std::cell::RefCell;
    use std::fmt::Debug;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Metadata, Subscriber};
    use unhang::{Event, Fault, Request};

    use crate::support::{PATIENCE, Running, ask};

    /// What is noted of the spans `exchange`, also those of other tests in this process.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Exchanges>>);

    #[derive(Default)]
    struct Exchanges {
        /// Their ids, in the order in which the spans were made.
        ids: Vec<u64>,
        /// The id of the span in which each text was logged.
        logged: Vec<u64>,
    }

    thread_local! {
        static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
    }

    struct IdField(u64);

    impl Visit for IdField {
        fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

        fn record_u64(&mut self, field: &Field, value: u64) {
            assert_eq!(field.name(), "id");
            self.0 = value;
        }
    }

    impl Subscriber for Notes {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.name() == "exchange" || metadata.is_event() && metadata.target() == "test"
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut id = IdField(0);
            span.record(&mut id);
            let mut notes = self.0.lock().unwrap();
            notes.ids.push(id.0);
            Id::from_u64(notes.ids.len() as u64)
        }

        fn event(&self, _: &::tracing::Event<'_>) {
            let inside = ENTERED.with_borrow(|entered| entered.last().cloned());
            let inside = inside.expect("logged inside a span").into_u64();
            let mut notes = self.0.lock().unwrap();
            let id = notes.ids[usize::try_from(inside).unwrap() - 1];
            notes.logged.push(id);
        }

        fn enter(&self, span: &Id) {
            ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
        }

        fn exit(&self, span: &Id) {
            assert_eq!(ENTERED.with_borrow_mut(Vec::pop).as_ref(), Some(span));
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
    }

    /// Also after the handler has waited, and has gone on elsewhere.
    #[test]
    fn an_event_has_the_id_of_the_span_that_its_handler_logged_in() {
        let notes = Notes::default();
        ::tracing::subscriber::set_global_default(notes.clone()).unwrap();
        let handler = async |request: Request| {
            if request.text() == "wait" {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            ::tracing::info!(target: "test", "answering");
            Ok::<_, Fault>("done")
        };
        let (tell, told) = channel();
        let observer = move |event: &Event| {
            if let Event::Exchange(exchange) = event {
                let _ = tell.send(exchange.id);
            }
        };
        let server = Running::start(|server| server.observe(observer), handler);
        for request in ["at once", "wait", "at once"] {
            assert_eq!(ask(&server.path, request), "done");
            let id = told.recv_timeout(PATIENCE).unwrap().expect("its handler was asked");
            assert_eq!(notes.0.lock().unwrap().logged.last(), Some(&id), "{request}");
        }
        // A client that asks nothing asks no handler.
        drop(crate::support::connect(&server.path));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), None);
    }
}
