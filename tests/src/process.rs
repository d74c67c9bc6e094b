//! Child processes that are killed, frozen and woken; none outlives its handle.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::wait;

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name: name.to_owned() }
    }

    /// The operating system's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it has: a signal tells a crash from an exit.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn wake(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(limit)
    }

    /// Waits for the end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = wait::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            if wait::now() > deadline {
                let stacks = self.stacks();
                panic!("not within {limit:?}: {} ends; its threads:\n{stacks}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What every thread is doing, by gdb where it is installed: a process that hangs is rare, and
    /// this is the only time to ask it.
    fn stacks(&self) -> String {
        let output = Command::new("gdb")
            .args(["-p", &self.pid().to_string(), "-batch", "-ex", "thread apply all bt"])
            .output();
        match output {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => format!("(gdb: {error})"),
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status()
            .expect("kill can be run");
        assert!(status.success(), "{} takes a {signal}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
