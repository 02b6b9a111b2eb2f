//! The manifests: built by kustomize, held against Kubernetes' own schemas, and the pod's command line run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{self, Api, Exporter, KEY};
use crate::manifests::{
    KUBERNETES, KUBERNETES_WITH_SHARDS, container, kubernetes_accepts, one, operator_accepts, workload,
};
use crate::tools::{ROOT, file, say, yaml};

const OVERLAYS: [&str; 3] = ["base", "overlays/sharded", "overlays/demo"];

const ACCOUNTS: &str = "deploy/kubernetes/components/accounts";
const PARTS: &str = "deploy/kubernetes/components/parts";
const SLO: &str = "deploy/kubernetes/components/slo";
const PODMONITOR: &str = "deploy/kubernetes/components/podmonitor";

/// All addresses, IPv6 and IPv4.
const LISTEN: &str = "--web.listen-address=:9877";

/// Those that poll real pipelines.
const REAL: [&str; 2] = ["base", "overlays/sharded"];

/// Where the ServiceKeys appear in the pod.
fn key_files(objects: &[Value]) -> Vec<String> {
    let mounts = container(objects)["volumeMounts"].as_array().unwrap();
    let folder = mounts.iter().find(|mount| mount["name"] == "service-keys").unwrap()["mountPath"].as_str().unwrap();
    let volumes = workload(objects)["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "service-keys").unwrap();
    let sources = volume["projected"]["sources"].as_array().unwrap();
    let items = sources.iter().flat_map(|source| source["secret"]["items"].as_array().unwrap());
    items.map(|item| format!("{folder}/{}", item["path"].as_str().unwrap())).collect()
}

fn built(overlay: &str) -> Vec<Value> {
    yaml(&say("kubectl", &["kustomize", &format!("deploy/kubernetes/{overlay}")]))
}

/// The overlay in which an operator puts components together.
fn with_components(resource: &str, components: &[&str]) -> Vec<Value> {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // kustomize takes relative paths only.
    let depth = folder.path().components().count() - 1;
    let path = |path: &str| format!("{}{ROOT}/{path}", vec![".."; depth].join("/"));
    let components: Vec<String> = components.iter().map(|component| path(component)).collect();
    let overlay = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "goldrush",
        "resources": [path(&format!("deploy/kubernetes/{resource}"))],
        "components": components,
    });
    std::fs::write(folder.path().join("kustomization.yaml"), overlay.to_string()).unwrap();
    yaml(&say("kubectl", &["kustomize", folder.path().to_str().unwrap()]))
}

#[test]
#[ignore = "needs kubectl"]
fn the_schemas_of_kubernetes_and_of_the_operator_accept_everything() {
    let mut sets: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for overlay in OVERLAYS {
        sets.insert(overlay.replace('/', "-"), built(overlay));
    }
    sets.insert("components-parts".to_owned(), with_components("base", &[PARTS]));
    sets.insert("components-sharded".to_owned(), with_components("overlays/sharded", &[ACCOUNTS, "dashboards"]));
    sets.insert("components-base".to_owned(), with_components("base", &[PODMONITOR, SLO]));
    for (name, objects) in &sets {
        let versions = if name.contains("sharded") { KUBERNETES_WITH_SHARDS } else { KUBERNETES };
        kubernetes_accepts(name, objects, &versions);
    }
    let kinds = operator_accepts(&sets);
    assert_eq!(kinds.iter().collect::<Vec<_>>(), ["PodMonitor", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"]);
}

/// `kubectl delete -k` would delete it with the key's Secret, which somebody made by hand.
#[test]
#[ignore = "needs kubectl"]
fn the_namespace_of_a_real_exporter_is_not_part_of_it() {
    for overlay in REAL {
        assert!(built(overlay).iter().all(|object| object["kind"] != "Namespace"), "{overlay}");
    }
    let namespace = yaml(&file("deploy/kubernetes/namespace.yaml")).remove(0);
    assert_eq!(namespace["metadata"]["name"], one(&built("base"), "Service")["metadata"]["namespace"]);
    let demo = built("overlays/demo");
    for namespace in [&namespace, one(&demo, "Namespace")] {
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    }
}

#[test]
#[ignore = "needs kubectl"]
fn several_accounts_have_a_key_each_where_the_configuration_looks() {
    for resource in ["base", "overlays/sharded"] {
        let objects = with_components(resource, &[ACCOUNTS]);
        let configuration = one(&objects, "ConfigMap")["data"]["goldrush-exporter.yml"].as_str().unwrap();
        let configuration = yaml(configuration).remove(0);
        let accounts = configuration["accounts"].as_array().unwrap();
        let files: Vec<&str> = accounts.iter().map(|account| account["service_key_file"].as_str().unwrap()).collect();
        assert_eq!(files.len(), 2);
        assert_eq!(key_files(&objects), files, "{resource}");
    }
}

/// Each pod is scraped once, and by the same job.
#[test]
#[ignore = "needs kubectl"]
fn a_pod_monitor_takes_the_place_of_the_service_monitor() {
    let monitored = built("base");
    let service = &one(&monitored, "ServiceMonitor")["spec"];
    for resource in ["base", "overlays/sharded"] {
        let objects = with_components(resource, &[PODMONITOR]);
        assert!(objects.iter().all(|object| object["kind"] != "ServiceMonitor"), "{resource}");
        let pod = &one(&objects, "PodMonitor")["spec"];
        assert_eq!(pod["selector"], service["selector"]);
        let labels = &workload(&objects)["spec"]["template"]["metadata"]["labels"];
        for (label, value) in pod["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value);
        }
        let [pod, service] = [&pod["podMetricsEndpoints"][0], &service["endpoints"][0]];
        for same in ["port", "interval", "scrapeTimeout"] {
            assert_eq!(pod[same], service[same], "{same}");
        }
        let ports = container(&objects)["ports"].as_array().unwrap();
        assert!(ports.iter().any(|port| port["name"] == pod["port"]), "{resource}");
        assert_eq!(pod["relabelings"][0]["replacement"], "$1/goldrush-exporter");
    }
}

#[test]
#[ignore = "needs kubectl"]
fn dashboards_are_found_by_the_sidecar_of_grafana_and_fit_what_kubectl_apply_annotates() {
    let objects = with_components("base", &["dashboards"]);
    let dashboards: Vec<&Value> =
        objects.iter().filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1").collect();
    let names: BTreeSet<&str> =
        dashboards.iter().flat_map(|object| object["data"].as_object().unwrap().keys().map(String::as_str)).collect();
    let there: BTreeSet<String> = std::fs::read_dir(Path::new(ROOT).join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .map(|name| format!("goldrush-{name}"))
        .collect();
    assert_eq!(names, there.iter().map(String::as_str).collect());
    for dashboard in dashboards {
        assert!(dashboard.to_string().len() < 262_144 - 10_000, "{}", dashboard["metadata"]["name"]);
    }
}

#[test]
#[ignore = "needs python3"]
fn the_rules_of_the_operator_are_the_files_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    say("deploy/kubernetes/generate", &[folder.path().to_str().unwrap()]);
    for path in ["base/prometheusrule.yaml", "components/slo/prometheusrule.yaml"] {
        let committed = file(&format!("deploy/kubernetes/{path}"));
        let hint = "alerts/ has changed: run deploy/kubernetes/generate and commit what it writes";
        assert!(std::fs::read_to_string(folder.path().join(path)).unwrap() == committed, "{path}: {hint}");
    }
    let alerts = yaml(&file("alerts/goldrush.rules.yml")).remove(0);
    for overlay in REAL {
        let objects = built(overlay);
        let rule = one(&objects, "PrometheusRule");
        assert_eq!(rule["spec"], alerts, "{overlay}");
        assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
    }
    let objects = with_components("base", &[SLO]);
    let rule = |name: &str| {
        let found = |object: &&Value| object["kind"] == "PrometheusRule" && object["metadata"]["name"] == name;
        &objects.iter().find(found).unwrap()["spec"]
    };
    assert_eq!(rule("goldrush-exporter-slo"), &yaml(&file("alerts/goldrush-slo.rules.yml")).remove(0));
    assert_eq!(rule("goldrush-exporter"), &alerts);
}

#[test]
#[ignore = "needs kubectl"]
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
        let namespace = if overlay == "overlays/demo" { "goldrush-demo" } else { "goldrush" };
        for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
            assert_eq!(object["metadata"]["namespace"], namespace, "{overlay}");
        }
        // By number: not every network plugin resolves the name of a port.
        assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], port["containerPort"], "{overlay}");
    }
}

