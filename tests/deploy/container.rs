//! The image: its final stage built from the release, run as an engine would, scraped, and its TLS tried.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

use goldrush_exporter::simulator::Options;

use crate::common::{self, Api, Exporter, KEY, Output};
use crate::tools::{ROOT, Said, TARGET, file, profile, program, release, run, say};

const REVISION: &str = "0123456789ab";

/// The image of the release.
struct Image {
    /// What it says about itself.
    config: Value,
    /// Its files.
    root: PathBuf,
}

fn image() -> &'static Image {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| {
        assert_eq!(say("id", &["-u"]), "0\n", "without an engine, it takes root to build and run an image");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let store = format!("--root={0}/store --runroot={0}/run --storage-driver=vfs", folder.display());
        let buildah = |arguments: &str| {
            let arguments: Vec<&str> = store.split(' ').chain(arguments.split(' ')).collect();
            say("buildah", &arguments)
        };
        buildah(&format!(
            "bud --quiet --isolation=chroot --format=docker --target=prebuilt --build-arg=ROOTFS=image-{TARGET} \
             --build-arg=REVISION={REVISION} --tag=goldrush-exporter --file={ROOT}/deploy/docker/Dockerfile {}",
            release().display()
        ));
        let inspected: Value = serde_json::from_str(&buildah("inspect --type=image goldrush-exporter")).unwrap();
        buildah("from --name=files goldrush-exporter");
        let mounted = buildah("mount files");
        let root = folder.join("root");
        say("cp", &["-a", mounted.trim(), root.to_str().unwrap()]);
        Image { config: inspected["Docker"]["config"].clone(), root }
    });
    &IMAGE
}

impl Image {
    /// The image's program in a container, with these settings, the key as a file.
    fn command(&self, unshared: &[&str], root: &Path, arguments: &[&str], environment: &[(String, String)]) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--mount").args(unshared).arg(format!("{ROOT}/tests/deploy/container")).arg(root);
        command.arg(self.config["User"].as_str().unwrap());
        let entrypoint = self.config["Entrypoint"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        command.args(entrypoint).args(arguments);
        command.env_clear().env("PATH", std::env::var("PATH").unwrap()).envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The settings with which the exporter polls that API with the key in the file of the container.
fn settings(base_url: &str) -> Vec<(String, String)> {
    let mut environment = common::environment(common::FAST);
    environment.extend(common::environment(&[
        ("GOLDRUSH_EXPORTER__API__BASE_URL", base_url),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", "/run/secrets/service-key"),
        ("KEY", KEY),
    ]));
    environment
}

#[test]
#[ignore = "needs hadolint"]
fn the_dockerfile_has_no_lint() {
    say("hadolint", &["deploy/docker/Dockerfile"]);
}

#[test]
#[ignore = "needs git"]
fn what_the_build_needs_is_let_in() {
    let rules = file("deploy/docker/Dockerfile.dockerignore");
    let rules: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    let (&first, rest) = rules.split_first().unwrap();
    assert_eq!(first, "*", "all else stays out");
    let let_in: Vec<&str> = rest.iter().map(|rule| rule.strip_prefix('!').unwrap()).collect();
    let committed = say("git", &["ls-files"]);
    let inside = |path: &str| let_in.iter().any(|rule| Path::new(path).starts_with(rule));
    let folder = tempfile::tempdir().unwrap();
    for path in committed.lines().filter(|path| inside(path)) {
        let copy = folder.path().join(path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(ROOT).join(path), copy).unwrap();
    }
    // cargo looks for every target that Cargo.toml names, also for those that are not built.
    let mut fetch = program("cargo");
    let said = run(fetch.args(["fetch", "--locked", "--offline", "--target", TARGET]).current_dir(folder.path()));
    assert!(said.success, "{}", said.stderr);
    // What the sources include lies beside them, or else in a place that has to be let in.
    let mut included = 0;
    for source in committed.lines().filter(|path| path.starts_with("src/") && path.ends_with(".rs")) {
        let text = file(source);
        let names = ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|call| text.split(call).skip(1));
        for name in names.map(|rest| rest.split('"').next().unwrap()) {
            let path = folder.path().join(source).parent().unwrap().join(name);
            assert!(path.exists(), "{source} includes {name}, which is not let in");
            included += 1;
        }
    }
    assert!(included > 0, "the page has a style");
}

#[test]
#[ignore = "needs root and buildah"]
fn it_says_what_it_is_and_how_it_is_run() {
    let config = &image().config;
    let of = |key: &str| config[key].clone();
    assert_eq!(of("User"), "65532:65532");
    assert_eq!(of("Entrypoint"), json!(["/usr/bin/goldrush-exporter"]));
    assert_eq!(of("ExposedPorts"), json!({"9877/tcp": {}}));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/goldrush-exporter", "healthcheck"]));
    let labels = config["Labels"].as_object().unwrap();
    for (label, value) in [
        ("title", "goldrush-exporter"),
        ("licenses", "Apache-2.0"),
        ("revision", REVISION),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(labels[&format!("org.opencontainers.image.{label}")], value);
    }
}

#[test]
#[ignore = "needs root and buildah"]
fn it_holds_the_program_and_the_certificates_and_is_small() {
    let root = image().root.to_str().unwrap();
    let mut files: Vec<(String, u64)> = say("find", &[root, "!", "-type", "d", "-printf", "%m %P %s\n"])
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(file, size)| (file.to_owned(), size.parse().unwrap()))
        .collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["644 etc/ssl/certs/ca-certificates.crt", "755 usr/bin/goldrush-exporter"]);
    let size: u64 = files.iter().map(|(_, size)| size).sum();
    let limit = if profile() == "shipped" { 15_000_000 } else { 40_000_000 };
    assert!(size < limit, "{size} bytes");
}

