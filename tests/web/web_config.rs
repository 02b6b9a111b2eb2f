//! `--web.config.file`: TLS, client certificates, passwords, and what happens when the files change.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use crate::certificates::{Authority, Folder};
use crate::common::prometheus::Prometheus;
use crate::common::tools::tool;
use crate::common::{self, Api, Exporter, environment, eventually, run};

/// The password is the name, twice; as `htpasswd -nBC 4` writes it.
fn hash(name: &str) -> String {
    bcrypt::hash(format!("{name}{name}"), 4).unwrap()
}

/// One request by curl, over TLS without a look at the server's certificate unless `arguments` say otherwise.
struct Curl {
    /// 0 if no whole answer has come.
    status: u16,
    version: String,
    body: String,
    complaint: String,
}

fn curl(url: &str, arguments: &[&str]) -> Curl {
    let mut curl = tool("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", "30", "--noproxy", "*"]);
    curl.args(["--write-out", "\n%{http_code} %{http_version}"]).args(arguments).arg(url);
    let output = curl.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, end) = text.rsplit_once('\n').unwrap();
    let (status, version) = end.split_once(' ').unwrap();
    Curl {
        status: status.parse().unwrap(),
        version: version.to_owned(),
        body: body.to_owned(),
        complaint: String::from_utf8(output.stderr).unwrap(),
    }
}

fn status(url: &str, arguments: &[&str]) -> u16 {
    curl(url, arguments).status
}

/// An exporter with this web configuration, and its URL.
fn serve(api: &Api, file: &Path, scheme: &str) -> (Exporter, String) {
    let exporter = Exporter::start(&["--web.config.file", file.to_str().unwrap()], &api.environment());
    let url = format!("{scheme}://{}", exporter.address);
    (exporter, url)
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

const MUTUAL: &str = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";

#[test]
#[ignore = "needs Prometheus and curl"]
fn prometheus_scrapes_over_mutual_tls_with_a_password_while_certificates_rotate() {
    let folder = Folder::new();
    let (ca, next_ca) = (Authority::new("one"), Authority::new("two"));
    folder.write("ca.crt", &(ca.pem() + &next_ca.pem()));
    folder.put("server", &ca.server());
    let file = folder.write("web.yml", &format!("{TLS}{MUTUAL}basic_auth_users:\n  prometheus: {}\n", hash("prom")));
    let api = Api::healthy(2);
    let (exporter, url) = serve(&api, &file, "https");

    // Which certificates Prometheus uses is in a label, too.
    let config = |of: &str| {
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: goldrush\n    scheme: https\n    \
             basic_auth: {{username: prometheus, password: promprom}}\n    \
             tls_config: {{ca_file: {of}.crt, cert_file: client-of-{of}.crt, key_file: client-of-{of}.key}}\n    \
             static_configs:\n      - {{targets: ['{}'], labels: {{authority: {of}}}}}\n",
            exporter.address
        )
    };
    let [client, next_client] = [&ca, &next_ca].map(|ca| ca.client(&["DNS:prometheus"]));
    let files = [
        ("one.crt", ca.pem()),
        ("client-of-one.crt", client.certificate),
        ("client-of-one.key", client.key),
        ("two.crt", next_ca.pem()),
        ("client-of-two.crt", next_client.certificate),
        ("client-of-two.key", next_client.key),
    ];
    let prometheus =
        Prometheus::configured(&config("one"), &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    prometheus.until("goldrush_pipelines == 2");

    // The exporter's certificate comes from another authority now, and so does that of a new client.
    folder.put("client", &next_ca.client(&["DNS:curl"]));
    folder.put("server", &next_ca.server());
    folder.write("next.crt", &next_ca.pem());
    let [certificate, key, next] = ["client.crt", "client.key", "next.crt"].map(|name| folder.path(name));
    let as_client = ["--cert", &certificate, "--key", &key, "--user", "prometheus:promprom"];
    let strict = [&["--no-insecure", "--cacert", &next][..], &as_client].concat();
    eventually("the new certificate", || status(&format!("{url}/metrics"), &strict) == 200);
    let log = exporter.stderr.text();
    assert!(log.contains("the web configuration has been loaded") && !log.contains("cannot be loaded"), "{log}");

    // Prometheus goes on with the connection that it has. Told to trust nobody but the new authority, it makes a new one.
    prometheus.until("count_over_time(up{authority='one'}[10m]) >= 3");
    prometheus.reload("prometheus.yml", &config("two"));
    prometheus.until("count_over_time(up{authority='two'}[10m]) >= 3");
    assert_eq!(prometheus.query("min(min_over_time(up[10m]))")[0]["value"][1], "1", "no scrape has failed");
}

#[test]
#[ignore = "needs curl and openssl"]
fn whoever_is_not_meant_is_refused() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    folder.put("good", &ca.client(&["DNS:prometheus"]));
    folder.put("expired", &ca.expired_client());
    folder.put("foreign", &Authority::new("ours").client(&["DNS:prometheus"]));
    folder.put("of_a_server", &ca.server());
    let file = folder.write(
        "web.yml",
        &format!("{TLS}{MUTUAL}basic_auth_users:\n  alice: {}\n  bob: {}\n", hash("alice"), hash("bob")),
    );
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "https");
    let metrics = format!("{url}/metrics");
    let certificate = |name: &str| [folder.path(&format!("{name}.crt")), folder.path(&format!("{name}.key"))];
    let with = |name: &str, further: &[&str]| {
        let [certificate, key] = certificate(name);
        curl(&metrics, &[&["--cert", &certificate, "--key", &key], further].concat())
    };

    let admitted = with("good", &["--user", "alice:alicealice"]);
    assert_eq!(admitted.status, 200, "{}", admitted.complaint);
    assert!(admitted.body.contains("goldrush_up{account=\"default\"}"));

    let wrong: &[&[&str]] = &[
        &[],
        &["--user", "alice:wrong"],
        &["--user", "alice:bobbob"],
        &["--user", "alice:"],
        &["--user", "nobody:alicealice"],
        &["--header", "Authorization: Bearer alicealice"],
        &["--header", "Authorization: Basic !"],
        &["--header", "Authorization: Basic YWxpY2U="],
    ];
    for further in wrong {
        let refused = with("good", &[&["--include"], *further].concat());
        assert_eq!((refused.status, refused.version.as_str()), (401, "2"), "{further:?}");
        assert!(refused.body.contains("www-authenticate: Basic realm=\"goldrush-exporter\""), "{}", refused.body);
        assert!(!refused.body.contains("goldrush_up"));
    }
    let password = ["--user", "bob:bobbob"];
    assert_eq!(status(&metrics, &password), 0, "no certificate");
    for name in ["expired", "foreign", "of_a_server"] {
        assert_eq!(with(name, &password).status, 0, "{name}");
    }
    assert_eq!(with("good", &password).status, 200);
    assert_eq!(status(&metrics.replace("https", "http"), &password), 0, "plain HTTP");

    let [certificate, key] = certificate("good");
    let handshake = |version: &str| {
        let mut openssl = tool("openssl");
        openssl.args(["s_client", "-connect", &exporter.address, "-cert", &certificate, "-key", &key]);
        openssl.args([version, "-cipher", "DEFAULT@SECLEVEL=0"]).stdin(Stdio::null());
        let output = openssl.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (made, said) = handshake("-tls1_2");
    assert!(made && said.contains("Protocol  : TLSv1.2"), "{said}");
    let (made, said) = handshake("-tls1_1");
    assert!(!made && said.contains("SSL alert number"), "it is the exporter that refuses: {said}");
}

