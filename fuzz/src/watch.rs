//! Keeps what was tried when something goes wrong, and ends what never ends.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

/// For one input. Every clock in the targets is simulated: they take microseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Since when, and what.
type UnderWay = Option<(Instant, Vec<u8>)>;

pub struct Watch {
    target: &'static str,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Watch {
    pub fn start(target: &'static str) -> Self {
        let watch = Self { target, under_way: Arc::default() };
        let watched = Self { target, under_way: Arc::clone(&watch.under_way) };
        thread::spawn(move || {
            loop {
                thread::sleep(PATIENCE / 10);
                let under_way = watched.under_way.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((since, input)) = &*under_way
                    && since.elapsed() > PATIENCE
                {
                    eprintln!("{target}: still not done after {PATIENCE:?}");
                    watched.keep("hang", input);
                    process::exit(1);
                }
            }
        });
        watch
    }

    pub fn during<T>(&self, input: &[u8], work: impl FnOnce() -> T) -> T {
        self.set(Some((Instant::now(), input.to_vec())));
        let done = work();
        self.set(None);
        done
    }

    /// Writes the input where cargo-fuzz would, too.
    pub fn keep(&self, what: &str, input: &[u8]) {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(self.target);
        let file = directory.join(format!("{what}-{:016x}", hasher.finish()));
        match fs::create_dir_all(&directory).and_then(|()| fs::write(&file, input)) {
            Ok(()) => eprintln!("{}: the input is in {}", self.target, file.display()),
            Err(error) => eprintln!("{}: {}: {error}", self.target, input.escape_ascii()),
        }
    }

    fn set(&self, under_way: UnderWay) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = under_way;
    }
}