#[test]
#[ignore = "needs root and buildah"]
fn it_runs_without_rights_on_a_root_that_it_cannot_write_to_and_is_scraped() {
    let api = Api::healthy(5);
    let image = image();
    let exporter = Exporter::spawn(image.command(&[], &image.root, &[], &settings(&api.base_url())));
    exporter.until("all pipelines", |exposition| common::all_succeed(exposition, 5));
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((field("Uid:"), field("Gid:")), (vec!["65532".to_owned(); 4], vec!["65532".to_owned(); 4]));
    assert_eq!((field("CapEff:"), field("NoNewPrivs:")), (vec!["0".repeat(16)], vec!["1".to_owned()]));
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", exporter.pid())).unwrap();
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|mount| mount[4] == "/").unwrap();
    assert!(root[5].split(',').any(|option| option == "ro"), "{mounts}");
}

#[test]
#[ignore = "needs root and buildah"]
fn its_health_check_knows_a_live_exporter_from_none() {
    let image = image();
    let check = image.config["Healthcheck"]["Test"].as_array().unwrap();
    let check: Vec<&str> = check[1..].iter().map(|word| word.as_str().unwrap()).collect();
    // A network of its own, in which the default port is free.
    let network = ["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    let mut demo = image.command(&network, &image.root, &["demo"], &[]).spawn().unwrap();
    let said = Output::follow(demo.stderr.take().unwrap());
    said.line("listening");
    // As an engine does: in the container, as its user.
    let mut inside = Command::new("nsenter");
    inside.args(["--mount", "--net", "--root", "--setuid=65532", "--setgid=65532", "--target", &demo.id().to_string()]);
    let healthy = run(inside.args(&check));
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(healthy.success, "{}{}", healthy.stdout, healthy.stderr);
    let alone = run(&mut image.command(&network, &image.root, &check[1..], &[]));
    assert!(!alone.success && !alone.stderr.contains("Usage"), "{}{}", alone.stdout, alone.stderr);
}

/// A name server, and TLS in front of an API. Dropping it ends both.
struct Network {
    process: std::process::Child,
    port: String,
}

impl Network {
    const NAME_SERVER: &str = "127.0.0.153";

    fn start(certificate: &Path, api: &Api) -> Self {
        let mut command = Command::new("python3");
        command.arg(format!("{ROOT}/tests/deploy/network.py")).arg(Self::NAME_SERVER).arg(certificate);
        let mut process = command.arg(api.address.port().to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let port = Output::follow(process.stdout.take().unwrap()).line("").trim().to_owned();
        Self { process, port }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs root and buildah"]
fn it_finds_the_api_by_name_and_trusts_the_certificates_of_the_image_and_no_other() {
    let front = Some("goldrush.test".to_owned());
    let options = Options { pipelines: 5, groups: 1, service_key: KEY.to_owned(), front, ..Options::default() };
    let (api, image) = (Api::start(options), image());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, ca_key, key, request, certificate) =
        (file("ca.pem"), file("ca.key"), file("server.key"), file("server.csr"), file("server.pem"));
    let openssl = |arguments: &str| say("openssl", &arguments.split(' ').collect::<Vec<_>>());
    let key_type = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch";
    openssl(&format!("req -x509 {key_type} -subj /CN=test -days 2 -keyout {ca_key} -out {ca}"));
    openssl(&format!("req {key_type} -subj /CN=goldrush.test -keyout {key} -out {request}"));
    std::fs::write(file("names"), "subjectAltName=DNS:goldrush.test\n").unwrap();
    let signed = format!("-CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {}", file("names"));
    openssl(&format!("x509 -req -in {request} {signed} -out {certificate}"));
    let both = [&certificate, &key].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    std::fs::write(file("both.pem"), both).unwrap();

    let network = Network::start(&folder.path().join("both.pem"), &api);
    let base_url = format!("https://goldrush.test:{}{}", network.port, goldrush_exporter::simulator::BASE_PATH);
    let mut environment = settings(&base_url);
    environment.push(("NAMESERVER".to_owned(), Network::NAME_SERVER.to_owned()));
    let check = |root: &Path| -> Said { run(&mut image.command(&[], root, &["check"], &environment)) };

    let refused = check(&image.root);
    assert!(!refused.success && refused.stdout.contains("certificate"), "{}{}", refused.stdout, refused.stderr);

    let trusting = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-that-trusts-the-test");
    let _ = std::fs::remove_dir_all(&trusting);
    say("cp", &["-a", image.root.to_str().unwrap(), trusting.to_str().unwrap()]);
    let bundle = trusting.join("etc/ssl/certs/ca-certificates.crt");
    let bundled = std::fs::read_to_string(&bundle).unwrap() + &std::fs::read_to_string(&ca).unwrap();
    std::fs::write(&bundle, bundled).unwrap();
    let accepted = check(&trusting);
    assert_eq!(
        accepted.stdout,
        "account \"default\": ok, 5 pipelines listed (key from file /run/secrets/service-key)\n"
    );
}
