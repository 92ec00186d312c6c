//! A rustc for WebAssembly: the installed one where it has the targets, or Debian's, unpacked into `live/.rust`.
//!
//! Unpacking needs no root and changes nothing of the system's: apt-get works in a folder of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{download, find, root, run};

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
    for program in ["apt-get", "dpkg-deb"] {
        find(&[program]).ok_or_else(|| format!("no installed rustc has the targets, and there is no {program}"))?;
    }
    println!("preparing: Debian's rustc for WebAssembly in live/.rust (200 MB to download, 850 MB on the disk)");
    let to_text = |error: std::io::Error| format!("live/.rust: {error}");
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(to_text)?;
    }
    let (apt, tree) = (Apt::new(&folder.join("apt"))?, folder.join("tree"));
    download("apt-get", apt.command().args(["-o", "APT::Update::Error-Mode=any", "update"]))?;
    fs::create_dir_all(&tree).map_err(to_text)?;
    let all = run(apt.command().args(["--simulate", "install"]).args(PACKAGES))?;
    let needed = all
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .filter(|package| !NEEDLESS.iter().any(|needless| package.starts_with(needless)));
    download("apt-get", apt.command().arg("download").args(needed))?;
    for package in fs::read_dir(&apt.folder).map_err(to_text)? {
        let package = package.map_err(to_text)?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            extract(&package, &tree)?;
            fs::remove_file(package).map_err(to_text)?;
        }
    }
    fs::remove_dir_all(&apt.folder).map_err(to_text)?;
    write_scripts(folder).map_err(to_text)
}

/// Puts a package's files into the tree, without those that are of no use.
fn extract(package: &Path, tree: &Path) -> Result<(), String> {
    let mut files = Command::new("dpkg-deb");
    files.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut files = files.spawn().map_err(|error| format!("dpkg-deb: {error}"))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--directory").arg(tree).stdin(files.stdout.take().map_or(Stdio::null(), Stdio::from));
    tar.args(UNUSED.map(|unused| format!("--exclude={unused}")));
    let extracted = run(&mut tar);
    let unpacked = files.wait().map_err(|error| format!("dpkg-deb: {error}"))?;
    extracted?;
    if unpacked.success() { Ok(()) } else { Err(format!("dpkg-deb ended with {unpacked}: {}", package.display())) }
}

/// An apt-get that knows one release of Debian, and of no package that is installed.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self, String> {
        let mirror = mirror().ok_or("no mirror of Debian is among apt's sources")?;
        let source =
            format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {RELEASE} main\n");
        let make = || {
            for place in ["state/lists/partial", "cache/archives/partial", "preferences"] {
                fs::create_dir_all(folder.join(place))?;
            }
            fs::write(folder.join("status"), "")?;
            fs::write(folder.join("sources.list"), source)
        };
        make().map_err(|error: std::io::Error| format!("live/.rust: {error}"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.current_dir(&self.folder).args(["-qq", "--yes", "--no-install-recommends"]);
        let places = [
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::preferencesparts", "preferences"),
        ];
        for (setting, place) in places {
            command.arg("-o").arg(format!("{setting}={}", self.folder.join(place).display()));
        }
        // As root it would download as another user, who may not write here.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "Acquire::Languages=none"]);
        command
    }
}

/// The mirror of Debian that the system uses.
fn mirror() -> Option<String> {
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|file| file.path());
    let mut texts =
        parts.chain([PathBuf::from("/etc/apt/sources.list")]).filter_map(|file| fs::read_to_string(file).ok());
    let is_mirror = |word: &&str| word.contains("://") && word.trim_end_matches('/').ends_with("/debian");
    texts.find_map(|text| text.split_whitespace().find(is_mirror).map(str::to_owned))
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
