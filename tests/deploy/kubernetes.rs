//! The manifests: built by kustomize, held against Kubernetes' own schemas, and the pod's command line run.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{self, Api, Exporter, KEY};
use crate::tools::{ROOT, file, program, run, say, yaml};

const OVERLAYS: [&str; 3] = ["base", "overlays/sharded", "overlays/demo"];

/// Those that poll real pipelines.
const REAL: [&str; 2] = ["base", "overlays/sharded"];

fn built(overlay: &str) -> Vec<Value> {
    yaml(&say("kubectl", &["kustomize", &format!("deploy/kubernetes/{overlay}")]))
}

#[track_caller]
fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    object
}

/// What runs the pods: a Deployment or a StatefulSet.
fn workload(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["spec"]["template"].is_object()).unwrap()
}

fn container(objects: &[Value]) -> &Value {
    &workload(objects)["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn kubernetes_schemas_accept_everything() {
    let folder = tempfile::tempdir().unwrap();
    for overlay in OVERLAYS {
        let manifest = folder.path().join("manifest.yaml");
        std::fs::write(&manifest, say("kubectl", &["kustomize", &format!("deploy/kubernetes/{overlay}")])).unwrap();
        let manifest = manifest.to_str().unwrap();
        // The oldest that has the pod-index label, and the newest known.
        for version in [&["-k", "1.28.0"][..], &[]] {
            let said = run(program("kubernetes-validate").arg("--strict").args(version).arg(manifest));
            let printed = said.stdout + &said.stderr;
            // No schema comes along for the operator's kinds: see the tests below.
            let others = |line: &&str| !line.contains("kind PrometheusRule ") && !line.contains("kind ServiceMonitor ");
            let warnings: Vec<&str> = printed.lines().filter(|line| line.starts_with("WARN")).filter(others).collect();
            assert!(said.success && warnings.is_empty(), "{overlay} {version:?}: {printed}");
            assert!(printed.contains("INFO") && printed.contains("passed"), "it has looked at something: {printed}");
        }
    }
}

#[test]
fn the_rule_of_the_operator_is_the_file_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let generated = folder.path().join("prometheusrule.yaml");
    say("deploy/kubernetes/generate", &[generated.to_str().unwrap()]);
    let committed = file("deploy/kubernetes/base/prometheusrule.yaml");
    let hint = "alerts/goldrush.rules.yml has changed: run deploy/kubernetes/generate and commit what it writes";
    assert!(std::fs::read_to_string(&generated).unwrap() == committed, "{hint}");
    let alerts = yaml(&file("alerts/goldrush.rules.yml")).remove(0);
    for overlay in REAL {
        let objects = built(overlay);
        let rule = one(&objects, "PrometheusRule");
        assert_eq!(rule["spec"], alerts, "{overlay}");
        assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
    }
    // The fields that the operator's kind knows; it drops any other.
    for group in alerts["groups"].as_array().unwrap() {
        let known = ["name", "interval", "limit", "labels", "query_offset", "rules"];
        assert!(group.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{group}");
        for rule in group["rules"].as_array().unwrap() {
            let known = ["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"];
            assert!(rule.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{rule}");
        }
    }
}

#[test]
fn what_finds_the_pods_finds_them() {
    for overlay in OVERLAYS {
        let objects = built(overlay);
        let pod = &workload(&objects)["spec"]["template"]["metadata"]["labels"];
        let labels = json!({"app.kubernetes.io/name": "goldrush-exporter"});
        assert_eq!(pod, &labels, "{overlay}");
        let service = one(&objects, "Service");
        let (policy, budget) = (one(&objects, "NetworkPolicy"), one(&objects, "PodDisruptionBudget"));
        assert_eq!(service["spec"]["selector"], labels);
        assert_eq!(service["metadata"]["labels"], labels);
        for selector in [&budget["spec"]["selector"], &policy["spec"]["podSelector"]] {
            assert_eq!(selector["matchLabels"], labels, "{overlay}");
        }
        let port = &container(&objects)["ports"][0];
        assert_eq!((&port["name"], &port["containerPort"]), (&json!("metrics"), &json!(9877)));
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "metrics");
        if REAL.contains(&overlay) {
            let monitor = &one(&objects, "ServiceMonitor")["spec"];
            assert_eq!(monitor["selector"]["matchLabels"], labels, "{overlay}");
            assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
            // Two namespaces are two jobs: accounts are told apart within a job only.
            let source = json!(["__meta_kubernetes_namespace", "__meta_kubernetes_service_name"]);
            let job = json!([{"sourceLabels": source, "separator": "/", "targetLabel": "job"}]);
            assert_eq!(monitor["endpoints"][0]["relabelings"], job, "{overlay}");
        }
        let namespace = &one(&objects, "Namespace")["metadata"]["name"];
        for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
            assert_eq!(&object["metadata"]["namespace"], namespace, "{overlay}");
        }
    }
}

