//! Certificates that openssl makes for a test: an authority, and what it signs.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::stores::Directory;

pub(crate) struct Authority {
    directory: Directory,
    name: &'static str,
}

impl Authority {
    pub(crate) fn new(name: &'static str) -> Self {
        let authority = Self { directory: Directory::new(), name };
        let settings = "[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = .\ndatabase = index\nserial = serial\ndefault_md = sha256\npolicy = any\n\
                        copy_extensions = copy\n[any]\ncommonName = supplied\n";
        fs::write(authority.directory.path().join("settings"), settings).unwrap();
        fs::write(authority.directory.path().join("index"), "").unwrap();
        fs::write(authority.directory.path().join("serial"), "01").unwrap();
        let request =
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem -subj";
        authority.openssl(request, &[&format!("/CN={}", authority.name)]);
        authority
    }

    /// A key and a certificate for these names, `DNS:localhost,IP:127.0.0.1`, that is valid now.
    pub(crate) fn signs(&self, file: &str, names: &str) {
        self.signs_for(file, names, "20200101000000Z", "20991231000000Z");
    }

    pub(crate) fn signs_for(&self, file: &str, names: &str, begins: &str, ends: &str) {
        let request = format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {file}.key -out {file}.csr -subj /CN={file} -addext"
        );
        self.openssl(&request, &[&format!("subjectAltName={names}")]);
        let sign = format!(
            "ca -batch -notext -config settings -cert ca.pem -keyfile ca.key -startdate {begins} -enddate {ends} -in {file}.csr -out {file}.pem"
        );
        self.openssl(&sign, &[]);
    }

    /// The path of one of its files: `ca.pem`.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) fn file(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    fn openssl(&self, arguments: &str, more: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).args(more).current_dir(self.directory.path()).stdin(Stdio::null());
        let output = openssl.output().expect("openssl can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
