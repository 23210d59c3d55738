//! Listening: the daemon's signals, and how jobs end.

use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use zbus::match_rule::MatchRule;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, OwnedVariant};
use zruntime::SharedRuntime;

use crate::world::{JOB, NAME, ROOT, call, property, until};

/// How long a signal may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer of a method that makes a job.
pub(crate) type Accepted = (u64, OwnedObjectPath);

/// Everything the daemon tells from here on.
pub(crate) fn signals(bus: &Connection) -> MessageStream {
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(NAME).path_namespace(ROOT).build().unwrap();
    zbus::block_on(MessageStream::for_match_rule(rule, bus, NonZero::new(10_000))).unwrap()
}

fn next(stream: &mut MessageStream) -> Message {
    let message = zbus::block_on(async {
        let mut limit = pin!(SharedRuntime::current().unwrap().sleep(PATIENCE));
        poll_fn(|context| match Pin::new(&mut *stream).poll_next(context) {
            Poll::Pending => limit.as_mut().poll(context).map(|_| panic!("no signal within {PATIENCE:?}")),
            ready => ready,
        })
        .await
    });
    message.expect("the stream goes on").unwrap()
}

/// The next signal of that name.
pub(crate) fn signal(stream: &mut MessageStream, member: &str) -> Message {
    loop {
        let message = next(stream);
        if message.header().member().is_some_and(|m| m.as_str() == member) {
            return message;
        }
    }
}

/// The next change of an object's properties that has this one among them.
pub(crate) fn change(stream: &mut MessageStream, path: &str, name: &str) -> HashMap<String, OwnedVariant> {
    loop {
        let message = signal(stream, "PropertiesChanged");
        let (_, values, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
            message.body().deserialize().unwrap();
        if message.header().path().is_some_and(|p| p.as_str() == path) && values.contains_key(name) {
            return values;
        }
    }
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) job: OwnedObjectPath,
    pub(crate) result: String,
    pub(crate) error: String,
    /// What `GetDetails` tells.
    pub(crate) details: HashMap<String, OwnedVariant>,
}

impl End {
    pub(crate) fn number(&self, name: &str) -> u64 {
        u64::try_from(&self.details[name]).unwrap()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        bool::try_from(&self.details[name]).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        <&str>::try_from(&self.details[name]).unwrap().to_owned()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        Vec::try_from(self.details[name].clone()).unwrap()
    }
}

/// Waits for the end of a job.
pub(crate) fn end(bus: &Connection, accepted: zbus::Result<Accepted>) -> End {
    let (_, job) = accepted.unwrap_or_else(|e| panic!("the job is accepted: {e}"));
    let get = |name: &str| property::<String>(bus, job.as_str(), JOB, name);
    until("the job is over", || get("State") == "finished");
    let (result, error) = (get("Result"), get("Error"));
    let details = call(bus, job.as_str(), JOB, "GetDetails", &0u64).unwrap();
    End { job, result, error, details }
}

/// Waits for the end of a job that ends well.
pub(crate) fn done(bus: &Connection, accepted: zbus::Result<Accepted>) -> End {
    let end = end(bus, accepted);
    assert_eq!(end.result, "done", "{end:?}");
    end
}

/// Waits for the end of a job that fails, and says with which error.
pub(crate) fn failed(bus: &Connection, accepted: zbus::Result<Accepted>) -> String {
    let end = end(bus, accepted);
    assert_eq!(end.result, "failed", "{end:?}");
    end.error
}