#[test]
#[ignore = "needs curl"]
fn health_and_readiness_are_open_and_all_else_asks() {
    let folder = Folder::new();
    let file = folder.write("web.yml", &format!("basic_auth_users: {{alice: '{}'}}\n", hash("alice")));
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "http");
    exporter.stderr.line("basic_auth_users without tls_server_config: the network can read the passwords");
    let right = ["--user", "alice:alicealice"];
    eventually("readiness", || status(&format!("{url}/-/ready"), &[]) == 200);
    assert_eq!(status(&format!("{url}/-/healthy"), &[]), 200);
    for (method, path, admitted) in [
        ("GET", "/metrics", 200),
        ("GET", "/sd", 200),
        ("GET", "/", 200),
        ("GET", "/no/such/path", 404),
        ("GET", "/-/healthy/", 404),
        ("GET", "/-/healthy/../../metrics", 404),
        ("GET", "//-/healthy", 404),
        ("GET", "/-/rea%64y", 404),
        ("POST", "/-/reload", 403),
        ("OPTIONS", "/metrics", 405),
        ("PUT", "/metrics", 405),
    ] {
        let arguments = ["--path-as-is", "--request", method];
        let url = format!("{url}{path}");
        assert_eq!(status(&url, &arguments), 401, "{method} {path}");
        assert_eq!(status(&url, &[&arguments[..], &right].concat()), admitted, "{method} {path}");
    }
}

/// Paths that are not quite those that are open, and lead to what is not.
const HOSTILE_PATHS: [&str; 23] = [
    "/",
    "/metrics",
    "/metrics?/-/healthy",
    "//-/healthy",
    "/-//healthy",
    "/-/healthy/",
    "/-/healthy/../metrics",
    "/-/healthy/../../metrics",
    "/-/healthy/%2e%2e/%2e%2e/metrics",
    "/-/healthy%2f..%2f..%2fmetrics",
    "/-/ready/../../metrics",
    "/./-/healthy",
    "/-/health%79",
    "/%2d/healthy",
    "/-/healthy%00",
    "/-/healthy%20",
    "/-/healthy;x",
    "/-/HEALTHY",
    "/-/healthyx",
    "/-/reload",
    "/%6detrics",
    "/api/v1/pipelines",
    "/-/healthy/../../api/v1/pipelines",
];

#[test]
fn no_spelling_of_a_path_gets_around_the_password() {
    let folder = Folder::new();
    let file = folder.write("web.yml", &format!("basic_auth_users: {{alice: '{}'}}\n", hash("alice")));
    let api = Api::healthy(1);
    let (exporter, _) = serve(&api, &file, "http");
    // No client's habits in between.
    let ask = |line: &str| {
        let mut stream = TcpStream::connect(&exporter.address).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(!answer.contains("goldrush_up"), "{line}: {answer}");
        answer.lines().next().unwrap_or_default().to_owned()
    };
    // A query is not of the path, and an authority neither.
    for open in ["GET /-/healthy", "HEAD /-/healthy", "GET /-/healthy?x", "GET http://x/-/healthy"] {
        assert_eq!(ask(open), "HTTP/1.1 200 OK", "{open}");
    }
    assert_eq!(ask("OPTIONS /-/healthy"), "HTTP/1.1 405 Method Not Allowed");
    for path in HOSTILE_PATHS {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "BREW"] {
            assert_eq!(ask(&format!("{method} {path}")), "HTTP/1.1 401 Unauthorized", "{method} {path}");
        }
        let absolute = format!("GET http://x{path}");
        assert_eq!(ask(&absolute), "HTTP/1.1 401 Unauthorized", "{absolute}");
    }
    for line in ["GET http://-/healthy", "GET http://x?/-/healthy", "OPTIONS *", "CONNECT x:80"] {
        assert_eq!(ask(line), "HTTP/1.1 401 Unauthorized", "{line}");
    }
    for line in ["GET x/-/healthy", "GET -/healthy", "GET /-/healthy /metrics", "GET \\-\\healthy"] {
        assert!(ask(line).starts_with("HTTP/1.1 4"), "{line}: {}", ask(line));
    }
}

