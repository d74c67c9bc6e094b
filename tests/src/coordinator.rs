//! Which broker coordinates a group or a transactional id, asked of the brokers themselves.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::proxy::read_frame;
use crate::wait;

/// What is coordinated.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// The node that coordinates `key`, as soon as there is one.
pub fn of(bootstrap: &str, kind: Kind, key: &str) -> i32 {
    let what = format!("a coordinator of {key}");
    wait::until(&what, Duration::from_secs(60), || {
        bootstrap.split(',').find_map(|address| ask(address, kind, key))
    })
}

/// FindCoordinator, version 1: key and type; throttle time, error, message, node.
fn ask(address: &str, kind: Kind, key: &str) -> Option<i32> {
    let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let head = [10_i16.to_be_bytes(), 1_i16.to_be_bytes()].concat();
    let kind = [kind as u8];
    let body = [&head[..], &7_i32.to_be_bytes(), &text("tests"), &text(key), &kind].concat();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(&[&(body.len() as i32).to_be_bytes()[..], &body].concat()).ok()?;
    let answer = read_frame(&mut stream).ok()??;
    // Length and correlation id, then the throttle time.
    let rest = answer.get(12..)?;
    let (error, rest) = rest.split_first_chunk::<2>()?;
    let (message, rest) = rest.split_first_chunk::<2>()?;
    let message = usize::try_from(i16::from_be_bytes(*message)).unwrap_or(0);
    let node = rest.get(message..)?.first_chunk::<4>()?;
    (i16::from_be_bytes(*error) == 0).then(|| i32::from_be_bytes(*node))
}
