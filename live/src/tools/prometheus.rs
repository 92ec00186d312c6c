//! Prometheus and its promtool: the installed ones, or Debian's, unpacked into `live/.prometheus`. Installing the package would start a service.

use std::{fs, path::PathBuf};

use super::{find, root, unpacked::Apt};

/// The release of Debian whose Prometheus this suite was written with: 2.42.
const RELEASE: &str = "bookworm";
const PACKAGE: &str = "prometheus";

/// Pages for a browser, which link to packages that are not there.
const UNUSED: [&str; 1] = ["./usr/share"];

/// The path of a prometheus that has a promtool beside it.
pub(super) fn prepare() -> Result<PathBuf, String> {
    if let Some(prometheus) = find(&["prometheus"]).filter(|path| path.with_file_name("promtool").is_file()) {
        return Ok(prometheus);
    }
    let folder = root().join("live/.prometheus");
    let (prometheus, installed) = (folder.join("tree/usr/bin/prometheus"), folder.join("installed"));
    let wanted = format!("{RELEASE}: {PACKAGE}");
    if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
        return Ok(prometheus);
    }
    println!("preparing: Debian's {PACKAGE} in live/.prometheus (30 MB to download, 100 MB on the disk)");
    Apt::new(&folder, RELEASE)?.unpack([PACKAGE], &UNUSED)?;
    fs::write(&installed, wanted).map_err(|error| format!("live/.prometheus: {error}"))?;
    Ok(prometheus)
}
