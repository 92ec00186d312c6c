//! A client of one connection that stays open: HTTP/1.1 with Content-Length, and nothing else of it.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(4_096), answer: vec![0; 16_384] })
    }

    /// A GET, with these pairs of cookies unless they are empty.
    pub(crate) async fn call(&mut self, path: &str, cookies: &[u8]) -> io::Result<Answer<'_>> {
        self.request.clear();
        for part in [b"GET ", path.as_bytes(), b" HTTP/1.1\r\nHost: localhost\r\n"] {
            self.request.extend_from_slice(part);
        }
        if !cookies.is_empty() {
            for part in [b"Cookie: ", cookies, b"\r\n"] {
                self.request.extend_from_slice(part);
            }
        }
        self.request.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<Answer<'_>> {
        let mut filled = 0;
        let mut ends = None;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
            }
            filled += read;
            if ends.is_none() {
                ends = self.answer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
            }
            let Some(head_ends) = ends else { continue };
            let head = str::from_utf8(&self.answer[..head_ends]).map_err(io::Error::other)?;
            let length = headers(head, "content-length").next().and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| io::Error::other(format!("no Content-Length: {head}")))?;
            if filled >= head_ends + 4 + length {
                // Again, because the borrow of the turn before would last for the loop.
                let (head, rest) = self.answer[..filled].split_at(head_ends);
                let head = str::from_utf8(head).map_err(io::Error::other)?;
                let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
                return Ok(Answer { status, head, body: &rest[4..] });
            }
        }
    }
}

impl Answer<'_> {
    /// What a browser would send back: `a=b; c=d`. Empty where no cookie is set.
    pub(crate) fn cookies(&self) -> Vec<u8> {
        let pairs: Vec<&str> = headers(self.head, "set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
        pairs.join("; ").into_bytes()
    }
}

fn headers<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    head.split("\r\n").filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
