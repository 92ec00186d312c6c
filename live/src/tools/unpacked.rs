//! Debian's packages, unpacked into a folder.
//!
//! It needs no root, changes nothing of the system's and starts no service: apt-get works in a folder of its own.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{download, find, root, run};

/// A server of a certain release, beside what the system has: it runs on the libraries of its release.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) release: &'static str,
    pub(super) package: &'static str,
    /// In the package's `usr/bin` or `usr/sbin`.
    pub(super) program: &'static str,
    /// Where it is unpacked, in `live`.
    pub(super) folder: &'static str,
}

impl Server {
    /// The path of a script that runs it.
    pub(super) fn prepare(&self) -> Result<PathBuf, String> {
        let folder = root().join("live").join(self.folder);
        let (script, installed) = (folder.join(self.program), folder.join("installed"));
        let wanted = format!("{}: {}", self.release, self.package);
        if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
            return Ok(script);
        }
        println!("preparing: {} of Debian's {} in live/{}", self.package, self.release, self.folder);
        let apt = Apt::new(&folder, self.release)?;
        let needed = apt.with_dependencies(&[self.package])?;
        apt.unpack(needed, &["./usr/share"])?;
        let written = write_script(&folder, self.program).and_then(|()| fs::write(&installed, wanted));
        written.map_err(|error| format!("live/{}: {error}", self.folder))?;
        Ok(script)
    }
}

/// Rails of a certain release of Debian's, with its Ruby.
#[derive(Debug)]
pub(super) struct Rails {
    pub(super) release: &'static str,
    /// Where it is unpacked, in `live`.
    pub(super) folder: &'static str,
}

impl Rails {
    /// The path of a script that runs its Ruby.
    pub(super) fn prepare(&self) -> Result<PathBuf, String> {
        let folder = root().join("live").join(self.folder);
        let (script, installed) = (folder.join("ruby"), folder.join("installed"));
        let wanted = format!("{}: ruby-rails", self.release);
        if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
            return Ok(script);
        }
        println!("preparing: Rails of Debian's {} in live/{}", self.release, self.folder);
        let apt = Apt::new(&folder, self.release)?;
        apt.link_libraries()?;
        let needed = apt.with_dependencies(&["ruby-rails"])?;
        apt.unpack(needed, &["./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/ri"])?;
        let written = write_ruby(&script).and_then(|()| fs::write(&installed, wanted));
        written.map_err(|error| format!("live/{}: {error}", self.folder))?;
        Ok(script)
    }
}

/// Frameworks of PHP's, of a certain release of Debian's, with their PHP.
#[derive(Debug)]
pub(super) struct Frameworks {
    pub(super) release: &'static str,
    /// Where they are unpacked, in `live`.
    pub(super) folder: &'static str,
    pub(super) packages: &'static [&'static str],
}

impl Frameworks {
    /// The path of a script that runs their PHP.
    pub(super) fn prepare(&self) -> Result<PathBuf, String> {
        let folder = root().join("live").join(self.folder);
        let (script, installed) = (folder.join("php"), folder.join("installed"));
        let wanted = format!("{}: {}", self.release, self.packages.join(" "));
        if fs::read_to_string(&installed).is_ok_and(|former| former == wanted) {
            return Ok(script);
        }
        println!("preparing: PHP's frameworks of Debian's {} in live/{}", self.release, self.folder);
        let apt = Apt::new(&folder, self.release)?;
        apt.link_libraries()?;
        let needed = apt.with_dependencies(&[self.packages, &["php-cli", "php-mbstring", "php-redis"]].concat())?;
        let tree = apt.tree.clone();
        apt.unpack(needed, &["./usr/share/doc", "./usr/share/man", "./usr/share/locale"])?;
        let written = make_relative(&tree.join("usr/share/php"))
            .and_then(|()| write_php(&script))
            .and_then(|()| fs::write(&installed, wanted));
        written.map_err(|error| format!("live/{}: {error}", self.folder))?;
        Ok(script)
    }
}

/// Since Laravel 13 and Symfony 7, Debian's files load others by their place in the system; without it PHP looks for them in its `include_path`.
fn make_relative(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_dir() {
            make_relative(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "php")
            && let Ok(text) = fs::read_to_string(&path)
            && text.contains("'/usr/share/php/")
        {
            fs::write(&path, text.replace("'/usr/share/php/", "'"))?;
        }
    }
    Ok(())
}

/// It becomes PHP, which looks for all that it loads in its own tree, and reads no settings of the system's.
fn write_php(script: &Path) -> io::Result<()> {
    const TEXT: &str = r#"#!/bin/sh
tree=$(dirname "$0")/tree
loader=$(ls "$tree"/usr/lib64/ld-linux* "$tree"/usr/lib/ld-linux* 2>/dev/null | head -n 1)
php=$(ls "$tree"/usr/bin/php8.* | head -n 1)
extensions=$(echo "$tree"/usr/lib/php/20*)
# The last is loaded first: what others stand on comes late.
for name in pdo_mysql pdo_pgsql pdo_sqlite mysqlnd posix phar redis igbinary pdo intl iconv fileinfo dom mbstring tokenizer ctype; do
    [ -f "$extensions/$name.so" ] && set -- -d extension="$name" "$@"
done
exec "$loader" --library-path "$(echo "$tree"/usr/lib/*-linux-gnu)" "$php" -n -d extension_dir="$extensions" -d include_path="$tree/usr/share/php" "$@"
"#;
    fs::write(script, TEXT)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))
}

