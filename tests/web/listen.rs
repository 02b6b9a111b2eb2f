//! The default address, in network namespaces with and without IPv6, and how `healthcheck` finds the exporter there.

use std::process::{Child, Command, Output as Finished, Stdio};

use crate::common::{KEY, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_goldrush-exporter");

/// Runs a program where `socket` knows no IPv6, as on a kernel without it.
const WITHOUT_IPV6: &str = r#"
import ctypes, os, struct, sys
AF_INET6, EAFNOSUPPORT, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 10, 97, 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
SOCKET = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
NUMBER, FIRST_ARGUMENT = 0, 16
program = b"".join(struct.pack("HBBI", *step) for step in [
    (LOAD, 0, 0, NUMBER), (JUMP_IF_EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, FIRST_ARGUMENT), (JUMP_IF_EQUAL, 0, 1, AF_INET6), (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
])
steps = ctypes.create_string_buffer(program)
header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(steps))
libc = ctypes.CDLL(None)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// An exporter at its default address, alone in a network namespace.
struct Alone {
    child: Child,
    stderr: Output,
}

impl Alone {
    /// `setup` is for a shell, in a namespace that has nothing but loopback; `start` comes before the exporter.
    fn start(setup: &str, start: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        if !rustix::process::getuid().is_root() {
            command.arg("--map-root-user");
        }
        let script = format!("ip link set lo up && {setup} && exec \"$@\"");
        command.args(["--net", "sh", "-c", &script, "sh"]).args(start).args([BINARY, "serve"]);
        command.env("GOLDRUSH_SERVICE_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Output::follow(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    fn listens_at(&self, address: &str) {
        let line = self.stderr.line("listening");
        assert!(line.contains(&format!("address={address}:9877 ")), "{line}");
    }

    /// Runs a program in the same namespace.
    fn run(&self, program: &[&str]) -> Finished {
        let mut command = Command::new("nsenter");
        if !rustix::process::getuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--net", "--target", &self.child.id().to_string()]).args(program).output().unwrap()
    }

    #[track_caller]
    fn responds_at(&self, host: &str) {
        let url = format!("http://{host}:9877/-/healthy");
        let finished = self.run(&["curl", "--silent", "--show-error", "--noproxy", "*", "--globoff", &url]);
        assert_eq!(String::from_utf8_lossy(&finished.stdout), "goldrush-exporter is healthy.\n", "{finished:?}");
    }

    #[track_caller]
    fn is_found_at(&self, host: &str) {
        let finished = self.run(&[BINARY, "healthcheck"]);
        assert_eq!(String::from_utf8_lossy(&finished.stdout), format!("{host}:9877: healthy\n"), "{finished:?}");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs network namespaces"]
fn ipv4_and_ipv6_are_both_served_whatever_bindv6only_says() {
    for bindv6only in ["0", "1"] {
        let alone = Alone::start(&format!("echo {bindv6only} >/proc/sys/net/ipv6/bindv6only"), &[]);
        alone.listens_at("[::]");
        alone.responds_at("127.0.0.1");
        alone.responds_at("[::1]");
        alone.is_found_at("127.0.0.1");
    }
}

#[test]
#[ignore = "needs network namespaces"]
fn where_there_is_only_ipv6_it_is_served_and_found() {
    let alone = Alone::start("ip address del 127.0.0.1/8 dev lo", &[]);
    alone.listens_at("[::]");
    alone.responds_at("[::1]");
    alone.is_found_at("[::1]");
}

#[test]
#[ignore = "needs network namespaces"]
fn where_there_is_no_ipv6_it_is_not_missed() {
    let turned_off = Alone::start("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", &[]);
    turned_off.stderr.line("listening");
    turned_off.responds_at("127.0.0.1");
    turned_off.is_found_at("127.0.0.1");

    let absent = Alone::start("true", &["python3", "-c", WITHOUT_IPV6]);
    absent.listens_at("0.0.0.0");
    absent.responds_at("127.0.0.1");
    absent.is_found_at("127.0.0.1");
}

#[test]
#[ignore = "needs network namespaces"]
fn what_is_not_found_at_either_address_is_unhealthy() {
    let alone = Alone::start("true", &[]);
    alone.listens_at("[::]");
    let finished = alone.run(&[BINARY, "healthcheck", "--web.listen-address", ":9"]);
    assert_eq!(finished.status.code(), Some(1));
    let refused = "cannot connect: Connection refused (os error 111)";
    let expected = format!("goldrush-exporter: :9: 127.0.0.1:9: {refused}; [::1]:9: {refused}\n");
    assert_eq!(String::from_utf8_lossy(&finished.stderr), expected);
}