#[test]
#[ignore = "needs curl"]
fn no_spelling_of_a_path_gets_around_the_password_with_http2() {
    let folder = Folder::new();
    folder.put("server", &Authority::new("ours").server());
    let file = folder.write("web.yml", &format!("{TLS}basic_auth_users: {{alice: '{}'}}\n", hash("alice")));
    let api = Api::healthy(1);
    let (_exporter, url) = serve(&api, &file, "https");
    let ask = |path: &str, further: &[&str]| {
        curl(&url, &[&["--path-as-is", "--request-target", path, "--http2"], further].concat())
    };
    for (path, further) in [("/-/healthy", &[][..]), ("/-/healthy", &["--head"]), ("/-/healthy?x", &[])] {
        let answer = ask(path, further);
        assert_eq!((answer.status, answer.version.as_str()), (200, "2"), "{path}");
    }
    assert_eq!(ask("/-/healthy", &["--request", "OPTIONS"]).status, 405);
    for path in HOSTILE_PATHS {
        let answer = ask(path, &[]);
        assert_eq!(answer.status, 401, "{path}: {}", answer.complaint);
        assert!(!answer.body.contains("goldrush_up"), "{path}");
    }
    for further in [&["--head"][..], &["--request", "OPTIONS"], &["--request", "POST"]] {
        let answer = ask("/metrics", further);
        assert_eq!(answer.status, 401, "{further:?}: {}", answer.complaint);
    }
}

#[test]
#[ignore = "needs curl"]
fn a_flood_of_wrong_passwords_keeps_nobody_out_who_was_right_before() {
    let folder = Folder::new();
    // A check of this one takes longer than the test. The hash is of no password.
    let slow = format!("$2y$18$abcdefghijklmnopqrstuu{}", "a".repeat(31));
    let file = folder.write(
        "web.yml",
        &format!("basic_auth_users:\n  alice: {}\n  bob: {}\n  slow: {slow}\n", hash("alice"), hash("bob")),
    );
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "http");
    let metrics = format!("{url}/metrics");
    assert_eq!(status(&metrics, &["--user", "alice:alicealice"]), 200);

    // So many run at once, four more of one address wait, and one is too many.
    let running = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
    let flood: Vec<TcpStream> = (0..running + 4 + 1)
        .map(|_| {
            let mut stream = TcpStream::connect(&exporter.address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic c2xvdzp3cm9uZw==\r\n\r\n").unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    eventually("one check too many", || {
        flood.iter().any(|mut stream| {
            let mut answer = [0; 64];
            stream.read(&mut answer).is_ok_and(|_| answer.starts_with(b"HTTP/1.1 429"))
        })
    });
    assert_eq!(status(&metrics, &["--user", "bob:bobbob"]), 429);
    assert_eq!(status(&metrics, &["--user", "alice:alicealice"]), 200, "this password is known to be right");
    assert_eq!(status(&metrics, &["--user", "alice:wrong"]), 429);
    assert_eq!(status(&format!("{url}/-/healthy"), &[]), 200);
}

#[test]
#[ignore = "needs curl"]
fn a_changed_file_is_taken_and_a_broken_one_is_said_once() {
    const SUCCESSFUL: &str = "goldrush_exporter_config_last_reload_successful";
    const REFUSED: &str = "the web configuration cannot be loaded, the old one stays";
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.put("server", &ca.server());
    let users = |names: &[&str]| -> String {
        names
            .iter()
            .map(|name| format!("  {name}: {}\n", hash(name)))
            .fold("basic_auth_users:\n".to_owned(), |all, one| all + &one)
    };
    let good = format!("{TLS}{}", users(&["alice"]));
    let file = folder.write("web.yml", &good);
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "https");
    let metrics = format!("{url}/metrics");
    let ask = |name: &str| curl(&metrics, &["--user", &format!("{name}:{name}{name}")]);
    let successful = |name: &str, value: &str| {
        let sample = format!("{SUCCESSFUL} {value}\n");
        eventually(&sample, || ask(name).body.contains(&sample));
    };
    successful("alice", "1");

    folder.write("web.yml", &format!("{TLS}{}", users(&["bob"])));
    eventually("another user", || ask("bob").status == 200);
    assert_eq!(ask("alice").status, 401);

    let refusals: [(&str, &str, &str); 5] = [
        ("web.yml", "tls_server_config: [", "cannot be read as YAML"),
        ("web.yml", "", "tls_server_config was removed: restart the exporter if this is intended"),
        ("web.yml", TLS, "basic_auth_users was removed: restart the exporter if this is intended"),
        ("server.key", "", "is empty: expected a private key in PEM"),
        ("server.key", &ca.server().key, "does not belong to the certificate of"),
    ];
    for (number, (name, broken, complaint)) in refusals.into_iter().enumerate() {
        let old = std::fs::read_to_string(folder.path(name)).unwrap();
        folder.write(name, broken);
        successful("bob", "0");
        folder.write(name, &old);
        successful("bob", "1");
        let log = exporter.stderr.text();
        let said: Vec<&str> = log.lines().filter(|line| line.contains(REFUSED)).collect();
        assert_eq!(said.len(), number + 1, "{log}");
        assert!(said[number].contains(complaint), "{}", said[number]);
    }

    // Both files of a certificate at once, the way Kubernetes would swap them, and the other user back.
    folder.put("server", &ca.server());
    folder.write("web.yml", &good);
    eventually("the first user", || ask("alice").status == 200);
    assert_eq!(exporter.stderr.text().matches(REFUSED).count(), refusals.len(), "{}", exporter.stderr.text());
}

