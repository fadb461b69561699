//! Enough of HTTP/1.1 to be asked by any client, and to break it in any way.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::tcp::{ReadHalf, WriteHalf},
};

const HEAD_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// The next request; `None` when the client has left.
pub(crate) async fn read(
    from: &mut BufReader<ReadHalf<'_>>,
    to: &mut WriteHalf<'_>,
) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            // TLS, say: whoever speaks that wants to hear at once that nobody else does.
            Ok(byte) if head.is_empty() && !byte.is_ascii_alphabetic() => {
                to.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                return Ok(None);
            }
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head is too long"));
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next(), first.next());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: method.unwrap_or_default().to_owned(),
        path: path.unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
    };
    if request.header("expect").is_some() {
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    request.body = body(&request, from).await?;
    Ok(Some(request))
}

async fn body(request: &Request, from: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_some() {
        loop {
            let line = line(from).await?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16);
            let length = length.map_err(io::Error::other)?;
            part(&mut body, length, from).await?;
            line_end(from).await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length = request.header("content-length").unwrap_or("0");
    part(&mut body, length.parse().map_err(io::Error::other)?, from).await?;
    Ok(body)
}

async fn part(
    body: &mut Vec<u8>,
    length: usize,
    from: &mut BufReader<ReadHalf<'_>>,
) -> io::Result<()> {
    let start = body.len();
    if length > BODY_BYTES_MAX || start + length > BODY_BYTES_MAX {
        return Err(io::Error::other("the body is too long"));
    }
    body.resize(start + length, 0);
    from.read_exact(&mut body[start..]).await.map(drop)
}

async fn line(from: &mut BufReader<ReadHalf<'_>>) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < 64 {
        line.push(from.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn line_end(from: &mut BufReader<ReadHalf<'_>>) -> io::Result<()> {
    line(from).await.map(drop)
}

/// An answer whose head is written first and whose body follows in chunks.
pub(crate) struct Answer<'a, 's> {
    pub(crate) to: &'a mut WriteHalf<'s>,
}

impl Answer<'_, '_> {
    /// The head of a chunked answer.
    pub(crate) async fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        let mut head = start(status, headers);
        head.push_str("transfer-encoding: chunked\r\n\r\n");
        self.to.write_all(head.as_bytes()).await
    }

    pub(crate) async fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.to.write_all(&chunk).await
    }

    /// The proper end of a chunked answer.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.to.write_all(b"0\r\n\r\n").await
    }

    /// A whole answer of a known length.
    pub(crate) async fn whole(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<()> {
        let mut answer = start(status, headers);
        answer.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        self.to.write_all(answer.as_bytes()).await
    }

    pub(crate) async fn json(&mut self, status: u16, body: &serde_json::Value) -> io::Result<()> {
        let headers = [("content-type", "application/json")];
        self.whole(status, &headers, &body.to_string()).await
    }
}

fn start(status: u16, headers: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
