#![allow(dead_code, reason = "each test binary uses a part of it")]
//! Certificates made for a test, and the folder that they lie in.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// A certificate and its key, both in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For the exporter at 127.0.0.1.
    pub fn server(&self) -> Pair {
        let sans = vec![SanType::IpAddress([127, 0, 0, 1].into()), SanType::DnsName("localhost".try_into().unwrap())];
        self.sign(sans, ExtendedKeyUsagePurpose::ServerAuth, false)
    }

    /// For a client with these names, such as `DNS:prometheus`.
    pub fn client(&self, names: &[&str]) -> Pair {
        self.sign(names.iter().map(|name| san(name)).collect(), ExtendedKeyUsagePurpose::ClientAuth, false)
    }

    pub fn expired_client(&self) -> Pair {
        self.sign(vec![san("DNS:prometheus")], ExtendedKeyUsagePurpose::ClientAuth, true)
    }

    fn sign(&self, sans: Vec<SanType>, purpose: ExtendedKeyUsagePurpose, expired: bool) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "not looked at");
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![purpose];
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn san(name: &str) -> SanType {
    match name.split_once(':').unwrap() {
        ("DNS", name) => SanType::DnsName(name.try_into().unwrap()),
        ("IP", address) => SanType::IpAddress(address.parse().unwrap()),
        ("URI", uri) => SanType::URI(uri.try_into().unwrap()),
        ("EMAIL", address) => SanType::Rfc822Name(address.try_into().unwrap()),
        _ => panic!("{name}"),
    }
}

/// A folder of files, gone with the test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file as a whole; answers its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `name`.crt and `name`.key.
    pub fn put(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.crt"), &pair.certificate);
        self.write(&format!("{name}.key"), &pair.key);
    }
}