#[test]
#[ignore = "needs curl"]
fn a_file_that_asks_less_of_clients_certificates_than_before_is_not_taken() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    folder.put("client", &ca.client(&["DNS:prometheus"]));
    folder.put("foreign", &Authority::new("foreign").client(&["DNS:prometheus"]));
    folder.put("other", &ca.client(&["DNS:other"]));
    let tls = |policy: &str| format!("{TLS}  client_auth_type: {policy}\n");
    let ca_file = "  client_ca_file: ca.crt\n";
    let file = folder.write("web.yml", &format!("{TLS}{MUTUAL}  client_allowed_sans: [prometheus]\n"));
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "https");
    let with = |name: &str| {
        let [certificate, key] = ["crt", "key"].map(|kind| folder.path(&format!("{name}.{kind}")));
        status(&format!("{url}/-/healthy"), &["--cert", &certificate, "--key", &key])
    };
    let less = "client_auth_type is weaker than the one in use: restart the exporter if this is intended";
    let cases = [
        (TLS.to_owned(), less),
        (tls("NoClientCert"), less),
        (tls("RequestClientCert"), less),
        (tls("RequireAnyClientCert"), less),
        (tls("VerifyClientCertIfGiven") + ca_file, less),
        (tls("RequireAndVerifyClientCert"), "client_ca was removed: restart the exporter if this is intended"),
        (format!("{TLS}{MUTUAL}"), "client_allowed_sans was removed: restart the exporter if this is intended"),
    ];
    for (number, (text, complaint)) in cases.iter().enumerate() {
        folder.write("web.yml", text);
        let refusals = || {
            let log = exporter.stderr.text();
            log.lines().filter(|line| line.contains("the old one stays")).map(str::to_owned).collect::<Vec<_>>()
        };
        eventually("a refusal", || refusals().len() == number + 1);
        assert!(refusals()[number].contains(complaint), "{text}: {:?}", refusals());
        assert_eq!(status(&format!("{url}/-/healthy"), &[]), 0, "{text}");
        assert_eq!([with("client"), with("foreign"), with("other")], [200, 0, 0], "{text}");
    }
    // Another list of names is no loss.
    folder.write("web.yml", &format!("{TLS}{MUTUAL}  client_allowed_sans: [other]\n"));
    eventually("the other client", || with("other") == 200);
    assert_eq!(with("client"), 0);
}