/// It becomes Ruby, which looks for all that it loads in its own tree.
fn write_ruby(script: &Path) -> io::Result<()> {
    const TEXT: &str = r#"#!/bin/sh
tree=$(dirname "$0")/tree
loader=$(ls "$tree"/usr/lib64/ld-linux* "$tree"/usr/lib/ld-linux* 2>/dev/null | head -n 1)
libraries=$(echo "$tree"/usr/lib/*-linux-gnu)
joined() { echo "$@" | tr ' ' ':'; }
ruby="$tree"/usr/lib/ruby
RUBYLIB=$(joined "$ruby"/vendor_ruby "$libraries"/ruby/vendor_ruby/3* "$ruby"/3* "$libraries"/ruby/3*)
GEM_PATH=$(joined "$tree"/usr/share/rubygems-integration/* "$libraries"/rubygems-integration/* "$tree"/var/lib/gems/3* "$ruby"/gems/3*)
GEM_HOME="$tree"/var/lib/gems
export RUBYLIB GEM_PATH GEM_HOME
exec "$loader" --library-path "$libraries" "$tree"/usr/bin/ruby3* "$@"
"#;
    fs::write(script, TEXT)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))
}

/// It becomes the program, under its own process id.
fn write_script(folder: &Path, program: &str) -> io::Result<()> {
    let text = format!(
        "#!/bin/sh\ntree=$(dirname \"$0\")/tree\nloader=$(ls \"$tree\"/usr/lib64/ld-linux* \"$tree\"/usr/lib/ld-linux* 2>/dev/null | head -n 1)\n\
         program=$(ls \"$tree\"/usr/bin/{program} \"$tree\"/usr/sbin/{program} 2>/dev/null | head -n 1)\n\
         exec \"$loader\" --library-path \"$(echo \"$tree\"/usr/lib/*-linux-gnu)\" \"$program\" \"$@\"\n"
    );
    fs::write(folder.join(program), text)?;
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755))
}

/// An apt-get that knows one release of Debian, and of no package that is installed.
pub(super) struct Apt {
    /// Where it keeps what it knows, and what it downloads.
    own: PathBuf,
    /// Where packages are unpacked to.
    tree: PathBuf,
}

impl Apt {
    /// Empties the folder, and learns what the release has. Packages go into its folder `tree`.
    pub(super) fn new(folder: &Path, release: &str) -> Result<Self, String> {
        for program in ["apt-get", "dpkg-deb"] {
            find(&[program]).ok_or_else(|| format!("there is no {program}"))?;
        }
        let mirror = mirror().ok_or("no mirror of Debian is among apt's sources")?;
        let source =
            format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {release} main\n");
        let apt = Self { own: folder.join("apt"), tree: folder.join("tree") };
        let make = || {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(&apt.tree)?;
            for place in ["state/lists/partial", "cache/archives/partial", "preferences"] {
                fs::create_dir_all(apt.own.join(place))?;
            }
            fs::write(apt.own.join("status"), "")?;
            fs::write(apt.own.join("sources.list"), source)
        };
        make().map_err(|error| apt.failed(&error))?;
        download("apt-get", apt.command().args(["-o", "APT::Update::Error-Mode=any", "update"]))?;
        Ok(apt)
    }

    /// Before trixie, the C library is in folders that are links since.
    fn link_libraries(&self) -> Result<(), String> {
        for name in ["lib", "lib64"] {
            let linked = fs::create_dir_all(self.tree.join("usr").join(name))
                .and_then(|()| std::os::unix::fs::symlink(format!("usr/{name}"), self.tree.join(name)));
            linked.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// The packages, and what they depend on.
    pub(super) fn with_dependencies(&self, packages: &[&str]) -> Result<Vec<String>, String> {
        let all = run(self.command().args(["--simulate", "install"]).args(packages))?;
        let names = all.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads these packages and nothing else, puts their files into the tree, but for those folders, and tidies up.
    pub(super) fn unpack(
        self,
        packages: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
        without: &[&str],
    ) -> Result<(), String> {
        download("apt-get", self.command().arg("download").args(packages))?;
        for package in fs::read_dir(&self.own).map_err(|error| self.failed(&error))? {
            let package = package.map_err(|error| self.failed(&error))?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                extract(&package, &self.tree, without)?;
                fs::remove_file(package).map_err(|error| self.failed(&error))?;
            }
        }
        fs::remove_dir_all(&self.own).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.own.display())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.current_dir(&self.own).args(["-qq", "--yes", "--no-install-recommends"]);
        let places = [
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::preferencesparts", "preferences"),
        ];
        for (setting, place) in places {
            command.arg("-o").arg(format!("{setting}={}", self.own.join(place).display()));
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

/// Puts a package's files into the tree, without those of these folders.
fn extract(package: &Path, tree: &Path, without: &[&str]) -> Result<(), String> {
    let mut files = Command::new("dpkg-deb");
    files.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut files = files.spawn().map_err(|error| format!("dpkg-deb: {error}"))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(tree)
        .stdin(files.stdout.take().map_or(Stdio::null(), Stdio::from));
    tar.args(without.iter().map(|folder| format!("--exclude={folder}")));
    let extracted = run(&mut tar);
    let unpacked = files.wait().map_err(|error| format!("dpkg-deb: {error}"))?;
    extracted?;
    if unpacked.success() { Ok(()) } else { Err(format!("dpkg-deb ended with {unpacked}: {}", package.display())) }
}
