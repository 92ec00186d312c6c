//! TLS by rustls: what is encrypted is verified, the name of the host, too.

use std::{error::Error as _, io, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;

#[derive(Clone)]
pub(super) struct Tls(MakeRustlsConnect);

impl Tls {
    /// Trusts the authorities in this file of PEM, or those of the system; shows this certificate with its key, where the server asks for one.
    pub(super) fn new(roots: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, StoreError> {
        let roots = match roots {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("sslrootcert", file)? {
                    roots.add(certificate).map_err(unreadable("sslrootcert", file))?;
                }
                roots
            }
            None => of_the_system()?,
        };
        let config = builder().with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable("sslkey", key))?;
                config.with_client_auth_cert(chain, secret).map_err(unreadable("sslkey", key))?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Self(MakeRustlsConnect::new(config)))
    }

    /// Trusts nobody: for connections without encryption.
    pub(super) fn none() -> Self {
        let config = builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Self(MakeRustlsConnect::new(config))
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        self.0.clone()
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of both protocol versions")
}

fn of_the_system() -> Result<RootCertStore, StoreError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Among a system's many there are often some that are too old for rustls.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(StoreError::new(
            "postgres: this system has no certificates of authorities (Debian: apt-get install ca-certificates); or name \
             the server's in ?sslrootcert=FILE",
        )),
    }
}

fn certificates(setting: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found = CertificateDer::pem_file_iter(file).map_err(unreadable(setting, file))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable(setting, file))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(unreadable(setting, file)("there is no certificate in it")),
    }
}

fn unreadable<E: ToString>(setting: &'static str, file: &Path) -> impl Fn(E) -> StoreError {
    move |error| {
        StoreError::new(format!("postgres: cannot use {setting}={}", file.display())).because(error.to_string())
    }
}

/// What to do about a server whose certificate was refused.
pub(super) fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
    let error = error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        // A bad signature is that of another authority with the same name.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => Some(
            "its certificate is of no authority that is trusted here; where it is your own, name it: ?sslrootcert=FILE",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("its certificate is another host's: the address must name the host as the certificate does"),
        _ => None,
    }
}
