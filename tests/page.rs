//! The page at `/`, as a browser shows it: headless Chromium on a server in this process. Where there is no Chromium the tests say so and
//! try nothing.

#![cfg(feature = "http")]

mod served;

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use served::Served;
use tailwater::http::Auth;
use tailwater::{
    GroupName, GroupSpec, Level, Record, SessionSpec, Store, Stream, StreamName, StreamSpec, Tenant,
    TenantId, UserId,
};

/// A browser that shows one page, spoken to over a pipe in its own protocol:
/// <https://chromedevtools.github.io/devtools-protocol/>, messages that end in a zero byte.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    page: Option<Value>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None`, and a word about it, where there is no Chromium.
    fn open(server: &Served, fragment: &str) -> Option<Browser> {
        let name = std::env::var("TAILWATER_CHROMIUM").unwrap_or("chromium".to_owned());
        if let Err(err) =
            Command::new(&name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
        {
            let _ = writeln!(
                io::stderr(),
                "skipped: no {name} here ({err}); TAILWATER_CHROMIUM may name another"
            );
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
        ];
        // The browser reads from its descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1", &name])
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser { child, to, from, calls: 0, page: None, loaded: false, _profile: profile };
        let url = format!("http://{}/#{fragment}", server.address);
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.page = Some(browser.call("Target.attachToTarget", attach)["sessionId"].clone());
        browser.call("Page.enable", json!({}));
        browser.call("Page.navigate", json!({ "url": url }));
        while !browser.loaded {
            browser.hear();
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(page) = &self.page {
            call["sessionId"] = page.clone();
        }
        self.to.write_all(format!("{call}\0").as_bytes()).unwrap();
        loop {
            let said = self.hear();
            if said["id"] == self.calls {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
        }
    }

    /// The next thing that the browser says.
    fn hear(&mut self) -> Value {
        let mut said = Vec::new();
        self.from.read_until(0, &mut said).unwrap();
        assert!(!said.is_empty(), "the browser ended");
        let said: Value = serde_json::from_slice(&said[..said.len() - 1]).unwrap();
        self.loaded |= said["method"] == "Page.loadEventFired"
            && said["sessionId"] == *self.page.as_ref().unwrap_or(&Value::Null);
        said
    }

    /// The page as HTML once `condition`, in its own language, holds; or what it is after twenty seconds.
    fn html_once(&mut self, condition: &str) -> String {
        let look = format!(
            "new Promise(done => {{ const until = Date.now() + 20000; const look = () => {{ \
             if ({condition} || until < Date.now()) done(document.documentElement.outerHTML); else setTimeout(look, 20); }}; look(); }})"
        );
        let params = json!({ "expression": look, "awaitPromise": true, "returnByValue": true });
        self.call("Runtime.evaluate", params)["result"]["value"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the page shows once `rows` records are there.
fn shown(server: &Served, fragment: &str, rows: usize) -> Option<String> {
    let mut browser = Browser::open(server, fragment)?;
    Some(browser.html_once(&format!("document.querySelectorAll('.row').length === {rows}")))
}

fn shop(store: &Store) -> Tenant {
    store.tenant(&TenantId::new("shop").unwrap())
}

/// A store with one stream, and the cursor behind what was there before.
fn open(dir: &std::path::Path) -> (Store, Stream, String) {
    let store = Store::open(dir).unwrap();
    let group = shop(&store).create_group(GroupSpec::new(GroupName::new("web").unwrap())).unwrap();
    let stream =
        shop(&store).create_stream(group.id, StreamSpec::new(StreamName::new("front").unwrap())).unwrap();
    let session = shop(&store).create_session(SessionSpec::new(UserId::new("u").unwrap())).unwrap();
    let cursor = session.info().unwrap().last_cursor.to_string();
    (store, stream, cursor)
}

fn rows(html: &str) -> usize {
    html.matches("class=\"row\"").count()
}

#[test]
fn the_page_shows_what_passes_with_its_level_and_lets_no_log_act() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stream, cursor) = open(dir.path());
    for level in Level::ALL {
        let text = format!("a {level} line <script>document.title = 'owned'</script><b id=bold>\u{1b}[31m");
        stream.append(&Record::new(&text).level(level).service("front")).unwrap();
    }
    let server = Served::new(&store, Auth::open());
    for theme in ["dark", "light"] {
        let Some(html) = shown(&server, &format!("tenant=shop&theme={theme}&cursor={cursor}"), 6) else {
            return;
        };
        assert_eq!(rows(&html), 6, "{html}");
        for level in Level::ALL {
            assert!(html.contains(&format!("data-level=\"{level}\"")), "{level}: {html}");
        }
        assert!(html.contains("<title>Tailwater</title>") && !html.contains("<b id="), "a log acted: {html}");
        assert!(html.contains("\\u{1b}[31m") && html.contains(&format!("data-theme=\"{theme}\"")), "{html}");
        assert!(html.contains(">front<") && html.contains("6 records"), "{html}");
    }
    let filter = "level%3E%3Derror";
    let html = shown(&server, &format!("tenant=shop&cursor={cursor}&filter={filter}"), 2).unwrap();
    assert_eq!(rows(&html), 2, "{html}");
}

#[test]
fn a_filter_that_does_not_parse_is_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _stream, _) = open(dir.path());
    let server = Served::new(&store, Auth::open());
    let Some(mut browser) = Browser::open(&server, "tenant=shop&filter=level%3Dloud") else { return };
    let html = browser.html_once("document.getElementById('fault')?.textContent");
    assert!(html.contains("level=loud\n      ^\n"), "{html}");
    assert!(html.contains("at byte 6") && html.contains("TAIL.0401"), "{html}");
    assert!(html.contains("aria-invalid=\"true\""), "{html}");
}

#[test]
fn a_gap_is_a_row_between_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stream, cursor) = open(dir.path());
    let at = ["first", "second", "third"].map(|text| stream.append(&Record::new(text)).unwrap().offset());
    let id = stream.id();
    store.close().unwrap();
    let streams = dir.path().join("streams").join(id.to_string());
    let names = fs::read_dir(streams).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(segment).unwrap();
    // The first byte of a body.
    file.seek(SeekFrom::Start(4096 + at[1] + 24)).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Current(-1)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let server = Served::new(&store, Auth::open());
    let Some(html) = shown(&server, &format!("tenant=shop&cursor={cursor}"), 2) else { return };
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text:?}: {html}"));
    assert!(place(">first<") < place("32 bytes of front are not here: corrupt"), "{html}");
    assert!(place("class=\"gap\"") < place(">third<") && html.contains("2 records, 1 gaps"), "{html}");
}

