//! A browser without a window, driven through chromedriver by the WebDriver protocol.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// For one command of the protocol; the start of a browser on a busy machine is the longest.
const TIMEOUT: Duration = Duration::from_secs(120);
const STARTED: &str = "started successfully on port ";

/// It ends with the value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a page in a window of this size. Whatever the page refers to outside of this machine is
    /// not found: the browser knows no name but this machine's.
    pub fn open(url: &str, width: u32, height: u32) -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start chromedriver: install it by `xtask/deps.sh test`")?;
        let lines = BufReader::new(driver.stdout.take().context("it has no output")?).lines();
        let mut browser =
            Self { driver, port: 0, session: String::new(), _profile: tempfile::tempdir()? };
        browser.port = port_of(lines)?;
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            &profile,
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let opened = browser.call("POST", "/session", &capabilities)?;
        let session = opened["sessionId"].as_str().context("the driver gave no session")?;
        browser.session = format!("/session/{session}");
        browser.resize(width, height)?;
        browser.command("url", &json!({ "url": url }))?;
        Ok(browser)
    }

    /// The value of a script's `return`.
    pub fn script(&self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script returns as text.
    pub fn text(&self, script: &str) -> Result<String> {
        match self.script(script)? {
            Value::String(text) => Ok(text),
            other => bail!("`{script}` gave {other}, no text"),
        }
    }

    /// What the page and the browser complained of since this was asked last.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.command("se/log", &json!({"type": "browser"}))?;
        let entries = entries.as_array().into_iter().flatten();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.map(|entry| entry["message"].to_string()).collect())
    }

    /// What the page has to itself: a window's size counts its frame, too.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size)
    }

    pub fn prefer_dark(&self, dark: bool) -> Result<()> {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }))
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<()> {
        let command = json!({"cmd": command, "params": parameters});
        self.command("goog/cdp/execute", &command).map(drop)
    }

    /// Writes what the window shows as PNG.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        let shot = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        let png = BASE64_STANDARD.decode(shot.as_str().context("no picture")?)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, png).with_context(|| path.display().to_string())
    }

    fn command(&self, name: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("{}/{name}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer =
            self.exchange(method, path, body).with_context(|| format!("{method} {path}"))?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!("{method} {path}: {error}: {}", value["message"]);
        }
        Ok(value)
    }

    /// One HTTP exchange on a connection of its own; gives the body.
    fn exchange(&self, method: &str, path: &str, body: &Value) -> Result<Vec<u8>> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                bail!("the driver hung up");
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?);
                }
                _ if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut answer = vec![0; length.context("an answer without length")?];
        reader.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn port_of(lines: impl Iterator<Item = std::io::Result<String>>) -> Result<u16> {
    for line in lines {
        if let Some((_, port)) = line?.split_once(STARTED) {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver ended without saying its port")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser; the driver is ended by us.
        let _closed = self.call("DELETE", &self.session, &Value::Null);
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
