//! Bad input gets a clear answer, and nothing is lost.

mod changing;
mod corrupt;
pub(crate) mod full;
mod locks;
mod names;
mod paths;
mod special;
mod taken;
mod usage;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{BINARY, Place, err, has, out, sh, skip};

/// Checks that it was refused with this exit code, and that its message has all of these words.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = err(output);
    assert_eq!(output.status.code(), Some(code), "{}{text}", out(output));
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// The same command as a user who is not root and owns all of `place`; None (and a message) if that cannot be done. Root
/// ignores permission bits, so tests of them need another user.
pub(crate) fn as_nobody(place: &Place, command: &Command) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        return Some(same);
    }
    if !has("setpriv") {
        return None;
    }
    let become_nobody = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
    let can_run = |program: &Path| {
        Command::new("setpriv").args(&become_nobody).arg(program).arg("--version").output().unwrap().status.success()
    };
    chmod(place.root.path(), 0o755);
    sh("chown", &["-R".as_ref(), NOBODY.to_string().as_ref(), place.root.path().as_os_str()]);
    let mut program = Path::new(BINARY).to_path_buf();
    if !can_run(&program) {
        // The build directory may be private; the copy is not.
        program = place.root.path().join("csv-ingestor");
        std::fs::copy(BINARY, &program).unwrap();
    }
    if !can_run(&program) {
        skip("setpriv cannot become another user here");
        return None;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(&become_nobody).arg(program).args(command.get_args());
    Some(wrapped)
}

/// Gives one path to the user of `as_nobody`.
fn give_to_nobody(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