#[test]
fn pausing_reads_nothing_and_resuming_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stream, cursor) = open(dir.path());
    let server = Served::new(&store, Auth::open());
    let Some(mut browser) = Browser::open(&server, &format!("tenant=shop&cursor={cursor}")) else { return };
    let count = |rows: usize| format!("document.querySelectorAll('.row').length === {rows}");
    stream.append(&Record::new("1")).unwrap();
    assert_eq!(rows(&browser.html_once(&count(1))), 1);
    let click = "(document.getElementById('pause').click(), true)";
    assert!(browser.html_once(click).contains(">paused<"));
    for text in ["2", "3"] {
        stream.append(&Record::new(text)).unwrap();
    }
    let html = browser.html_once(click);
    assert_eq!(rows(&html), 1, "{html}");
    let html = browser.html_once(&count(3));
    assert_eq!(rows(&html), 3, "{html}");
    // A record shown whole has its cursor, and what follows it can be followed.
    let html = browser.html_once("(document.querySelector('.row').click(), true)");
    assert!(html.contains("Copy cursor") && html.contains("Follow from here"), "{html}");
    let from = "(document.querySelectorAll('.more button')[1].click(), true)";
    browser.html_once(from);
    let html = browser.html_once(&count(2));
    assert!(rows(&html) == 2 && !html.contains("class=\"body\">1<"), "{html}");
}

#[test]
fn following_again_from_a_cursor_shows_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stream, cursor) = open(dir.path());
    for text in ["1", "2", "3"] {
        stream.append(&Record::new(text).attributes(&[("empty", "")])).unwrap();
    }
    let server = Served::new(&store, Auth::open());
    let Some(mut browser) = Browser::open(&server, &format!("tenant=shop&cursor={cursor}")) else { return };
    let three = "document.querySelectorAll('.row').length === 3";
    assert_eq!(rows(&browser.html_once(three)), 3);
    let again = "(document.querySelector('button.main').click(), true)";
    assert_eq!(rows(&browser.html_once(again)), 0, "what stood there goes");
    let html = browser.html_once(three);
    assert!(rows(&html) == 3 && html.contains("3 records"), "{html}");
    let html = browser.html_once("(document.querySelector('.row').click(), true)");
    assert!(html.contains("<dt>empty</dt>"), "an attribute may be empty: {html}");
}

#[test]
fn a_page_keeps_a_bounded_number_of_rows_and_characters_drawn_or_not_and_counts_all() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _stream, _) = open(dir.path());
    let server = Served::new(&store, Auth::open());
    let Some(mut browser) = Browser::open(&server, "tenant=shop") else { return };
    let record =
        "{ stream: '00000000-0000-0000-0000-000000000000', ingestTime: '2026-01-01T00:00:00Z', body: 'x' }";
    // As while the page is hidden: nothing is drawn before all of it came.
    let many = format!(
        "(() => {{ for (let i = 0; i < 13000; i++) {{ arrived(false, {record}, 100); \
         if (i === 6999) arrived(true, {{ bytes: 8, stream: 'a', reason: 'expired' }}, 50); }} return true; }})()"
    );
    browser.html_once(&many);
    let html = browser.html_once("!drawing");
    assert!(html.contains("13,000 records, 1 gaps"), "{}", rows(&html));
    assert_eq!(html.matches("class=\"cut\"").count(), 1, "what is not shown is told of, once");
    assert!((4000..=5000).contains(&rows(&html)), "{} rows", rows(&html));
    let heavy = format!(
        "(() => {{ clear(); for (let i = 0; i < 300; i++) arrived(false, {record}, 1 << 20); return true; }})()"
    );
    browser.html_once(&heavy);
    let html = browser.html_once("!drawing");
    assert!(html.contains("300 records") && rows(&html) <= 16, "{} rows of 1 MiB", rows(&html));
}
