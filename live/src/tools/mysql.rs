//! MySQL: Debian's newest, unpacked into `live/.mysql`. The stable releases have MariaDB in its place.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::{root, unpacked::Apt};

/// The release of Debian that has MySQL.
const RELEASE: &str = "sid";
const PACKAGE: &str = "mysql-server-core";

/// Big folders of packages that it depends on, of no use here.
const UNUSED: [&str; 4] = ["./usr/share/doc", "./usr/share/man", "./usr/share/perl", "./usr/share/locale"];

/// The path of a script that runs `mysqld` as it is called.
pub(super) fn prepare() -> Result<PathBuf, String> {
    let folder = root().join("live/.mysql");
    let (mysqld, installed) = (folder.join("mysqld"), folder.join("installed"));
    let wanted = format!("{RELEASE}: {PACKAGE}");
    if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
        return Ok(mysqld);
    }
    println!("preparing: Debian's {PACKAGE} in live/.mysql (60 MB to download, 400 MB on the disk)");
    let apt = Apt::new(&folder, RELEASE)?;
    let needed = apt.with_dependencies(&[PACKAGE])?;
    apt.unpack(needed, &UNUSED)?;
    // A program of another release runs on its own libraries, and finds its files by what it is told.
    let script = "#!/bin/sh\n\
        tree=$(cd \"$(dirname \"$0\")\" && pwd)/tree\n\
        loader=$(ls \"$tree\"/usr/lib64/ld-linux* \"$tree\"/usr/lib/ld-linux* 2>/dev/null | head -n 1)\n\
        libraries=$(echo \"$tree\"/usr/lib/*-linux-gnu)\n\
        exec \"$loader\" --library-path \"$libraries:$tree/usr/lib/mysql/private\" \"$tree/usr/sbin/mysqld\" \"$@\" \\\n  \
        --basedir=\"$tree/usr\" --lc-messages-dir=\"$tree/usr/share/mysql\" --character-sets-dir=\"$tree/usr/share/mysql/charsets\"\n";
    let write = || {
        fs::write(&mysqld, script)?;
        fs::set_permissions(&mysqld, fs::Permissions::from_mode(0o755))?;
        fs::write(&installed, wanted)
    };
    write().map_err(|error| format!("live/.mysql: {error}"))?;
    Ok(mysqld)
}
