//! `unhang why`: every class of hang on real sockets, and none if nothing hangs.

mod acting;
mod behind;
mod classes;
mod files;
mod foreign;
mod fpm;
mod front;
mod go;
mod healthy;
mod hostile;
mod own;
mod pairs;
mod php;
mod picture;
mod python;
mod restraint;
mod sight;
mod undecided;
mod wakeful;

use std::ffi::OsStr;
use std::time::Instant;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::hang::Stage;

/// Looks for a short time at what `arguments` name; gives the exit code and the JSON object.
fn look<A: AsRef<OsStr>>(stage: &Stage, arguments: &[A]) -> (i32, Value) {
    // On a loaded machine a look may take long, and is to be whole all the same.
    let mut all: Vec<&OsStr> =
        ["--json", "--for", "100ms", "--deadline", "20s"].map(OsStr::new).to_vec();
    all.extend(arguments.iter().map(AsRef::as_ref));
    let output = stage.why(&all);
    let said = String::from_utf8_lossy(&output.stderr);
    let object = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error} in {output:?}: {said}"));
    (output.status.code().unwrap(), object)
}

/// The codes of all findings, each with its certainty.
fn codes(object: &Value) -> Vec<(&str, &str)> {
    let text = |finding: &'_ Value, key: &str| finding[key].as_str().map(str::len);
    let findings = object["findings"].as_array().unwrap();
    findings
        .iter()
        .inspect(|finding| assert!(text(finding, "headline") > Some(0), "{finding}"))
        .map(|finding| (finding["code"].as_str().unwrap(), finding["certainty"].as_str().unwrap()))
        .collect()
}

/// Looks until it finds exactly this about the stage's socket.
fn finds(stage: &Stage, code: &str, certainty: &str) -> Value {
    finds_where(stage, code, certainty, |_| true)
}

/// The same, and what `is_it` asks of it.
fn finds_where(
    stage: &Stage,
    code: &str,
    certainty: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    // What gets no processor is no fault yet.
    suspects_where(stage, code, certainty, |finding| finding["fault"] == true && is_it(finding))
}

/// The same, whether or not it is called a fault. The players have said that they are ready, but one
/// may still be on its way into the call that it stays in, and a busy machine keep it there: hence more
/// than once.
fn suspects_where(
    stage: &Stage,
    code: &str,
    certainty: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    let (mut last, began) = (Value::Null, Instant::now());
    while began.elapsed() < PATIENCE {
        let (exit, object) = look(stage, &[&stage.place.socket]);
        let finding = &object["findings"][0];
        if codes(&object) == [(code, certainty)] && is_it(finding) {
            assert_eq!(exit, i32::from(finding["fault"] == true), "{object:#}");
            return finding.clone();
        }
        last = object;
    }
    panic!("expected {code}, {certainty}; found {last:#}");
}
