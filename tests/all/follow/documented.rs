//! The programs of docs/consuming.md run, and do what the page says.

use std::path::Path;
use std::process::{Command, Output};

use super::{OwnManifests, cursor};
use crate::harness::{BINARY, err, has, out, skip, wait_until};

/// The blocks of Python before the recipes, in order: a reader, a command, a receiver. `scripts/check_readers` runs the recipes.
fn block(number: usize) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/consuming.md")).unwrap();
    let (page, _) = page.split_once("\n## Recipes\n").unwrap();
    let blocks: Vec<String> =
        page.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert_eq!(blocks.len(), 3);
    blocks[number].clone()
}

/// Python with the program in its path, in the manifests' directory.
fn python(manifests: &OwnManifests, name: &str, text: &str) -> Command {
    let (script, program) = (manifests.path(name), manifests.path("bin"));
    std::fs::write(&script, text).unwrap();
    std::fs::create_dir_all(&program).unwrap();
    let link = program.join("csv-ingestor");
    if !link.exists() {
        std::os::unix::fs::symlink(BINARY, &link).unwrap();
    }
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("python3");
    command.arg(script).env("PATH", path).current_dir(manifests.dir.path());
    command
}

fn query(manifests: &OwnManifests, sql: &str) -> String {
    let text = format!("import sqlite3\nfor row in sqlite3.connect('files.db').execute({sql:?}): print(*row)\n");
    let output = python(manifests, "query.py", &text).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success(), "{}", err(output));
}

#[test]
fn a_reader_in_ten_lines_has_each_file_once() {
    if !has("python3") {
        return skip("python3 is not installed");
    }
    let text = block(0);
    assert!(text.lines().filter(|line| !line.starts_with("import")).count() <= 10, "it has more lines");
    let manifests = OwnManifests::with(3);
    let text = text.replace("/srv/csv-ingestor/orders/manifests", manifests.path("manifests").to_str().unwrap());
    good(&python(&manifests, "reader.py", &text).output().unwrap());
    manifests.append(4..=200);
    // Killed in the middle, which the transaction survives.
    let hook = "import os\ncount = 0\ndef loads(text, real=json.loads):\n    global count\n    count += 1\n    if count == 50: os._exit(9)\n    return real(text)\njson.loads = loads\n";
    let (imports, rest) = text.split_once('\n').unwrap();
    let killed = python(&manifests, "killed.py", &format!("{imports}\n{hook}{rest}")).output().unwrap();
    assert_eq!(killed.status.code(), Some(9), "{}", err(&killed));
    good(&python(&manifests, "reader.py", &text).output().unwrap());
    good(&python(&manifests, "reader.py", &text).output().unwrap());
    let count = query(&manifests, "SELECT count(*), count(DISTINCT path), (SELECT cursor FROM position) FROM files");
    assert_eq!(count.trim(), format!("200 200 {}", cursor(200)));
}

#[test]
fn a_command_has_each_line_once_though_it_gets_some_twice() {
    if !has("python3") {
        return skip("python3 is not installed");
    }
    let manifests = OwnManifests::with(5);
    // It fails after its transaction, once.
    let text = format!("{}\nimport os\nif os.environ['CSV_INGESTOR_ATTEMPT'] == '1': sys.exit(1)\n", block(1));
    let command = python(&manifests, "take.py", &text);
    let script = command.get_args().next().unwrap().to_str().unwrap().to_owned();
    let words = ["--consumer", "a", "--once", "--batch", "3", "--exec", "--", "python3", &script];
    good(&manifests.command(&words).current_dir(manifests.dir.path()).output().unwrap());
    let rows = query(&manifests, "SELECT seq, path FROM files ORDER BY seq");
    let expected: String = (1..=5).map(|number| format!("{number} /wh/{number}.csv\n")).collect();
    assert_eq!(rows, expected);
}

#[cfg(feature = "object-store")]
#[test]
fn a_receiver_checks_signatures_and_has_each_line_once() {
    if !has("python3") {
        return skip("python3 is not installed");
    }
    let manifests = OwnManifests::with(5);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = block(2).replace("8080", &port.to_string()).replace("events.db", "files.db");
    let write = |name: &str, secret: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(manifests.path(name), format!("{secret}\n")).unwrap();
        std::fs::set_permissions(manifests.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("crm.secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
    write("other.secret", "whsec_eDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
    let mut receiver = python(&manifests, "receiver.py", &text).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("the receiver", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("http://127.0.0.1:{port}/");
    let post = |secret: &str, more: &[&str]| {
        let (secret, letters) = (manifests.path(secret), manifests.path("dead"));
        let words = ["--consumer", "a", "--once", "--webhook", &url, "--secret-file", secret.to_str().unwrap()];
        let limit = ["--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
        let output = manifests.run(&[&words[..], &limit, more].concat());
        good(&output);
        super::events(&err(&output), "delivery_failed").len()
    };
    let failed = [
        post("other.secret", &[]),
        post("crm.secret", &["--from", "beginning"]),
        post("crm.secret", &["--from", &cursor(2), "--batch", "2"]),
    ];
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    assert_eq!(failed, [1, 0, 0]);
    assert_eq!(query(&manifests, "SELECT count(*), min(path), max(path) FROM events").trim(), "5 /wh/1.csv /wh/5.csv");
}
