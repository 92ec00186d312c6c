//! Certificates that an address names, and what to do about one that is refused.

#[cfg(feature = "redis-tls")]
pub(super) use with_rustls::*;
#[cfg(not(feature = "redis-tls"))]
pub(super) use without::*;

#[cfg(feature = "redis-tls")]
mod with_rustls {
    use std::{fs, io, sync::Arc};

    use redis::{Client, ClientTlsConfig, ConnectionInfo, RedisError, RedisResult, TlsCertificates};
    use rustls::{
        AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use super::super::address::wrong;
    use crate::store::StoreError;

    pub(crate) type Certificates = TlsCertificates;

    pub(crate) fn is_there() -> Result<(), StoreError> {
        // The client takes what the process has installed. An application that installed its own before keeps it.
        if CryptoProvider::get_default().is_none() {
            let _ = ring::default_provider().install_default();
        }
        Ok(())
    }

    /// Reads what the address names: a file of authorities, and a certificate of our own with its key.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or does not hold what it should.
    pub(crate) fn read(ca: Option<&str>, own: Option<(&str, &str)>) -> Result<Option<Certificates>, StoreError> {
        if ca.is_none() && own.is_none() {
            return Ok(None);
        }
        let root_cert = ca.map(|file| contents("ca", file)).transpose()?;
        let mut roots = RootCertStore::empty();
        if let (Some(file), Some(bytes)) = (ca, &root_cert) {
            for authority in certificates("ca", file, bytes)? {
                roots.add(authority).map_err(|error| unusable("ca", file).because(error))?;
            }
        }
        let client_tls = match own {
            Some((cert, key)) => {
                let (client_cert, client_key) = (contents("cert", cert)?, contents("key", key)?);
                let chain = certificates("cert", cert, &client_cert)?;
                let secret = PrivateKeyDer::from_pem_slice(&client_key).map_err(|_| {
                    wrong(format!(
                        "key={key} holds no private key; it begins -----BEGIN PRIVATE KEY-----, and has no passphrase"
                    ))
                })?;
                let config = ClientConfig::builder().with_root_certificates(roots);
                config.with_client_auth_cert(chain, secret).map_err(|error| {
                    wrong(format!("cert={cert} and key={key} do not belong together, or are of an unknown kind"))
                        .because(error)
                })?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }

    fn contents(name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        fs::read(file).map_err(|error| wrong(format!("{name}={file} cannot be read")).because(error))
    }

    /// One at least.
    fn certificates(name: &str, file: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
        found.ok().filter(|found| !found.is_empty()).ok_or_else(|| unusable(name, file))
    }

    fn unusable(name: &str, file: &str) -> StoreError {
        wrong(format!("{name}={file} holds no certificate as text (PEM); it begins -----BEGIN CERTIFICATE-----"))
    }

    pub(crate) fn client(info: ConnectionInfo, certificates: Option<&Certificates>) -> RedisResult<Client> {
        match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// What to do where a connection over TLS was refused.
    pub(crate) fn advice(error: &RedisError) -> Option<&'static str> {
        let source = std::error::Error::source(error)?;
        let shared: &Arc<dyn std::error::Error + Send + Sync> = source.downcast_ref()?;
        let refused: &rustls::Error = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?;
        match refused {
            rustls::Error::InvalidCertificate(why) => Some(match why {
                CertificateError::UnknownIssuer => {
                    "nobody trusted here signed the server's certificate: name the file of its authority, rediss://HOST:PORT/?ca=FILE, or add that to the system's"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "the server's certificate is for another name: write the name that it has into the address"
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "the server's certificate has expired: renew it there, or set the clock here"
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "the server's certificate is not valid yet: set the clock, here or where it was made"
                }
                _ => "the server's certificate is refused",
            }),
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate,
            ) => Some("the server asks for a certificate: rediss://HOST:PORT/?cert=FILE&key=FILE"),
            rustls::Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::DecryptError,
            ) => Some("the server refuses the certificate that cert= names: its own authority has to sign it"),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Some("what answers there speaks no TLS: its port for TLS is another one, or it is redis://")
            }
            _ => None,
        }
    }
}

#[cfg(not(feature = "redis-tls"))]
mod without {
    use redis::{Client, ConnectionInfo, RedisError, RedisResult};

    use crate::store::StoreError;

    /// There are none.
    #[derive(Clone)]
    pub(crate) enum Certificates {}

    pub(crate) fn is_there() -> Result<(), StoreError> {
        Err(StoreError::new("the feature `redis-tls` is not enabled: cargo add dewar --features redis-tls"))
    }

    pub(crate) fn read(_ca: Option<&str>, _own: Option<(&str, &str)>) -> Result<Option<Certificates>, StoreError> {
        is_there().map(|()| None)
    }

    pub(crate) fn client(info: ConnectionInfo, _certificates: Option<&Certificates>) -> RedisResult<Client> {
        Client::open(info)
    }

    pub(crate) fn advice(_error: &RedisError) -> Option<&'static str> {
        None
    }
}
