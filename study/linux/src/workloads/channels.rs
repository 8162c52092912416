//! Messages of 4 KiB through the kernel, to the same thread: the kernel copies each into pages of its own and out again.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::Workload;

/// The size of a message.
const MESSAGE: usize = 4096;

/// A channel whose both ends are here.
pub(crate) struct Channel {
    id: &'static str,
    words: &'static str,
    input: Box<dyn Write>,
    output: Box<dyn Read>,
    buffer: Box<[u8; MESSAGE]>,
}

impl Channel {
    fn new(
        id: &'static str,
        words: &'static str,
        input: impl Write + 'static,
        output: impl Read + 'static,
    ) -> Self {
        Self { id, words, input: Box::new(input), output: Box::new(output), buffer: Box::new([7; MESSAGE]) }
    }

    /// Makes a pipe.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn pipe() -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        Ok(Self::new("pipe-4k", "4 KiB through a pipe", input, output))
    }

    /// Makes a pair of UNIX sockets.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn unix() -> io::Result<Self> {
        let (input, output) = UnixStream::pair()?;
        Ok(Self::new("unix-4k", "4 KiB through a UNIX socket", input, output))
    }

    /// Makes a TCP connection on the loopback device.
    ///
    /// # Errors
    /// The system's, where there is no such device.
    pub(crate) fn tcp() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let input = TcpStream::connect(listener.local_addr()?)?;
        let (output, _) = listener.accept()?;
        input.set_nodelay(true)?;
        Ok(Self::new("tcp-4k", "4 KiB through TCP on the loopback device", input, output))
    }
}

impl Workload for Channel {
    fn id(&self) -> &'static str {
        self.id
    }

    fn words(&self) -> String {
        self.words.to_owned()
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            self.input.write_all(&self.buffer[..])?;
            self.output.read_exact(&mut self.buffer[..])?;
        }
        Ok(())
    }
}
