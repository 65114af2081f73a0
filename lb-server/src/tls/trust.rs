//! Whom a service believes to be its backend.

use std::sync::Arc;

use lb_config::config::ServiceTls;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::files::{Contents, Problem};

/// Who is believed to be a backend. Without `ca` that is whom Mozilla trusts, as of the build: the
/// same on every machine, in containers without any certificates too, and nothing that a package of
/// the system can change behind our back.
///
/// A certificate that vouches for itself and for nobody else, as those of single backends are, is
/// pinned: it is believed where it is shown, and no other that its key has signed.
pub(super) fn verifier(
    asked: &ServiceTls,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<Problem>,
) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    if asked.insecure_skip_verify {
        return Ok(Arc::new(Anybody(Arc::clone(provider))));
    }
    let Some(ca) = &asked.ca else {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        return Ok(web(RootCertStore { roots }, provider));
    };
    let mut pins = Vec::new();
    let roots = contents.roots(ca, warnings, |der, certificate| {
        let mut alone = RootCertStore::empty();
        let is_pin =
            certificate.subject() == certificate.issuer() && alone.add(der.clone()).is_ok();
        if is_pin {
            pins.push((der.clone(), web(alone, provider)));
        }
        is_pin
    })?;
    let authorities = (!roots.is_empty()).then(|| web(roots, provider));
    match authorities {
        Some(authorities) if pins.is_empty() => Ok(authorities),
        authorities => {
            let signatures = Anybody(Arc::clone(provider));
            Ok(Arc::new(Pinned { pins, authorities, signatures }))
        }
    }
}

fn web(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Arc<WebPkiServerVerifier> {
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().expect("there are roots, and no revocation lists to be wrong")
}

/// Certificates that are believed themselves, beside those that authorities vouch for.
#[derive(Debug)]
struct Pinned {
    /// With who believes this one and nobody else: its name and its dates count as of any other.
    pins: Vec<(CertificateDer<'static>, Arc<WebPkiServerVerifier>)>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    signatures: Anybody,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = self.pins.iter().find(|(pin, _)| pin == end_entity).map(|(_, alone)| alone);
        let Some(who) = pin.or(self.authorities.as_ref()) else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        who.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// `insecure_skip_verify`: any certificate will do, as long as the peer has its key.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
