//! `--web.config.file` against exporter-toolkit's own files: each is accepted or refused as there, and clients see the same.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::certificates::{Authority, Folder};
use crate::common::tools::tool;
use crate::common::{self, Api, Exporter, environment, run};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web/toolkit");

/// The toolkit's files, and beside them what they name.
struct Toolkit {
    folder: Folder,
}

impl Toolkit {
    fn new() -> Self {
        let toolkit = Self { folder: Folder::new() };
        for entry in std::fs::read_dir(FILES).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, toolkit.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        toolkit.self_signed("server.crt", "server.key", "localhost", &["-addext", "subjectAltName=DNS:localhost"]);
        let client = ["-addext", "extendedKeyUsage=clientAuth"];
        toolkit.self_signed("client_selfsigned.pem", "client_selfsigned.key", "test", &client);
        let named = [&client[..], &["-addext", "subjectAltName=DNS:test3"]].concat();
        toolkit.self_signed("client2_selfsigned.pem", "client2_selfsigned.key", "test3", &named);
        let authority = Authority::new("an authority that the system trusts");
        toolkit.folder.write("tls-ca-chain.pem", &authority.pem());
        let client = authority.client(&["DNS:of_the_system"]);
        toolkit.folder.write("of_the_system.pem", &client.certificate);
        toolkit.folder.write("of_the_system.key", &client.key);
        let block = |name: &str| std::fs::read_to_string(toolkit.path(name)).unwrap().replace('\n', "\n    ");
        let (certificate, key) = (block("server.crt"), block("server.key"));
        toolkit.folder.write(
            "web_config_noAuth_tlsInline.good.yml",
            &format!(
                "tls_server_config:\n  cert: |\n    {certificate}\n  key: |\n    {key}\n  \
                 client_auth_type: \"VerifyClientCertIfGiven\"\n"
            ),
        );
        toolkit.folder.write(
            "tls_config_noAuth.requireanyclientcertkeyinline.good.yml",
            &format!(
                "tls_server_config:\n  cert_file: \"server.crt\"\n  key: |\n    {key}\n  \
                 client_auth_type: \"RequireAnyClientCert\"\n"
            ),
        );
        toolkit
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    fn self_signed(&self, certificate: &str, key: &str, name: &str, further: &[&str]) {
        let mut openssl = tool("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &format!("/CN={name}")]);
        openssl.args(["-keyout", &self.path(key), "-out", &self.path(certificate)]).args(further);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The authorities that the system trusts are those of the tests, whatever machine this is.
    fn environment(&self, of: &[(String, String)]) -> Vec<(String, String)> {
        [of, &environment(&[("SSL_CERT_FILE", &self.path("tls-ca-chain.pem"))])].concat()
    }

    fn serve(&self, api: &Api, file: &str) -> Exporter {
        Exporter::start(&["--web.config.file", &self.path(file)], &self.environment(&api.environment()))
    }
}

enum Outcome {
    /// With these warnings.
    Accepted(&'static [&'static str]),
    Refused(&'static str),
}

use Outcome::{Accepted, Refused};

const IF_GIVEN: &str = "tls_server_config.client_auth_type: VerifyClientCertIfGiven without client_ca_file: client \
                        certificates of all public authorities that this system trusts are accepted";
const REQUIRED: &str = "tls_server_config.client_auth_type: RequireAndVerifyClientCert without client_ca_file: client \
                        certificates of all public authorities that this system trusts are accepted";
const CBC: &str = "tls_server_config.cipher_suites: left out, as rustls implements neither CBC nor RSA key exchange: \
                   TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, \
                   TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA";
const PLAIN: &str = "basic_auth_users without tls_server_config: the network can read the passwords";
const NO_CERTIFICATE: &str = "tls_server_config: the certificate is missing (cert_file or cert)";
const NO_KEY: &str = "tls_server_config: the key is missing (key_file or key)";

const OUTCOMES: &[(&str, Outcome)] = &[
    ("tls_config_noAuth.requireandverifyclientcert.good.yml", Accepted(&[])),
    ("tls_config_noAuth.requireanyclientcert.good.yml", Accepted(&[])),
    ("tls_config_noAuth.requireanyclientcertkeyinline.good.yml", Accepted(&[])),
    (
        "web_config_auth_clientCAs_invalid.bad.yml",
        Refused("tls_server_config.client_ca: no client certificate is requested; set client_auth_type to "),
    ),
    ("web_config_auth_clientCAs_missing.bad.yml", Accepted(&[REQUIRED])),
    ("web_config_auth_client_san.bad.yaml", Accepted(&[])),
    ("web_config_auth_client_san.good.yaml", Accepted(&[])),
    ("web_config_auth_user_list_invalid.bad.yml", Refused("basic_auth_users.john: expected a bcrypt hash (what ")),
    ("web_config_empty.yml", Accepted(&[])),
    ("web_config_headers.good.yml", Accepted(&[])),
    (
        "web_config_headers_content_type_options.bad.yml",
        Refused("http_server_config.headers.X-Content-Type-Options: expected nosniff"),
    ),
    (
        "web_config_headers_extra_header.bad.yml",
        Refused("http_server_config.headers.Content-Type: unknown header; expected one of Content-Security-Policy, "),
    ),
    (
        "web_config_headers_frame_options.bad.yml",
        Refused("http_server_config.headers.X-Frame-Options: expected deny or sameorigin"),
    ),
    ("web_config_junk.yml", Refused("cannot be read as YAML: ")),
    ("web_config_junk_key.yml", Refused("tls_server_config.cert_filse: unknown setting (expected cert, cert_file, ")),
    ("web_config_noAuth.bad.yml", Refused("tls_server_config.client_ca: no client certificate is requested")),
    ("web_config_noAuth.good.blocking.yml", Accepted(&[REQUIRED])),
    ("web_config_noAuth.good.yml", Accepted(&[IF_GIVEN])),
    ("web_config_noAuth_allCiphers.good.yml", Accepted(&[CBC, IF_GIVEN])),
    ("web_config_noAuth_allCurves.good.yml", Accepted(&[IF_GIVEN])),
    ("web_config_noAuth_certPath_empty.bad.yml", Refused(NO_CERTIFICATE)),
    (
        "web_config_noAuth_certPath_invalid.bad.yml",
        Refused("tls_server_config.cert_file: FOLDER/somefile cannot be read: No such file or directory"),
    ),
    ("web_config_noAuth_certPath_keyPath_empty.bad.yml", Refused(NO_CERTIFICATE)),
    (
        "web_config_noAuth_certPath_keyPath_invalid.bad.yml",
        Refused("tls_server_config.cert_file: FOLDER/somefile cannot be read: No such file or directory"),
    ),
    ("web_config_noAuth_cert_empty.bad.yml", Refused(NO_CERTIFICATE)),
    (
        "web_config_noAuth_inventedCiphers.bad.yml",
        Refused(
            "tls_server_config.cipher_suites: unknown cipher suite `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048`; expected TLS_",
        ),
    ),
    (
        "web_config_noAuth_inventedCurves.bad.yml",
        Refused("tls_server_config.curve_preferences: unknown curve `CurveP257`; expected X25519MLKEM768, X25519, "),
    ),
    ("web_config_noAuth_keyPath_empty.bad.yml", Refused(NO_KEY)),
    (
        "web_config_noAuth_keyPath_invalid.bad.yml",
        Refused("tls_server_config.cert_file: FOLDER/server.cert cannot be read: No such file or directory"),
    ),
    ("web_config_noAuth_key_empty.bad.yml", Refused(NO_KEY)),
    ("web_config_noAuth_noHTTP2.good.yml", Accepted(&[IF_GIVEN])),
    (
        "web_config_noAuth_noHTTP2Cipher.bad.yml",
        Refused("tls_server_config.cipher_suites: HTTP/2 requires TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or "),
    ),
    ("web_config_noAuth_someCiphers.good.yml", Accepted(&[IF_GIVEN])),
    ("web_config_noAuth_someCiphers_noOrder.good.yml", Accepted(&[IF_GIVEN])),
    ("web_config_noAuth_someCurves.good.yml", Accepted(&[IF_GIVEN])),
    ("web_config_noAuth_tlsInline.good.yml", Accepted(&[IF_GIVEN])),
    (
        "web_config_noAuth_wrongTLSVersion.bad.yml",
        Refused("tls_server_config.min_version: unknown TLS version `TLS111`; expected TLS12 or TLS13"),
    ),
    ("web_config_rate_limiter_nonblocking.yaml", Accepted(&[])),
    (
        "web_config_rate_limiter_one_second.yaml",
        Accepted(&["rate_limit.burst: 0 would refuse every request: 1 is used"]),
    ),
    ("web_config_users.good.yml", Accepted(&[])),
    ("web_config_users_noTLS.good.yml", Accepted(&[PLAIN])),
];

#[test]
#[ignore = "needs openssl"]
fn each_file_is_accepted_or_refused_as_in_exporter_toolkit() {
    let toolkit = Toolkit::new();
    let is_yaml = |name: &String| [".yml", ".yaml"].iter().any(|end| name.ends_with(end));
    let entries = std::fs::read_dir(toolkit.path("")).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(is_yaml);
    let named: BTreeSet<String> = OUTCOMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), named);

    let environment = toolkit.environment(&environment(&[("GOLDRUSH_SERVICE_KEY", common::KEY)]));
    let folder = toolkit.path("");
    for (name, outcome) in OUTCOMES {
        let file = toolkit.path(name);
        let ended = run(&["--config.check", "--web.config.file", &file], &environment);
        match outcome {
            Accepted(warnings) => {
                let line = |warning: &&str| format!("goldrush-exporter: warning: {file}: {warning}\n");
                let expected: String = warnings.iter().map(line).collect();
                assert_eq!((ended.status, ended.stderr), (Some(0), expected), "{name}");
            }
            Refused(message) => {
                let expected = format!("{file}: {}", message.replace("FOLDER/", &folder));
                assert_eq!(ended.status, Some(2), "{name}: {}", ended.stderr);
                assert!(ended.stderr.contains(&expected), "{name}\nsays {}\nnot  {expected}", ended.stderr);
            }
        }
    }
}

/// What openssl says of a request for `/-/ready`, and whether a response came.
struct Handshake {
    responded: bool,
    said: String,
}

impl Handshake {
    fn new(exporter: &Exporter, arguments: &[&str]) -> Self {
        let mut openssl = tool("openssl");
        openssl.args(["s_client", "-ign_eof", "-connect", &exporter.address]).args(arguments);
        let (input, mut request) = std::io::pipe().unwrap();
        request.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        drop(request);
        let output = openssl.stdin(input).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Self { responded: said.contains("HTTP/1.1 200 OK"), said }
    }

