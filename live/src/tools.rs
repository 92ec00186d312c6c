//! The programs that the peers run on: found, or installed where that is possible.

mod mysql;
mod prometheus;
mod unpacked;
pub(crate) mod wasm;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A program that a part needs, and what it takes to have it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// On the path, by one of these names, or from this Debian package.
    Debian { names: &'static [&'static str], package: &'static str },
    /// On the path with the extension `redis`, or both from Debian.
    Php,
    /// An environment of Python's.
    PythonEnvironment(&'static Environment),
    /// On the path or from Debian, in a version that is new enough.
    Node,
    /// Node, beside the `node_modules` of this folder with what its `package-lock.json` says: the Node in there, where one is.
    NodePackages(&'static str),
    /// The Cargo that runs the suite.
    Cargo,
    /// The server and what makes its first files, on the path or from Debian.
    MariaDb,
    /// Unpacked into `live/.mysql`.
    Mysql,
    /// On the path, or unpacked into `live/.prometheus`, with promtool beside it.
    Prometheus,
    /// A server of another release of Debian's, unpacked into a folder of `live`.
    Unpacked(&'static unpacked::Server),
    /// Rails of a release of Debian's, unpacked into a folder of `live`.
    Rails(&'static unpacked::Rails),
    /// A framework of PHP's of a release of Debian's, unpacked into a folder of `live` with its PHP.
    FrameworksOfPhp(&'static unpacked::Frameworks),
    /// A rustc that builds for WebAssembly: installed, or unpacked into `live/.rust`.
    RustForWasm,
}

/// A folder of `live` with what a file of requirements in `live` says.
#[derive(Debug)]
struct Environment {
    folder: &'static str,
    requirements: &'static str,
    /// The oldest Python 3 that takes it.
    oldest: u32,
}

pub(crate) static PYTHON: Tool = Tool {
    name: "Python environment",
    source: Source::PythonEnvironment(&Environment { folder: ".venv", requirements: "requirements.txt", oldest: 10 }),
};
pub(crate) static DJANGO_5_2: Tool = Tool {
    name: "Django 5.2",
    source: Source::PythonEnvironment(&Environment {
        folder: ".venv-django-5.2",
        requirements: "django_app/requirements-5.2.txt",
        oldest: 10,
    }),
};
pub(crate) static DJANGO_6_0: Tool = Tool {
    name: "Django 6.0",
    source: Source::PythonEnvironment(&Environment {
        folder: ".venv-django-6.0",
        requirements: "django_app/requirements-6.0.txt",
        oldest: 12,
    }),
};
pub(crate) static CHROMIUM: Tool = Tool {
    name: "chromium",
    source: Source::Debian { names: &["chromium", "chromium-browser", "google-chrome"], package: "chromium" },
};
pub(crate) static CHROMEDRIVER: Tool =
    Tool { name: "chromedriver", source: Source::Debian { names: &["chromedriver"], package: "chromium-driver" } };

pub(crate) static MARIADB: Tool = Tool { name: "mariadbd", source: Source::MariaDb };
pub(crate) static MYSQL: Tool = Tool { name: "mysqld", source: Source::Mysql };
pub(crate) static ERLANG: Tool =
    Tool { name: "Erlang", source: Source::Debian { names: &["escript"], package: "erlang-crypto" } };
pub(crate) static EXPRESS: Tool = Tool { name: "Express on Node", source: Source::NodePackages("live/express_app") };
/// Release 9 wants Node 22, which is among its packages.
pub(crate) static IRON: Tool = Tool { name: "iron-session on Node", source: Source::NodePackages("live/iron_app") };
pub(crate) static NODE: Tool = Tool { name: "Node", source: Source::Node };
pub(crate) static RUST_FOR_WASM: Tool = Tool { name: "rustc for WebAssembly", source: Source::RustForWasm };
pub(crate) static CARGO: Tool = Tool { name: "cargo", source: Source::Cargo };
pub(crate) static PROMETHEUS: Tool = Tool { name: "prometheus", source: Source::Prometheus };
pub(crate) static OPENSSL: Tool =
    Tool { name: "openssl", source: Source::Debian { names: &["openssl"], package: "openssl" } };
pub(crate) static PGBOUNCER: Tool =
    Tool { name: "pgbouncer", source: Source::Debian { names: &["pgbouncer"], package: "pgbouncer" } };
pub(crate) static PHP: Tool = Tool { name: "PHP with phpredis", source: Source::Php };
pub(crate) static POSTGRES: Tool =
    Tool { name: "postgresql", source: Source::Debian { names: &["pg_ctlcluster"], package: "postgresql" } };
pub(crate) static REDIS: Tool =
    Tool { name: "redis-server", source: Source::Debian { names: &["redis-server"], package: "redis-server" } };
pub(crate) static REDIS_8_0: Tool = Tool {
    name: "Redis 8.0",
    source: Source::Unpacked(&unpacked::Server {
        release: "trixie",
        package: "redis-server",
        program: "redis-server",
        folder: ".redis-8.0",
    }),
};
pub(crate) static RAILS_6_1: Tool =
    Tool { name: "Rails 6.1", source: Source::Rails(&unpacked::Rails { release: "bookworm", folder: ".rails-6.1" }) };
pub(crate) static RAILS_7_2: Tool =
    Tool { name: "Rails 7.2", source: Source::Rails(&unpacked::Rails { release: "trixie", folder: ".rails-7.2" }) };
/// Laravel 8 and Symfony 5.4.
pub(crate) static PHP_OF_BOOKWORM: Tool = Tool {
    name: "Laravel 8 and Symfony 5.4",
    source: Source::FrameworksOfPhp(&unpacked::Frameworks {
        release: "bookworm",
        folder: ".php-bookworm",
        packages: FRAMEWORKS_OF_PHP,
    }),
};
/// Laravel 13 and Symfony 7.4.
pub(crate) static PHP_OF_SID: Tool = Tool {
    name: "Laravel 13 and Symfony 7.4",
    source: Source::FrameworksOfPhp(&unpacked::Frameworks {
        release: "sid",
        folder: ".php-sid",
        packages: FRAMEWORKS_OF_PHP,
    }),
};
const FRAMEWORKS_OF_PHP: &[&str] = &[
    "php-laravel-framework",
    "php-symfony-http-foundation",
    "php-symfony-security-http",
    "php-mysql",
    "php-pgsql",
    "php-sqlite3",
];
pub(crate) static VALKEY_8_1: Tool = Tool {
    name: "Valkey 8.1",
    source: Source::Unpacked(&unpacked::Server {
        release: "trixie",
        package: "valkey-server",
        program: "valkey-server",
        folder: ".valkey-8.1",
    }),
};
pub(crate) static VALKEY_9_1: Tool = Tool {
    name: "Valkey 9.1",
    source: Source::Unpacked(&unpacked::Server {
        release: "sid",
        package: "valkey-server",
        program: "valkey-server",
        folder: ".valkey-9.1",
    }),
};

/// The tools that are ready, by their paths.
pub(crate) struct Tools {
    ready: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// Finds or installs the tools, and says what could not be had, and why.
    pub(crate) fn prepare(wanted: impl Iterator<Item = &'static Tool>) -> Self {
        let (mut tools, mut seen, mut apt) = (Self { ready: Vec::new() }, Vec::new(), Apt::default());
        for tool in wanted {
            if seen.contains(&tool.name) {
                continue;
            }
            seen.push(tool.name);
            let path = match &tool.source {
                Source::Debian { names, package } => find(names).map_or_else(|| apt.install(package, names), Ok),
                Source::PythonEnvironment(wanted) => python_environment(wanted, &mut apt),
                Source::Php => php(&mut apt),
                Source::Node => node(&mut apt),
                Source::NodePackages(folder) => node_packages(folder, &mut apt),
                Source::MariaDb => mariadb(&mut apt),
                Source::Mysql => mysql::prepare(),
                Source::Prometheus => prometheus::prepare(),
                Source::Unpacked(server) => server.prepare(),
                Source::Rails(rails) => rails.prepare(),
                Source::FrameworksOfPhp(framework) => framework.prepare(),
                Source::RustForWasm => wasm::prepare(),
                Source::Cargo => env::var_os("CARGO")
                    .map(PathBuf::from)
                    .or_else(|| find(&["cargo"]))
                    .ok_or_else(|| "it is not on the path".to_owned()),
            };
            match path {
                Ok(path) => tools.ready.push((tool.name, path)),
                Err(why) => println!("not prepared: {}: {why}", tool.name),
            }
        }
        tools
    }

    pub(crate) fn has(&self, tool: &Tool) -> bool {
        self.ready.iter().any(|(name, _)| *name == tool.name)
    }

    /// A command that runs the tool. Of the environment it keeps only the path and the home, so that no setting of whoever
    /// runs the suite gets in.
    pub(crate) fn command(&self, tool: &Tool) -> Command {
        let path = self.ready.iter().find(|(name, _)| *name == tool.name);
        let (_, path) = path.unwrap_or_else(|| panic!("the part does not say that it needs {}", tool.name));
        plain_command(path)
    }

    pub(crate) fn path(&self, tool: &Tool) -> &Path {
        self.ready.iter().find(|(name, _)| *name == tool.name).map_or(Path::new(""), |(_, path)| path)
    }
}

/// A command in the repository's folder, without the environment of whoever runs the suite.
pub(crate) fn plain_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(root());
    for kept in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("live is a folder of the repository").to_owned()
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian's servers are where an ordinary user's path does not lead.
    let folders: Vec<PathBuf> = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// The programs alone: the whole package would start a service. What makes a server's first files calls the other one.
fn mariadb(apt: &mut Apt) -> Result<PathBuf, String> {
    let mut program = |name, package| find(&[name]).map_or_else(|| apt.install(package, &[name]), Ok);
    program("my_print_defaults", "mariadb-client-core")?;
    program("mariadbd", "mariadb-server-core")
}

fn php(apt: &mut Apt) -> Result<PathBuf, String> {
    let php = find(&["php"]).map_or_else(|| apt.install("php-cli", &["php"]), Ok)?;
    let has_redis =
        |php: &Path| run(Command::new(php).arg("-m")).map(|modules| modules.lines().any(|name| name == "redis"));
    if !has_redis(&php)? {
        apt.install("php-redis", &["php"])?;
    }
    if has_redis(&php)? {
        Ok(php)
    } else {
        Err("its extension redis is not loaded; on Debian: apt-get install php-redis".into())
    }
}

/// Makes the environment anew where the requirements have changed since.
fn python_environment(environment: &Environment, apt: &mut Apt) -> Result<PathBuf, String> {
    let live = root().join("live");
    let (folder, wanted) = (live.join(environment.folder), live.join(environment.requirements));
    let (python, installed) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let text = fs::read(&wanted).map_err(|error| format!("live/{}: {error}", environment.requirements))?;
    if python.is_file() && fs::read(&installed).is_ok_and(|former| former == text) {
        return Ok(python);
    }
    println!("preparing: Python environment in live/{}", environment.folder);
    let system = new_enough_python(environment.oldest, apt)?;
    let make = || run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&folder));
    if let Err(why) = make() {
        apt.install("python3-venv", &["python3"]).map_err(|also| format!("{why}; {also}"))?;
        make()?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&wanted);
    download("pip", &mut pip)?;
    fs::write(&installed, text).map_err(|error| error.to_string())?;
    Ok(python)
}

/// A Python 3 of at least this minor version: the one on the path, one that stands beside it, or one of pyenv's.
fn new_enough_python(oldest: u32, apt: &mut Apt) -> Result<PathBuf, String> {
    let is_new_enough = |python: &PathBuf| {
        let version = run(Command::new(python).args(["-c", "import sys; print(sys.version_info.minor)"]));
        version.is_ok_and(|minor| minor.trim().parse().is_ok_and(|minor: u32| minor >= oldest))
    };
    let on_path = ["python3", "python3.14", "python3.13", "python3.12"].into_iter().filter_map(|name| find(&[name]));
    let pyenv = env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv/versions"));
    let versions = pyenv.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let in_pyenv = versions.map(|version| version.path().join("bin/python3")).filter(|python| python.is_file());
    if let Some(python) = on_path.chain(in_pyenv).find(is_new_enough) {
        return Ok(python);
    }
    let installed = apt.install("python3", &["python3"])?;
    if is_new_enough(&installed) {
        return Ok(installed);
    }
    Err(format!("there is no Python 3.{oldest} or newer; with pyenv: pyenv install 3.{}", oldest + 1))
}

/// The first major version of Node that the Express application and `live/wasm/run.mjs` run on.
const OLDEST_NODE: u32 = 20;

fn node(apt: &mut Apt) -> Result<PathBuf, String> {
    let node = find(&["node", "nodejs"]).map_or_else(|| apt.install("nodejs", &["node", "nodejs"]), Ok)?;
    let version = run(Command::new(&node).arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST_NODE) {
        return Err(format!("Node {} is too old: {OLDEST_NODE} or newer is needed", version.trim()));
    }
    Ok(node)
}

/// Installs the packages of a folder anew where its lock file has changed since. The path is Node's.
fn node_packages(folder: &str, apt: &mut Apt) -> Result<PathBuf, String> {
    let node = node(apt)?;
    let (path, own) = (root().join(folder), root().join(folder).join("node_modules/node/bin/node"));
    let node = || if own.is_file() { own.clone() } else { node.clone() };
    let (wanted, installed) = (path.join("package-lock.json"), path.join("node_modules/.installed.json"));
    let text = fs::read(&wanted).map_err(|error| format!("{folder}/package-lock.json: {error}"))?;
    if fs::read(&installed).is_ok_and(|former| former == text) {
        return Ok(node());
    }
    println!("preparing: Node's packages in {folder}/node_modules");
    let npm = find(&["npm"]).map_or_else(|| apt.install("npm", &["npm"]), Ok)?;
    let mut install = Command::new(npm);
    install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"]).current_dir(&path);
    download("npm", &mut install)?;
    fs::write(&installed, text).map_err(|error| error.to_string())?;
    Ok(node())
}

/// Debian's packages, where this user may install them.
#[derive(Default)]
struct Apt {
    updated: bool,
    /// Why the update failed, where it did.
    failed: Option<String>,
}

impl Apt {
    fn install(&mut self, package: &str, names: &[&str]) -> Result<PathBuf, String> {
        let apt = find(&["apt-get"]).ok_or("it is not on the path, and there is no apt-get to install it with")?;
        let root = run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        if !root && run(Command::new("sudo").args(["-n", "true"])).is_err() {
            return Err(format!("it is not on the path; as root: apt-get install {package}"));
        }
        let command = || {
            let mut command = Command::new(if root { "env" } else { "sudo" });
            if !root {
                command.args(["-n", "env"]);
            }
            command.arg("DEBIAN_FRONTEND=noninteractive").arg(&apt).args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
            command
        };
        println!("preparing: Debian's {package}");
        if !self.updated {
            // Without the mode an update that reached nobody is a success. One that failed in part may do.
            self.failed = download("apt-get", command().args(["-o", "APT::Update::Error-Mode=any", "update"])).err();
            self.updated = true;
        }
        let mut install = command();
        install.args(["install", "--yes", "--no-install-recommends", package]);
        download("apt-get", &mut install).map_err(|why| match &self.failed {
            Some(update) => format!("{update}{why}"),
            None => why,
        })?;
        find(names).ok_or_else(|| format!("Debian's {package} is installed, and still not on the path"))
    }
}

/// Runs what fetches packages, and says in its first line where that failed for lack of a network.
fn download(name: &str, command: &mut Command) -> Result<String, String> {
    run(command).map_err(|why| if is_offline(&why) { format!("no network: {name} reached nobody\n{why}") } else { why })
}

/// Whether this is how apt-get, npm or pip speak of a network that is not there.
fn is_offline(why: &str) -> bool {
    const SIGNS: &[&str] = &[
        "Could not resolve",
        "Could not connect",
        "Unable to connect",
        "Temporary failure",
        "Network is unreachable",
        "Failed to establish a new connection",
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ENETUNREACH",
        "ETIMEDOUT",
    ];
    SIGNS.iter().any(|sign| why.contains(sign))
}

/// What the command printed. An error holds all of it.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{name} ended with {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
