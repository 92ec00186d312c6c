//! A browser's part: one jar with one cookie, and requests over real connections.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::site::Site;
use crate::Session;

/// How long anything may take before the suite gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a server that notices a client's going has dropped its handler.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Browser<'a> {
    pub(super) site: &'a Site,
    pub(super) address: SocketAddr,
    /// `name=value`
    pub(super) cookie: Option<String>,
}

/// What a request came to.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Page {
    pub(super) fn set_cookie(&self) -> Option<&str> {
        self.headers.get(header::SET_COOKIE).map(|value| value.to_str().expect("Set-Cookie is ASCII"))
    }
}

impl<'a> Browser<'a> {
    pub(super) fn new(site: &'a Site, address: SocketAddr) -> Self {
        Self { site, address, cookie: None }
    }

    /// Asks for a page, and keeps its cookie.
    pub(super) async fn get(&mut self, path: &str) -> Page {
        self.try_get(path).await.unwrap_or_else(|| panic!("broken promise: {path} was not answered"))
    }

    /// `None`: the server closed the connection without an answer, as some do when a handler panics.
    pub(super) async fn try_get(&mut self, path: &str) -> Option<Page> {
        let page = self.send(path, self.cookie.as_deref().map(str::as_bytes)).await?;
        for set in page.headers.get_all(header::SET_COOKIE) {
            let text = set.to_str().expect("Set-Cookie is ASCII");
            let pair = text.split(';').next().unwrap_or_default().to_owned();
            if !self.site.managers().iter().any(|manager| pair.split('=').next() == Some(manager.cookie_name())) {
                continue;
            }
            self.cookie = if text.contains("Max-Age=0") { None } else { Some(pair) };
        }
        Some(page)
    }

    pub(super) async fn sees(&mut self, path: &str) -> String {
        self.get(path).await.text
    }

    /// Asks with another `Cookie` header, and keeps nothing.
    pub(super) async fn with(&self, cookie: impl AsRef<[u8]>, path: &str) -> Page {
        let page = self.send(path, Some(cookie.as_ref())).await;
        page.unwrap_or_else(|| panic!("broken promise: {path} was not answered"))
    }

    /// Asks for a page that hangs, and hangs up. The session that its handler had; `None`: this server goes on with a handler whose client has gone.
    pub(super) async fn hang_up(&self, value: &str) -> Option<Session> {
        let path = format!("/set-and-hang?{value}");
        let stream = self.ask(&path, self.cookie.as_deref().map(str::as_bytes)).await;
        timeout(PATIENCE, self.site.until(|site| site.hangs(value))).await.expect("the handler is reached");
        drop(stream);
        let dropped = async {
            loop {
                match self.site.dropped(value) {
                    Some(session) => return session,
                    None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(NOTICED_WITHIN, dropped).await.ok()
    }

    /// Asks for a page once for each of these cookies, one request after the other on one connection.
    pub(super) async fn on_one_connection(&self, cookies: &[&str], path: &str) -> Vec<Page> {
        let mut stream = TcpStream::connect(self.address).await.expect("the server accepts connections");
        let (mut answers, mut pages) = (Vec::new(), Vec::new());
        for cookie in cookies {
            let request = self.request(path, Some(cookie.as_bytes()), "keep-alive");
            stream.write_all(&request).await.expect("the server takes the request");
            let page = async {
                loop {
                    if let Some((page, length)) = parse(&answers, false) {
                        answers.drain(..length);
                        return page;
                    }
                    let read = stream.read_buf(&mut answers).await.expect("the server answers");
                    assert!(read > 0, "broken promise: the connection is kept alive");
                }
            };
            pages.push(timeout(PATIENCE, page).await.expect("the server answers"));
        }
        pages
    }

    fn request(&self, path: &str, cookie: Option<&[u8]>, connection: &str) -> Vec<u8> {
        let host = self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n");
        let cookie = cookie.map(|cookie| [b"Cookie: ", cookie, b"\r\n"].concat()).unwrap_or_default();
        [request.as_bytes(), &cookie, b"\r\n"].concat()
    }

    async fn ask(&self, path: &str, cookie: Option<&[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the server accepts connections");
        stream.write_all(&self.request(path, cookie, "close")).await.expect("the server takes the request");
        stream
    }

    async fn send(&self, path: &str, cookie: Option<&[u8]>) -> Option<Page> {
        let mut stream = self.ask(path, cookie).await;
        let mut answer = Vec::new();
        // A server that does not read on may reset the connection after its answer.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server answers");
        parse(&answer, true).map(|(page, _)| page)
    }
}

/// The first answer in these bytes, and its length; `None` where it is not all there. At the end of a connection (`is_all`) a body needs no length.
fn parse(answer: &[u8], is_all: bool) -> Option<(Page, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("the head is ASCII").trim_end();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: HeaderName = name.parse().expect("the names of headers are tokens");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("the values of headers are text"));
    }
    let body = &answer[end..];
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let is_chunked = headers.get(header::TRANSFER_ENCODING).is_some_and(|value| value == "chunked");
    let (body, length) = match length {
        _ if is_chunked => joined(body)?,
        Some(length) => (body.get(..length)?.to_vec(), length),
        None if is_all => (body.to_vec(), body.len()),
        None => return None,
    };
    let page = Page {
        status: status.and_then(|code: u16| StatusCode::from_u16(code).ok()).expect("the answer has a status"),
        headers,
        text: String::from_utf8(body).expect("pages are text"),
    };
    Some((page, end + length))
}

/// The chunks of a body, RFC 9112, section 7.1, and how long they are; `None` where they are not all there.
fn joined(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut whole = Vec::new();
    let mut at = 0;
    loop {
        let line = body[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&body[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
        at += line + 2;
        let chunk = body.get(at..at + size + 2)?;
        whole.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Some((whole, at));
        }
    }
}