#[test]
fn the_pods_keep_to_the_restricted_profile() {
    for overlay in OVERLAYS {
        let objects = built(overlay);
        let enforced = &one(&objects, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        assert_eq!(enforced, "restricted");
        let pod = &workload(&objects)["spec"]["template"]["spec"];
        let context = &pod["securityContext"];
        assert_eq!((&context["runAsNonRoot"], &context["runAsUser"]), (&json!(true), &json!(65532)), "{overlay}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        let container = container(&objects);
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(container[probe]["httpGet"]["path"].is_string(), "{overlay} {probe}");
        }
        assert!(
            container["resources"]["limits"]["memory"].is_string() && container["resources"]["requests"].is_object()
        );
    }
}

#[test]
fn the_number_of_shards_is_the_number_of_pods_and_the_ordinal_is_the_index() {
    let objects = built("overlays/sharded");
    assert!(objects.iter().all(|object| object["kind"] != "Deployment"));
    let set = one(&objects, "StatefulSet");
    assert_eq!(set["spec"]["serviceName"], one(&objects, "Service")["metadata"]["name"]);
    let replicas = set["spec"]["replicas"].as_u64().unwrap();
    assert!(replicas > 1);
    let path = "metadata.labels['apps.kubernetes.io/pod-index']";
    let index = json!({"name": "GOLDRUSH_EXPORTER__SHARD__INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let total = json!({"name": "GOLDRUSH_EXPORTER__SHARD__TOTAL", "value": replicas.to_string()});
    assert_eq!(container(&objects)["env"], json!([index, total]));
}

#[test]
fn the_command_line_and_the_configuration_of_the_pod_work_and_its_probes_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let api = Api::healthy(30);
    for overlay in OVERLAYS {
        let objects = built(overlay);
        let pod = container(&objects);
        let configuration = one(&objects, "ConfigMap")["data"]["goldrush-exporter.yml"].as_str().unwrap();
        // Where the volumes are mounted is the test's folder here.
        let configuration = configuration.replace("/run/secrets/goldrush/service-key", &path("service-key"));
        std::fs::write(path("service-key"), KEY).unwrap();
        std::fs::write(path("goldrush-exporter.yml"), configuration).unwrap();
        let arguments = pod["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let arguments: Vec<String> = arguments
            .map(|argument| argument.replace("/etc/goldrush-exporter", folder.path().to_str().unwrap()))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut environment = common::environment(common::FAST);
        environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), api.base_url()));
        for variable in pod["env"].as_array().into_iter().flatten() {
            // A pod's index is its label's, and that is the cluster's.
            let value = variable["value"].as_str().unwrap_or("0");
            environment.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        let exporter = Exporter::start(&arguments, &environment);
        exporter.until("a pipeline", |exposition| !exposition.values("goldrush_pipeline_info", &[]).is_empty());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = pod[probe]["httpGet"]["path"].as_str().unwrap();
            common::eventually(&format!("{overlay}: {path}"), || exporter.get(path).status == 200);
        }
    }
}

/// The demo has a revoked key and dead destinations, and it answers while the real exporter may be down.
#[test]
fn the_demo_stays_away_from_the_alerts_on_real_pipelines() {
    let objects = built("overlays/demo");
    let operators: Vec<&Value> = objects
        .iter()
        .filter(|object| object["apiVersion"].as_str().unwrap().starts_with("monitoring.coreos.com/"))
        .map(|object| &object["kind"])
        .collect();
    assert_eq!(operators, Vec::<&Value>::new());
    let annotations = &workload(&objects)["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["prometheus.io/scrape"].is_null(), "no other way to be scraped");
}

#[test]
fn the_demo_needs_no_secret() {
    let objects = built("overlays/demo");
    let pod = &workload(&objects)["spec"]["template"]["spec"];
    assert!(pod["volumes"].is_null() && pod["containers"][0]["volumeMounts"].is_null());
    let base = built("base");
    let volumes = workload(&base)["spec"]["template"]["spec"]["volumes"].clone();
    assert!(volumes.as_array().unwrap().iter().any(|volume| volume["secret"]["secretName"] == "goldrush-service-key"));
    assert!(base.iter().all(|object| object["kind"] != "Secret"), "the key is the operator's to put in");
    assert!(!Path::new(ROOT).join("deploy/kubernetes/base/service-key").exists());
}