#[test]
fn a_broken_file_is_refused_with_a_message_that_says_what_it_would_take() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.put("server", &ca.server());
    folder.write("ca.crt", &ca.pem());
    folder.write("empty", "");
    folder.write("cut", &ca.pem()[..200]);
    let tls = |further: &str| format!("{TLS}  {further}\n");
    let key = environment(&[("GOLDRUSH_SERVICE_KEY", common::KEY)]);
    let check = |text: &str| {
        let file = folder.write("web.yml", text);
        run(&["--config.check", "--web.config.file", file.to_str().unwrap()], &key)
    };
    let canary = "canary-1f0d";
    for (text, complaint) in [
        (
            "tls_server: {}".to_owned(),
            "tls_server: unknown setting (expected tls_server_config, http_server_config, basic_auth_users, rate_limit)",
        ),
        (tls("server_key: x"), "tls_server_config.server_key: unknown setting (expected cert, cert_file, "),
        ("[]".to_owned(), "expected sections of settings"),
        (
            "tls_server_config: {cert_file: server.crt}".to_owned(),
            "tls_server_config: the key is missing (key_file or key)",
        ),
        (
            "tls_server_config: {client_auth_type: RequireAnyClientCert}".to_owned(),
            "tls_server_config: the certificate is missing (cert_file or cert)",
        ),
        (
            "tls_server_config: {cert_file: gone, key_file: server.key}".to_owned(),
            "tls_server_config.cert_file: FOLDER/gone cannot be read: No such file or directory (os error 2)",
        ),
        (
            "tls_server_config: {cert_file: empty, key_file: server.key}".to_owned(),
            "tls_server_config.cert_file: FOLDER/empty is empty: expected a certificate in PEM",
        ),
        (
            "tls_server_config: {cert_file: cut, key_file: server.key}".to_owned(),
            "tls_server_config.cert_file: FOLDER/cut is broken: its certificate in PEM has no end, or is not base64",
        ),
        (
            format!("tls_server_config: {{cert_file: server.crt, key: {canary}}}"),
            "tls_server_config.key holds no private key in PEM",
        ),
        (
            tls("max_version: TLS11"),
            "tls_server_config.max_version: rustls does not implement TLS 1.0 and TLS 1.1, which are broken: no version is left; expected TLS12 or TLS13",
        ),
        (
            tls("max_version: SSL30"),
            "tls_server_config.max_version: unknown TLS version `SSL30`; expected TLS12 or TLS13",
        ),
        (
            format!("{TLS}  min_version: TLS13\n  max_version: TLS12\n"),
            "tls_server_config.min_version: must not be above max_version: no version is left",
        ),
        (
            tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
            "tls_server_config.cipher_suites: HTTP/2 requires TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or ",
        ),
        (
            format!(
                "{TLS}  cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]\n  max_version: TLS12\nhttp_server_config: {{http2: false}}"
            ),
            "tls_server_config.cipher_suites: none of them is left for max_version TLS12",
        ),
        (
            tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"),
            "tls_server_config.cipher_suites: unknown cipher suite `TLS_RSA_WITH_RC4_128_SHA`; expected TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, ",
        ),
        (
            tls("curve_preferences: [CurveP512]"),
            "tls_server_config.curve_preferences: unknown curve `CurveP512`; expected X25519MLKEM768, X25519, CurveP256, CurveP384 or CurveP521",
        ),
        (
            tls("client_auth_type: Maybe"),
            "tls_server_config.client_auth_type: unknown policy `Maybe`; expected NoClientCert, RequestClientCert, ",
        ),
        (
            tls("client_ca_file: ca.crt"),
            "tls_server_config.client_ca: no client certificate is requested; set client_auth_type to RequireAndVerifyClientCert",
        ),
        (
            tls("prefer_server_cipher_suites: maybe"),
            "tls_server_config.prefer_server_cipher_suites: expected true or false, found \"maybe\"",
        ),
        ("http_server_config: {http2: 7}".to_owned(), "http_server_config.http2: expected true or false, found 7"),
        (
            "http_server_config: {headers: {Server: x}}".to_owned(),
            "http_server_config.headers.Server: unknown header; expected one of Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}".to_owned(),
            "http_server_config.headers.X-Frame-Options: expected deny or sameorigin",
        ),
        (
            format!("basic_auth_users: {{alice: {canary}}}"),
            "basic_auth_users.alice: expected a bcrypt hash (what `htpasswd -nBC 10 alice` prints after the colon), not the password itself",
        ),
        (
            format!("basic_auth_users: {{alice:{canary}}}"),
            "basic_auth_users.alice: expected text, in quotes if it looks like a number",
        ),
        (
            format!("basic_auth_users: {{alice: '{}'}}", hash("alice").replace("$04$", "$31$")),
            "basic_auth_users.alice: a bcrypt cost of 31 is not supported; expected 4 to 18",
        ),
        (
            "rate_limit: {interval: often, burst: 1}".to_owned(),
            "rate_limit.interval: expected a duration such as 1s, or 0 for no limit",
        ),
        ("rate_limit: {interval: 366days, burst: 1}".to_owned(), "rate_limit.interval: must be at most 365 days"),
        (
            "rate_limit: {interval: 1.5, burst: 1}".to_owned(),
            "rate_limit.interval: expected text in quotes or a whole number, found 1.5",
        ),
        ("rate_limit: {interval: -5, burst: 1}".to_owned(), "rate_limit.interval: must not be negative"),
    ] {
        let ended = check(&text);
        let complaint = complaint.replace("FOLDER", folder.path("").trim_end_matches('/'));
        assert_eq!(ended.status, Some(2), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(&complaint), "{text}\nsays {}\nnot  {complaint}", ended.stderr);
        assert!(ended.stderr.contains("/web.yml: ") && !ended.stderr.contains("canary"), "{}", ended.stderr);
    }
    for text in [
        "",
        "# nothing\n",
        "tls_server_config:\nhttp_server_config:\n",
        "rate_limit: {interval: 0}",
        "http_server_config: {headers: {X-XSS-Protection: 0}}",
        // Booleans of YAML 1.1, and a byte order mark.
        "http_server_config: {http2: off}",
        "http_server_config: {http2: No}",
        "\u{feff}http_server_config: {http2: yes}",
    ] {
        let ended = check(text);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{text:?}");
    }
    // What exporter-toolkit accepts as well, and what hardly can be meant.
    for (text, warning) in [
        (
            "tls_server_config: {min_version: TLS12}".to_owned(),
            "tls_server_config has no certificate and no key: TLS is off",
        ),
        (tls("cert: x"), "tls_server_config has both cert and cert_file: cert has no effect"),
        (
            tls("min_version: TLS11"),
            "tls_server_config.min_version: rustls does not implement TLS 1.0 and TLS 1.1, which are broken: the minimum is TLS12, not TLS11",
        ),
        (
            format!(
                "{TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\nhttp_server_config: {{http2: false}}\n"
            ),
            "tls_server_config.cipher_suites: left out, as rustls implements neither CBC nor RSA key exchange: TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ),
        (
            tls("client_allowed_sans: [x]"),
            "tls_server_config.client_allowed_sans has no effect, as no client certificate is requested; set client_auth_type to RequireAndVerifyClientCert",
        ),
        (
            format!("{TLS}{MUTUAL}  client_allowed_sans: []\n"),
            "tls_server_config.client_allowed_sans is empty: every client that presents a certificate is refused",
        ),
        (
            format!(
                "{TLS}  client_ca_file: ca.crt\n  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: [x]\n"
            ),
            "tls_server_config.client_allowed_sans with client_auth_type VerifyClientCertIfGiven: only RequireAndVerifyClientCert refuses clients that have no certificate, or one that they signed themselves",
        ),
        (
            "rate_limit: {interval: 5, burst: 1}".to_owned(),
            "rate_limit.interval: 5 without a unit is 5 nanoseconds, as in Go",
        ),
        ("rate_limit: {interval: 1s}".to_owned(), "rate_limit.burst: 0 would refuse every request: 1 is used"),
    ] {
        let ended = check(&text);
        let expected = format!("goldrush-exporter: warning: {}: {warning}\n", folder.path("web.yml"));
        assert_eq!((ended.status, ended.stderr), (Some(0), expected), "{text}");
    }
    let file = folder.write("web.yml", "x: 1");
    for command in ["serve", "check"] {
        let ended = run(&[command, "--web.config.file", file.to_str().unwrap()], &key);
        assert_eq!(ended.status, Some(2), "{command}");
        assert!(ended.stderr.contains("x: unknown setting"), "{command}: {}", ended.stderr);
    }
    let ended = run(&["--web.config.file", "/no/such/web.yml"], &key);
    assert_eq!(ended.status, Some(2));
    assert_eq!(
        ended.stderr,
        "goldrush-exporter: /no/such/web.yml: cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
#[ignore = "needs curl"]
fn client_certificates_are_looked_at_as_the_policy_says() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    folder.put("ours", &ca.client(&["DNS:prometheus"]));
    folder.put("foreign", &Authority::new("foreign").client(&["DNS:prometheus"]));
    let api = Api::healthy(1);
    // Without a certificate, with one of another authority, with one of ours.
    for (policy, admitted) in [
        ("NoClientCert", [true, true, true]),
        ("RequestClientCert", [true, true, true]),
        ("RequireAnyClientCert", [false, true, true]),
        ("RequireClientCert", [false, true, true]),
        ("VerifyClientCertIfGiven", [true, false, true]),
        ("RequireAndVerifyClientCert", [false, false, true]),
    ] {
        let ca = if policy == "NoClientCert" { "" } else { "  client_ca_file: ca.crt\n" };
        let file = folder.write("web.yml", &format!("{TLS}{ca}  client_auth_type: {policy}\n"));
        let (_exporter, url) = serve(&api, &file, "https");
        for (certificate, admitted) in [None, Some("foreign"), Some("ours")].into_iter().zip(admitted) {
            for version in ["1.2", "1.3"] {
                let mut arguments = vec!["--tls-max".to_owned(), version.to_owned()];
                if let Some(name) = certificate {
                    let [certificate, key] = ["crt", "key"].map(|kind| folder.path(&format!("{name}.{kind}")));
                    arguments.extend(["--cert".to_owned(), certificate, "--key".to_owned(), key]);
                }
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let expected = if admitted { 200 } else { 0 };
                assert_eq!(
                    status(&format!("{url}/metrics"), &arguments),
                    expected,
                    "{policy} {certificate:?} {version}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs curl"]
fn only_clients_of_allowed_names_are_admitted() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    let file = folder.write(
        "web.yml",
        &format!("{TLS}{MUTUAL}  client_allowed_sans: [prometheus.example, 10.0.0.7, '2001:db8::7', ops@example.org, 'spiffe://example.org/prometheus']\n"),
    );
    let api = Api::healthy(1);
    let (_exporter, url) = serve(&api, &file, "https");
    for (names, admitted) in [
        (&["DNS:prometheus.example"][..], true),
        (&["DNS:other.example", "DNS:prometheus.example"], true),
        (&["IP:10.0.0.7"], true),
        (&["IP:2001:db8::7"], true),
        (&["EMAIL:ops@example.org"], true),
        (&["URI:spiffe://example.org/prometheus"], true),
        (&["DNS:other.example"], false),
        (&["DNS:*.example"], false),
        (&["IP:10.0.0.8"], false),
        (&["URI:spiffe://example.org/prometheus/x"], false),
        (&[], false),
    ] {
        folder.put("client", &ca.client(names));
        let [certificate, key] = ["client.crt", "client.key"].map(|name| folder.path(name));
        let status = status(&format!("{url}/metrics"), &["--cert", &certificate, "--key", &key]);
        assert_eq!(status, if admitted { 200 } else { 0 }, "{names:?}");
    }
}

#[test]
#[ignore = "needs curl"]
fn versions_suites_curves_http2_and_headers_are_as_asked_for() {
    let folder = Folder::new();
    folder.put("server", &Authority::new("ours").server());
    let inline = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap().replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  max_version: TLS12\n  \
         cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256]\n  curve_preferences: [CurveP384]\n\
         http_server_config:\n  http2: false\n  headers:\n    Strict-Transport-Security: max-age=60\n    X-Frame-Options: ''\n    \
         Content-Security-Policy: default-src 'self'\n",
        inline("server.crt"),
        inline("server.key")
    );
    let file = folder.write("web.yml", &text);
    let api = Api::healthy(1);
    let (exporter, url) = serve(&api, &file, "https");
    for path in ["/metrics", "/", "/none", "/-/healthy"] {
        let answer = curl(&format!("{url}{path}"), &["--include"]);
        assert_eq!(answer.version, "1.1", "{path}");
        assert!(answer.body.contains("\nstrict-transport-security: max-age=60\r\n"), "{}", answer.body);
        // The page knows best which script is its own.
        let policy = if path == "/" { "default-src 'none'; script-src 'self'; " } else { "default-src 'self'\r\n" };
        assert!(answer.body.contains(&format!("\ncontent-security-policy: {policy}")), "{}", answer.body);
        assert_eq!(answer.body.matches("content-security-policy").count(), 1);
        assert!(!answer.body.contains("x-frame-options"));
    }
    let ask = |further: &[&str]| status(&format!("{url}/-/healthy"), further);
    assert_eq!(ask(&["--tlsv1.3"]), 0);
    assert_eq!(ask(&["--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"]), 200);
    assert_eq!(ask(&["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]), 0);
    // P-256 is also that of the certificate.
    assert_eq!(ask(&["--curves", "P-384:P-256"]), 200);
    assert_eq!(ask(&["--curves", "P-256"]), 0);

    // All of that can change while the exporter runs.
    folder.write("web.yml", &format!("{TLS}  min_version: TLS13\n"));
    eventually("HTTP/2", || curl(&format!("{url}/-/healthy"), &[]).version == "2");
    assert_eq!(ask(&["--tls-max", "1.2"]), 0);
    assert!(!exporter.stderr.text().contains("panicked"));
}

#[test]
fn rate_limit_is_of_all_requests_but_those_for_health() {
    let folder = Folder::new();
    let file = folder.write("web.yml", "rate_limit: {interval: 1h, burst: 2}\n");
    let api = Api::healthy(1);
    let (exporter, _) = serve(&api, &file, "http");
    let statuses: Vec<u16> =
        ["/metrics", "/none", "/metrics", "/"].iter().map(|path| exporter.get(path).status).collect();
    assert_eq!(statuses, [200, 404, 429, 429]);
    assert_eq!(exporter.get("/-/healthy").status, 200);
}

#[test]
fn healthcheck_speaks_what_the_exporter_speaks() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    let api = Api::healthy(1);
    let healthcheck = |address: &str| run(&["healthcheck", "--web.listen-address", address], &[]);
    let auth = format!("basic_auth_users: {{alice: '{}'}}\n", hash("alice"));
    for text in [
        "",
        &auth,
        TLS,
        &format!("{TLS}{auth}"),
        &format!("{TLS}{MUTUAL}"),
        &format!("{TLS}{MUTUAL}  max_version: TLS12\n"),
        &format!("{TLS}  curve_preferences: [CurveP521]\n"),
    ] {
        let file = folder.write("web.yml", text);
        let (exporter, _) = serve(&api, &file, "http");
        let port = exporter.address.split_once(':').unwrap().1;
        for address in [&exporter.address, &format!("0.0.0.0:{port}"), &format!(":{port}")] {
            let ended = healthcheck(address);
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{text}");
            assert_eq!(ended.stdout, format!("127.0.0.1:{port}: healthy\n"));
        }
    }
    let refused = |address: &str, why: &str| {
        let ended = healthcheck(address);
        assert_eq!(ended.status, Some(1));
        assert_eq!(ended.stderr, format!("goldrush-exporter: {address}: {why}\n"));
    };
    let down = common::Down::new();
    refused(&down.address.to_string(), "cannot connect: Connection refused (os error 111)");
    // Something else that serves HTTP there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        // What it does not understand (TLS), and then what it does.
        for status in ["400 Bad Request", "404 Not Found"] {
            let (mut stream, _) = other.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
        }
    });
    refused(&address, "the response has status 404");
    // Somebody who accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(&silent.local_addr().unwrap().to_string(), "timed out after 5s waiting for a response");
}

#[test]
fn the_documented_example_is_accepted() {
    let documentation = include_str!("../../docs/configuration.md");
    let yaml = documentation.split("```yaml\n").find(|block| block.starts_with("tls_server_config:")).unwrap();
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.put("exporter", &ca.server());
    folder.write("clients-ca.crt", &ca.pem());
    let file = folder.write("web.yml", yaml.split("```").next().unwrap());
    let key = environment(&[("GOLDRUSH_SERVICE_KEY", common::KEY)]);
    let ended = run(&["--config.check", "--web.config.file", file.to_str().unwrap()], &key);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
}

/// Runs openssl in the folder.
fn openssl(folder: &Folder, arguments: &str) {
    let mut openssl = tool("openssl");
    openssl.args(arguments.split(' ')).current_dir(folder.path(""));
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs openssl"]
fn unusable_certificates_and_keys_are_named_at_load_with_the_way_out() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.write("ca.crt", &ca.pem());
    folder.put("server", &ca.server());
    folder.put("expired", &ca.expired_client());
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout rsa.key -out rsa.crt -days 30");
    openssl(&folder, "x509 -in rsa.crt -outform DER -out der.crt");
    openssl(&folder, "pkey -in rsa.key -outform DER -out der.key");
    openssl(&folder, "pkey -in rsa.key -aes256 -passout pass:canary-77 -out encrypted.key");
    openssl(&folder, "rsa -in rsa.key -traditional -aes256 -passout pass:canary-77 -out traditional.key");
    openssl(&folder, "req -new -key rsa.key -subj /CN=x -out rsa.csr");
    openssl(&folder, "x509 -req -in rsa.csr -signkey rsa.key -days 30 -out v1.crt");
    let server_key = folder.path("server.key");
    std::fs::write(folder.path("bom.key"), format!("\u{feff}{}", std::fs::read_to_string(server_key).unwrap()))
        .unwrap();
    folder.write("blank.key", "\n");
    let key = environment(&[("GOLDRUSH_SERVICE_KEY", common::KEY)]);
    let check = |certificate: &str, private_key: &str, further: &str| {
        let text = format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {private_key}\n{further}");
        let file = folder.write("web.yml", &text);
        run(&["--config.check", "--web.config.file", file.to_str().unwrap()], &key)
    };
    let passphrase =
        "is encrypted, and the exporter cannot ask for a passphrase: decrypt it with `openssl pkey -in FILE -out NEW`";
    for (certificate, private_key, complaint) in [
        ("der.crt", "rsa.key", "der.crt is DER, not PEM: convert it with `openssl x509 -inform DER -in FILE -out NEW`"),
        ("rsa.crt", "der.key", "der.key is DER, not PEM: convert it with `openssl pkey -inform DER -in FILE -out NEW`"),
        ("rsa.crt", "encrypted.key", &format!("encrypted.key {passphrase}")),
        ("rsa.crt", "traditional.key", &format!("traditional.key {passphrase}")),
        ("rsa.crt", "blank.key", "blank.key is empty: expected a private key in PEM"),
        ("rsa.crt", "rsa.crt", "rsa.crt holds no private key in PEM"),
        (
            "v1.crt",
            "rsa.key",
            "v1.crt is an X.509 version 1 certificate, which rustls refuses: create one of version 3, with `openssl req -x509 -addext subjectAltName=DNS:NAME …` or `openssl x509 -req -extfile FILE …`",
        ),
    ] {
        let ended = check(certificate, private_key, "");
        assert_eq!(ended.status, Some(2), "{certificate} {private_key}: {}", ended.stderr);
        assert!(ended.stderr.contains(complaint), "{certificate} {private_key}: {}", ended.stderr);
        assert!(!ended.stderr.contains("canary") && !ended.stderr.contains("OtherError"), "{}", ended.stderr);
    }
    for (certificate, private_key, authority, warning) in [
        ("rsa.crt", "rsa.key", "ca.crt", None),
        ("server.crt", "bom.key", "ca.crt", None),
        (
            "expired.crt",
            "expired.key",
            "ca.crt",
            Some("expired.crt expired at 2002-01-01T00:00:00Z: clients refuse it"),
        ),
        ("rsa.crt", "rsa.key", "expired.crt", Some("holds a certificate that expired at 2002-01-01T00:00:00Z")),
        (
            "rsa.crt",
            "rsa.key",
            "v1.crt",
            Some(
                "v1.crt holds an X.509 version 1 certificate: it can verify others, but rustls refuses it as a client's own; for that, create one of version 3, ",
            ),
        ),
    ] {
        let mutual = MUTUAL.replace("ca.crt", authority);
        let ended = check(certificate, private_key, &mutual);
        assert_eq!(ended.status, Some(0), "{certificate} {authority}: {}", ended.stderr);
        match warning {
            Some(warning) => assert!(ended.stderr.contains(warning), "{certificate} {authority}: {}", ended.stderr),
            None => assert_eq!(ended.stderr, "", "{certificate} {private_key}"),
        }
    }
}

#[test]
#[ignore = "needs curl and openssl"]
fn why_a_client_certificate_is_refused_is_in_the_log_in_words() {
    let folder = Folder::new();
    let ca = Authority::new("ours");
    folder.put("server", &ca.server());
    folder.put("expired", &ca.expired_client());
    folder.put("foreign", &Authority::new("ours").client(&["DNS:prometheus"]));
    folder.put("of_a_server", &ca.server());
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout own.key -out own.crt -days 30");
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout other.key -out other.crt -days 30");
    openssl(&folder, "req -new -key own.key -subj /CN=x -out own.csr");
    openssl(&folder, "x509 -req -in own.csr -signkey own.key -days 30 -out v1.crt");
    std::fs::copy(folder.path("own.key"), folder.path("v1.key")).unwrap();
    let authorities = ["own.crt", "v1.crt"].map(|name| std::fs::read_to_string(folder.path(name)).unwrap());
    folder.write("ca.crt", &[&ca.pem(), &authorities[0], &authorities[1]].map(String::as_str).concat());
    let file = folder.write("web.yml", &format!("{TLS}{MUTUAL}"));
    let api = Api::healthy(1);
    let ask = |url: &str, name: &str| {
        let [certificate, key] = ["crt", "key"].map(|kind| folder.path(&format!("{name}.{kind}")));
        status(&format!("{url}/-/healthy"), &["--cert", &certificate, "--key", &key])
    };
    for (name, reason) in [
        ("expired", "it has expired"),
        ("foreign", "its signature is wrong"),
        ("of_a_server", "it is not for clients (extendedKeyUsage without clientAuth)"),
        (
            "other",
            "it is a CA (CA:TRUE), which rustls refuses from a client: sign a certificate with it that is not one",
        ),
        ("v1", "it is an X.509 version 1 certificate, which rustls refuses: create one of version 3, with `openssl "),
    ] {
        // One exporter for each: the log mentions the first few of a kind only.
        let (exporter, url) = serve(&api, &file, "https");
        assert_eq!(ask(&url, name), 0, "{name}");
        let line = exporter.stderr.line("the TLS handshake failed: the client certificate is refused: ");
        assert!(line.contains("level=warn"), "{line}");
        assert!(line.contains(reason) && !line.contains("OtherError"), "{name}: {line}");
    }
    // A self-signed certificate in the client CA file is its own authority, also as a CA.
    let (_exporter, url) = serve(&api, &file, "https");
    assert_eq!(ask(&url, "own"), 200);
}
