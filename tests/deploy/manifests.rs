//! Who judges rendered manifests: Kubernetes' own schemas, and those of the Prometheus operator's kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::tools::{ROOT, program, run};

/// The oldest and the newest version that the manifests are for.
pub const KUBERNETES: [&str; 2] = ["1.26.0", "1.37.0"];
/// Shards need the label with a pod's index.
pub const KUBERNETES_WITH_SHARDS: [&str; 2] = ["1.28.0", "1.37.0"];

/// Kinds of operators, of which Kubernetes has no schema.
fn is_custom(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap();
    version.starts_with("monitoring.coreos.com/") || version.starts_with("external-secrets.io/")
}

#[track_caller]
pub fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    object
}

/// What runs the pods: a Deployment or a StatefulSet.
pub fn workload(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["spec"]["template"].is_object()).unwrap()
}

/// The exporter's container.
pub fn container(objects: &[Value]) -> &Value {
    let containers = workload(objects)["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    containers.iter().find(|container| container["name"] == "exporter").unwrap()
}

/// Kubernetes' schemas of these versions accept the objects, and know each of their fields.
#[track_caller]
pub fn kubernetes_accepts(what: &str, objects: &[Value], versions: &[&str]) {
    let ours: Vec<&Value> = objects.iter().filter(|object| !is_custom(object)).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (number, object) in ours.iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        // JSON is YAML.
        std::fs::write(&file, object.to_string()).unwrap();
        files.push(file);
    }
    for version in versions {
        let said = run(program("kubernetes-validate").args(["--strict", "-k", version]).args(&files));
        let printed = said.stdout + &said.stderr;
        assert!(said.success && !printed.contains("WARN"), "{what} {version}: {printed}");
        assert_eq!(printed.matches("passed").count(), ours.len(), "each was judged: {printed}");
    }
}

/// What is wrong with objects of the operator's kinds, by the objects' names: unknown fields, wrong types, values that a
/// pattern or a limit of the operator's schemas refuses.
pub fn refused_by_operator(objects: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let packages = format!("{ROOT}/target/test-tools/operator");
    // In there, so that the packages are found beside it.
    let folder = tempfile::Builder::new().prefix("check-").tempdir_in(&packages).unwrap();
    for (name, object) in objects {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let module = format!("@kubernetes-models/prometheus-operator/{version}/{kind}");
        let text = format!("import type {{ I{kind} }} from '{module}';\nexport const it: I{kind} = {object:#};\n");
        std::fs::write(folder.path().join(format!("{name}.ts")), text).unwrap();
    }
    let options = "--strict --noEmit --skipLibCheck --pretty false --target es2022 --module esnext";
    let mut compiler = program(&format!("{packages}/node_modules/.bin/tsc"));
    compiler.args(options.split(' ')).args(["--moduleResolution", "bundler", "--types", ""]);
    compiler.args(objects.keys().map(|name| format!("{name}.ts"))).current_dir(folder.path());
    let compiled = run(&mut compiler).stdout;

    let script = folder.path().join("validate.mjs");
    std::fs::copy(format!("{ROOT}/tests/deploy/operator/validate.mjs"), &script).unwrap();
    let mut node = program("node");
    node.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = node.spawn().unwrap();
    node.stdin.take().unwrap().write_all(json!(objects).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let validated = String::from_utf8(output.stdout).unwrap();

    let mut refused = BTreeMap::new();
    for name in objects.keys() {
        let lines = compiled.lines().chain(validated.lines());
        let about: Vec<&str> = lines
            .filter(|line| line.starts_with(&format!("{name}.ts(")) || line.starts_with(&format!("{name}: ")))
            .collect();
        if !about.is_empty() {
            refused.insert(name.clone(), about.join("\n"));
        }
    }
    let named: BTreeSet<&str> =
        compiled.lines().filter_map(|line| line.split_once(".ts(")).map(|(name, _)| name).collect();
    assert!(named.iter().all(|name| objects.contains_key(*name)), "{compiled}");
    refused
}

/// The operator's schemas accept the objects of its kinds; returns these kinds.
#[track_caller]
pub fn operator_accepts(sets: &BTreeMap<String, Vec<Value>>) -> BTreeSet<String> {
    let mut objects = BTreeMap::new();
    for (name, set) in sets {
        for object in set.iter().filter(|object| object["apiVersion"].as_str().unwrap().starts_with("monitoring.")) {
            let [kind, called] = [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().unwrap());
            objects.insert(format!("{name}-{kind}-{called}"), object.clone());
        }
    }
    assert_eq!(refused_by_operator(&objects), BTreeMap::new());
    objects.values().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs node and kubernetes-validate"]
fn what_the_operator_would_drop_or_refuse_is_noticed() {
    let monitor = |endpoint: Value| {
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "it"},
            "spec": {"selector": {}, "endpoints": [endpoint]}})
    };
    let objects = BTreeMap::from([
        ("fine".to_owned(), monitor(json!({"port": "metrics", "interval": "15s"}))),
        ("unknown".to_owned(), monitor(json!({"port": "metrics", "intervall": "15s"}))),
        ("type".to_owned(), monitor(json!({"port": 9877}))),
        ("pattern".to_owned(), monitor(json!({"port": "metrics", "interval": "15 s"}))),
    ]);
    let refused = refused_by_operator(&objects);
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["pattern", "type", "unknown"], "{refused:?}");
}