#[test]
#[ignore = "needs kubectl"]
fn the_pods_keep_to_the_restricted_profile_and_leave_the_user_to_the_cluster() {
    for overlay in OVERLAYS {
        let objects = built(overlay);
        let pod = &workload(&objects)["spec"]["template"]["spec"];
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{overlay}");
        // OpenShift refuses a pod that pins what is the cluster's to choose.
        for pinned in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(context[pinned].is_null(), "{overlay} {pinned}");
        }
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
#[ignore = "needs kubectl"]
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
#[ignore = "needs kubectl"]
fn the_command_line_and_the_configuration_of_the_pod_work_and_its_probes_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let api = Api::healthy(30);
    for overlay in OVERLAYS {
        let objects = built(overlay);
        let pod = container(&objects);
        let configuration = one(&objects, "ConfigMap")["data"]["goldrush-exporter.yml"].as_str().unwrap();
        // Where the volumes are mounted is the test's folder here.
        let configuration = configuration.replace("/run/secrets/goldrush/default", &path("service-key"));
        std::fs::write(path("service-key"), KEY).unwrap();
        std::fs::write(path("goldrush-exporter.yml"), configuration).unwrap();
        let arguments = pod["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let arguments: Vec<String> = arguments
            .map(|argument| argument.replace("/etc/goldrush-exporter", folder.path().to_str().unwrap()))
            .collect();
        // The port is taken by the test's other exporters.
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).filter(|argument| *argument != LISTEN).collect();
        let mut environment = common::environment(common::FAST);
        environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), api.base_url()));
        for variable in pod["env"].as_array().into_iter().flatten() {
            // A pod's index is its label's, and that is the cluster's.
            let value = variable["value"].as_str().unwrap_or("0");
            environment.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        assert_eq!(arguments.len() + 1, pod["args"].as_array().unwrap().len(), "{overlay}: {LISTEN}");
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
#[ignore = "needs kubectl"]
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
#[ignore = "needs kubectl"]
fn the_demo_needs_no_secret() {
    let objects = built("overlays/demo");
    let pod = &workload(&objects)["spec"]["template"]["spec"];
    assert!(pod["volumes"].is_null() && pod["containers"][0]["volumeMounts"].is_null());
    let base = built("base");
    let volumes = workload(&base)["spec"]["template"]["spec"]["volumes"].clone();
    let secret = &volumes[1]["projected"]["sources"][0]["secret"];
    assert_eq!(secret["name"], "goldrush-service-key");
    assert!(base.iter().all(|object| object["kind"] != "Secret"), "the key is the operator's to put in");
    assert!(!Path::new(ROOT).join("deploy/kubernetes/base/service-key").exists());
}
