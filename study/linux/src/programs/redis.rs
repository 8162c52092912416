//! `redis-benchmark` against a `redis-server` of the study's own: no network, no file, 32 MiB at most.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rhumb_study_system::Session;

use super::{LIMIT, Program};
use crate::children::{Background, Outcome, find, run};

/// Requests of one sample, half of them `SET`, half `GET`.
const REQUESTS: u32 = 40_000;

/// The time within which the server must listen.
const START: Duration = Duration::from_secs(10);

/// A server, and the client that measures it.
pub(crate) struct Redis {
    _server: Background,
    client: PathBuf,
    socket: PathBuf,
    scratch: PathBuf,
}

impl Redis {
    /// Starts the server; `None` where either program is missing.
    ///
    /// # Errors
    /// The server does not start.
    pub(crate) fn start(scratch: &Path, session: &Session) -> io::Result<Option<Self>> {
        let (Some(client), Some(server)) = (find("redis-benchmark"), find("redis-server")) else {
            return Ok(None);
        };
        // A socket's path may have 107 bytes, so it is named from the server's own folder.
        let socket = PathBuf::from("redis.sock");
        let mut command = Command::new(server);
        command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
        command.args(["--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lru", "--daemonize", "no"]);
        let mut server = Background::start(command, scratch, session)?;
        let ends = Instant::now() + START;
        while !scratch.join(&socket).exists() {
            if !server.is_running() || Instant::now() > ends || session.is_ending() {
                let words = server.words();
                let last = words.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(io::Error::other(format!("redis-server does not listen: {last}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Self { _server: server, client, socket, scratch: scratch.to_owned() }))
    }
}

impl Program for Redis {
    fn id(&self) -> &'static str {
        "redis"
    }

    fn words(&self) -> String {
        "redis: SET and GET of 64 B by 20 clients".to_owned()
    }

    fn sample(&mut self, session: &Session) -> io::Result<Option<f64>> {
        let mut command = Command::new(&self.client);
        command
            .arg("-s")
            .arg(&self.socket)
            .args(["-t", "set,get", "-d", "64", "-c", "20", "-r", "100000", "-q", "-n"]);
        command.arg((REQUESTS / 2).to_string());
        match run(command, &self.scratch, LIMIT, session)? {
            Outcome::Ended(took, _) => Ok(Some(took.as_secs_f64() * 1e9 / f64::from(REQUESTS))),
            Outcome::Cancelled => Ok(None),
        }
    }
}