    #[track_caller]
    fn succeeds(self, with: &str) {
        assert!(self.responded && self.said.contains(with), "without `{with}`:\n{}", self.said);
    }

    #[track_caller]
    fn fails(self, with: &str) {
        assert!(!self.responded && self.said.contains(with), "without `{with}`:\n{}", self.said);
    }
}

/// The response to plain HTTP.
fn plain(exporter: &Exporter) -> Vec<u8> {
    let mut stream = TcpStream::connect(&exporter.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut response = Vec::new();
    // The end may be a reset.
    let _ = stream.read_to_end(&mut response);
    response
}

#[test]
#[ignore = "needs openssl"]
fn versions_ciphers_and_curves_are_chosen_as_in_exporter_toolkit() {
    const AES_128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
    const AES_256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
    let toolkit = Toolkit::new();
    let api = Api::healthy(1);

    let exporter = toolkit.serve(&api, "web_config_noAuth.good.yml");
    Handshake::new(&exporter, &[]).succeeds("TLSv1.3");
    Handshake::new(&exporter, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).fails("SSL alert number");
    assert!(plain(&exporter).starts_with(b"\x15\x03"), "plain HTTP gets a TLS alert");
    exporter.stderr.line("the client does not speak TLS (a scrape configuration without `scheme: https`?)");

    let exporter = toolkit.serve(&api, "web_config_noAuth_allCiphers.good.yml");
    for suite in ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"] {
        Handshake::new(&exporter, &["-tls1_2", "-cipher", &format!("ECDHE-RSA-{suite}")]).succeeds(suite);
    }
    Handshake::new(&exporter, &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"]).fails("SSL alert number 40");
    exporter.stderr.line("no TLS version, cipher suite or curve in common (NoCipherSuitesInCommon)");

    let exporter = toolkit.serve(&api, "web_config_noAuth_someCiphers.good.yml");
    let chosen = |suite: &str| format!("Cipher is {suite}\n");
    Handshake::new(&exporter, &["-cipher", AES_128]).succeeds(&chosen(AES_128));
    Handshake::new(&exporter, &["-cipher", AES_256]).succeeds(&chosen(AES_256));
    Handshake::new(&exporter, &["-cipher", "ECDHE-RSA-AES256-SHA"]).fails("SSL alert number 40");
    Handshake::new(&exporter, &["-tls1_3"]).fails("SSL alert number");
    let both = format!("{AES_256}:{AES_128}");
    Handshake::new(&exporter, &["-cipher", &both]).succeeds(&chosen(AES_128));

    let exporter = toolkit.serve(&api, "web_config_noAuth_someCiphers_noOrder.good.yml");
    Handshake::new(&exporter, &["-cipher", &format!("{AES_128}:{AES_256}")]).succeeds(&chosen(AES_128));
    Handshake::new(&exporter, &["-cipher", &both]).succeeds(&chosen(AES_256));

    let exporter = toolkit.serve(&api, "web_config_noAuth_allCurves.good.yml");
    for (curve, temporary) in
        [("P-256", "prime256v1"), ("P-384", "secp384r1"), ("P-521", "secp521r1"), ("X25519", "X25519")]
    {
        for version in ["-tls1_2", "-tls1_3"] {
            Handshake::new(&exporter, &[version, "-groups", curve]).succeeds(temporary);
        }
    }
    let exporter = toolkit.serve(&api, "web_config_noAuth_someCurves.good.yml");
    Handshake::new(&exporter, &["-groups", "P-521"]).succeeds("secp521r1");
    Handshake::new(&exporter, &["-groups", "P-384"]).fails("SSL alert number");
    Handshake::new(&exporter, &["-tls1_2"]).fails("SSL alert number");
}

#[test]
#[ignore = "needs openssl and curl"]
fn http2_is_spoken_unless_it_is_off() {
    let toolkit = Toolkit::new();
    let api = Api::healthy(1);
    for (file, http2) in [("web_config_noAuth.good.yml", true), ("web_config_noAuth_noHTTP2.good.yml", false)] {
        let exporter = toolkit.serve(&api, file);
        let handshake = Handshake::new(&exporter, &["-alpn", "h2,http/1.1"]);
        let protocol = if http2 { "ALPN protocol: h2\n" } else { "ALPN protocol: http/1.1\n" };
        assert!(handshake.said.contains(protocol), "{file}: {}", handshake.said);
        assert_eq!(handshake.responded, !http2, "{file}: HTTP/1.1 where HTTP/2 was agreed on gets no response");
        let curl = tool("curl")
            .args(["--silent", "--insecure", "--noproxy", "*", "--write-out", "\n%{http_code} %{http_version}"])
            .arg(format!("https://{}/-/healthy", exporter.address))
            .output()
            .unwrap();
        let expected = format!("goldrush-exporter is healthy.\n\n200 {}", if http2 { "2" } else { "1.1" });
        assert_eq!(String::from_utf8(curl.stdout).unwrap(), expected, "{file}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn client_certificates_are_accepted_and_refused_as_in_exporter_toolkit() {
    let toolkit = Toolkit::new();
    let api = Api::healthy(1);
    let pair = |name: &str| [toolkit.path(&format!("{name}.pem")), toolkit.path(&format!("{name}.key"))];
    let clients = ["client_selfsigned", "client2_selfsigned", "of_the_system"];
    const NONE: &str = "the client presented no certificate";
    const UNKNOWN: &str =
        "the client certificate is refused: it is a CA (CA:TRUE), which rustls refuses from a client: ";
    const NAME: &str =
        "the client certificate is refused: none of its subject alternative names is in client_allowed_sans";
    // Without a certificate, then with each of the clients' own; and why the first one that fails does.
    for (file, admitted, reason) in [
        ("web_config_noAuth.good.yml", [true, false, false, true], UNKNOWN),
        ("web_config_noAuth.good.blocking.yml", [false, false, false, true], NONE),
        ("tls_config_noAuth.requireanyclientcert.good.yml", [false, true, true, true], NONE),
        ("tls_config_noAuth.requireanyclientcertkeyinline.good.yml", [false, true, true, true], NONE),
        ("tls_config_noAuth.requireandverifyclientcert.good.yml", [false, true, false, false], NONE),
        ("web_config_auth_client_san.good.yaml", [false, false, true, false], NONE),
        ("web_config_auth_client_san.bad.yaml", [false, false, false, false], NONE),
    ] {
        let exporter = toolkit.serve(&api, file);
        for (client, admitted) in [None].into_iter().chain(clients.map(Some)).zip(admitted) {
            for version in ["-tls1_2", "-tls1_3"] {
                let pair = client.map(pair).unwrap_or_default();
                let mut arguments = vec![version];
                if client.is_some() {
                    arguments.extend(["-cert", &pair[0], "-key", &pair[1]]);
                }
                let handshake = Handshake::new(&exporter, &arguments);
                assert_eq!(handshake.responded, admitted, "{file} {client:?} {version}:\n{}", handshake.said);
            }
        }
        exporter.stderr.line(reason);
    }
    let exporter = toolkit.serve(&api, "web_config_auth_client_san.bad.yaml");
    let [certificate, key] = pair("client2_selfsigned");
    Handshake::new(&exporter, &["-cert", &certificate, "-key", &key]).fails("SSL alert number");
    exporter.stderr.line(NAME);
}

#[test]
#[ignore = "needs openssl and curl"]
fn passwords_headers_and_rate_limits_are_those_of_exporter_toolkit() {
    let toolkit = Toolkit::new();
    let api = Api::healthy(1);
    let ask = |exporter: &Exporter, scheme: &str, arguments: &[&str]| {
        let mut curl = tool("curl");
        curl.args(["--silent", "--insecure", "--noproxy", "*", "--include"]).args(arguments);
        let output = curl.arg(format!("{scheme}://{}/metrics", exporter.address)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (file, scheme) in [("web_config_users_noTLS.good.yml", "http"), ("web_config_users.good.yml", "https")] {
        let exporter = toolkit.serve(&api, file);
        for (user, status) in [
            (None, " 401"),
            (Some("dave:dave123"), " 200"),
            (Some("carol:carol123"), " 200"),
            (Some("dave:bad"), " 401"),
            (Some("dave:carol123"), " 401"),
        ] {
            let user = user.map(|user| ["--user", user]);
            let response = ask(&exporter, scheme, user.as_ref().map_or(&[], |user| &user[..]));
            assert!(response.lines().next().unwrap().contains(status), "{file} {user:?}: {response}");
        }
    }
    let exporter = toolkit.serve(&api, "web_config_headers.good.yml");
    let response = ask(&exporter, "http", &[]);
    for header in [
        "x-frame-options: deny",
        "strict-transport-security: max-age=31536000; includeSubDomains",
        "x-content-type-options: nosniff",
        "x-xss-protection: 1",
        "content-security-policy: default-src 'self' *.test.example.net",
    ] {
        assert!(response.contains(&format!("\r\n{header}\r\n")), "{header}: {response}");
    }
    let statuses = |file: &str| -> Vec<u16> {
        let exporter = toolkit.serve(&api, file);
        (0..11).map(|_| exporter.get("/metrics").status).collect()
    };
    assert_eq!(statuses("web_config_rate_limiter_nonblocking.yaml"), [200; 11]);
    let limited = statuses("web_config_rate_limiter_one_second.yaml");
    assert_eq!(limited[0], 200, "{limited:?}");
    assert!(limited.contains(&429), "{limited:?}");
}
