//! A rustc for WebAssembly: the installed one where it has the targets, or Debian's, unpacked into `live/.rust`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{find, root, run, unpacked::Apt};

pub(crate) const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip1"];

/// The release of Debian whose rustc is new enough.
const RELEASE: &str = "sid";
const PACKAGES: [&str; 4] = ["rustc", "libstd-rust-dev-wasm32", "lld", "wasi-libc"];

/// Packages that begin so are for programs of the system's own kind. Build scripts and macros are such; they get the system's own linker and libraries.
const NEEDLESS: [&str; 10] =
    ["binutils", "cpp", "gcc", "libasan", "libc-", "libc6-dev", "libhwasan", "liblsan", "libtsan", "linux-libc-dev"];
/// Big folders of the others, of no use here.
const UNUSED: [&str; 2] = ["./usr/share", "./usr/lib/rustlib/wasm32-wasip2"];

/// The path of a rustc that has both targets.
pub(super) fn prepare() -> Result<PathBuf, String> {
    if let Some(rustc) = find(&["rustc"]).filter(|rustc| TARGETS.iter().all(|target| has(rustc, target))) {
        return Ok(rustc);
    }
    let folder = folder();
    let (rustc, installed) = (folder.join("rustc"), folder.join("installed"));
    let wanted = format!("{RELEASE}: {}", PACKAGES.join(" "));
    if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
        return Ok(rustc);
    }
    let other_way = |why: String| format!("{why}\nwithout Debian's: rustup target add {}", TARGETS.join(" "));
    unpack(&folder).map_err(other_way)?;
    if let Some(target) = TARGETS.iter().find(|target| !has(&rustc, target)) {
        return Err(other_way(format!("Debian's rustc was unpacked, and has no {target}")));
    }
    fs::write(&installed, wanted).map_err(|error| error.to_string())?;
    Ok(rustc)
}

/// Has Cargo use this rustc, and the linker that was unpacked with it.
pub(crate) fn use_in(cargo: &mut Command, rustc: &Path) {
    cargo.env("RUSTC", rustc);
    if rustc.starts_with(folder()) {
        for target in TARGETS {
            let name = target.to_uppercase().replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{name}_LINKER"), rustc.with_file_name("lld"));
        }
    }
}

fn folder() -> PathBuf {
    root().join("live/.rust")
}

/// Whether a standard library for the target is there.
fn has(rustc: &Path, target: &str) -> bool {
    let libraries = run(Command::new(rustc).args(["--print", "target-libdir", "--target", target]));
    libraries.is_ok_and(|path| fs::read_dir(path.trim()).is_ok_and(|mut files| files.next().is_some()))
}

fn unpack(folder: &Path) -> Result<(), String> {
    println!("preparing: Debian's rustc for WebAssembly in live/.rust (200 MB to download, 850 MB on the disk)");
    let apt = Apt::new(folder, RELEASE).map_err(|why| format!("no installed rustc has the targets: {why}"))?;
    let needed = apt.with_dependencies(&PACKAGES)?;
    let needed = needed.iter().filter(|package| !NEEDLESS.iter().any(|needless| package.starts_with(needless)));
    apt.unpack(needed, &UNUSED)?;
    write_scripts(folder).map_err(|error| format!("live/.rust: {error}"))
}

/// Programs of another release run on its own libraries.
fn write_scripts(folder: &Path) -> std::io::Result<()> {
    let loader = "loader=$(ls \"$tree\"/usr/lib64/ld-linux* \"$tree\"/usr/lib/ld-linux* 2>/dev/null | head -n 1)";
    let libraries = "libraries=$(echo \"$tree\"/usr/lib/*-linux-gnu)";
    let scripts = [
        ("rustc", "program=\"$tree/usr/bin/rustc\" more=\"$tree/usr/lib\"", "--sysroot \"$tree/usr\" "),
        ("lld", "program=$(echo \"$tree\"/usr/lib/llvm-*/bin/lld) more=${program%/bin/lld}/lib", ""),
    ];
    for (name, program, arguments) in scripts {
        let text = format!(
            "#!/bin/sh\ntree=$(dirname \"$0\")/tree\n{loader}\n{libraries}\n{program}\n\
             exec \"$loader\" --library-path \"$libraries:$more\" \"$program\" {arguments}\"$@\"\n"
        );
        fs::write(folder.join(name), text)?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
