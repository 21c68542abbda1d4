//! HTTP byte by byte, independent of the crate's own codec, so that it checks that.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// A request as bytes.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&[u8]>,
) -> Vec<u8> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
    let (token, length) = (token.unwrap_or_default(), length.unwrap_or_default());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{token}{length}\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        assert_eq!(body["ok"], false, "{body}");
        assert!(body["error"].as_str().is_some_and(|text| text.len() > 5), "{body}");
        body["code"].as_str().unwrap().to_owned()
    }
}

/// A raw HTTP connection.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
    pub(crate) port: u16,
}

impl Http {
    pub(crate) fn new(stream: TcpStream, port: u16) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, port }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a POST and waits for the answer.
    pub(crate) fn call(&mut self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.post(path, token, body);
        self.answer()
    }

    /// Sends a POST.
    pub(crate) fn post(&mut self, path: &str, token: Option<&str>, body: &Value) {
        let body = body.to_string();
        self.send(&request(self.port, "POST", path, token, Some(body.as_bytes())));
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.strip_suffix("\r\n");
        Ok(text.unwrap_or_else(|| panic!("a line without CRLF: {line:?}")).to_owned())
    }

    /// Reads the head of the next answer.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let (version, status) = status.split_at_checked("HTTP/1.1 ".len()).unwrap();
        assert_eq!(version, "HTTP/1.1 ");
        let mut answer =
            Answer { status: status[..3].parse().unwrap(), headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                return Ok(answer);
            };
            answer.headers.push((name.to_lowercase(), value.to_owned()));
        }
    }

    /// Reads the next answer, which is JSON.
    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        let answer = self.read_answer()?;
        if answer.status >= 200 {
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        Ok(answer)
    }

    fn read_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status >= 200 {
            let length = answer.header("content-length").expect("an answer has a length");
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// Reads the next answer, whatever is in it.
    pub(crate) fn any_answer(&mut self) -> Answer {
        self.read_answer().expect("an answer")
    }

    /// Reads the next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// Whether the broker closes it now, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0; 16]), Ok(0))
    }

    /// Whether nothing comes for `time`.
    pub(crate) fn is_quiet(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.reader.fill_buf().map(<[u8]>::len);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
