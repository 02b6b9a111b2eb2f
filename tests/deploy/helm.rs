//! The chart: linted, rendered and packaged by Helm's own SDK, its objects judged, what runs in its pods run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Map, Value, json};

use crate::common::{self, Api, Exporter, KEY};
use crate::manifests::{
    KUBERNETES, KUBERNETES_WITH_SHARDS, container, kubernetes_accepts, one, operator_accepts, workload,
};
use crate::tools::{ROOT, TOOLS, file, program, run, say, yaml};

const CHART: &str = "deploy/helm/goldrush-exporter";

/// What the chart itself knows of an account; the other names are the exporter's.
const CHARTS_OWN: [&str; 4] = ["existingSecret", "key", "remoteRef", "serviceKey"];

/// Helm's answer: see tests/deploy/helm.py.
fn helm(question: &Value) -> Value {
    let mut helm = program(&format!("{ROOT}/{TOOLS}/deploy/bin/python3"));
    helm.arg("tests/deploy/helm.py").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut helm = helm.spawn().unwrap();
    helm.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = helm.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The values files of `ci/`, by name.
fn cases() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(Path::new(ROOT).join(CHART).join("ci")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases: BTreeMap<String, Value> = names
        .map(|name| {
            let values = yaml(&file(&format!("{CHART}/ci/{name}"))).into_iter().next().unwrap_or_default();
            let values = if values.is_null() { json!({}) } else { values };
            (name.strip_suffix("-values.yaml").unwrap().to_owned(), values)
        })
        .collect();
    assert!(cases.len() >= 10);
    cases
}

/// What was rendered: objects and notes, or an error.
fn rendered(chart: &str, cases: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let release = |values: &Value| json!({"values": values, "name": "goldrush-exporter", "namespace": "goldrush"});
    let cases: Map<String, Value> = cases.iter().map(|(name, values)| (name.clone(), release(values))).collect();
    serde_json::from_value(helm(&json!({"chart": chart, "render": cases}))).unwrap()
}

/// The objects of each case.
#[track_caller]
fn objects(cases: &BTreeMap<String, Value>) -> BTreeMap<String, Vec<Value>> {
    let each = rendered(CHART, cases).into_iter();
    each.map(|(name, it)| {
        let objects = it["objects"].as_array().unwrap_or_else(|| panic!("{name}: {it}"));
        (name, objects.clone())
    })
    .collect()
}

#[track_caller]
fn objects_of(values: Value) -> Vec<Value> {
    objects(&BTreeMap::from([("it".to_owned(), values)])).remove("it").unwrap()
}

/// Why these values cannot be rendered.
#[track_caller]
fn error_of(values: Value) -> String {
    let it = rendered(CHART, &BTreeMap::from([("it".to_owned(), values)])).remove("it").unwrap();
    it["error"].as_str().unwrap_or_else(|| panic!("rendered: {it}")).to_owned()
}

fn configuration(objects: &[Value]) -> &str {
    let maps = objects.iter().filter_map(|object| object["data"]["goldrush-exporter.yml"].as_str());
    let configurations: Vec<&str> = maps.collect();
    assert_eq!(configurations.len(), 1);
    configurations[0]
}

/// Every pod: the workload's, and that of `helm test`.
fn pods(objects: &[Value]) -> Vec<&Value> {
    let pods = objects.iter().filter(|object| object["kind"] == "Pod").map(|pod| &pod["spec"]);
    pods.chain([&workload(objects)["spec"]["template"]["spec"]]).collect()
}

#[test]
#[ignore = "needs Helm"]
fn the_linter_has_no_warning_for_any_values_file() {
    let asked: Map<String, Value> =
        cases().into_iter().map(|(name, values)| (name, json!({"values": values}))).collect();
    let found = helm(&json!({"chart": CHART, "lint": asked}));
    for (name, messages) in found.as_object().unwrap() {
        let messages = messages.as_array().unwrap().iter().map(|message| message["error"].as_str().unwrap());
        // There is no picture to point at.
        let others: Vec<&str> = messages.filter(|message| *message != "icon is recommended").collect();
        assert_eq!(others, Vec::<&str>::new(), "{name}");
    }
}

#[test]
#[ignore = "needs Helm"]
fn the_schemas_of_kubernetes_and_of_the_operator_accept_every_object() {
    let objects = objects(&cases());
    for (name, objects) in &objects {
        let sharded = workload(objects)["kind"] == "StatefulSet";
        kubernetes_accepts(name, objects, if sharded { &KUBERNETES_WITH_SHARDS } else { &KUBERNETES });
    }
    let kinds = operator_accepts(&objects);
    assert_eq!(kinds.iter().collect::<Vec<_>>(), ["PodMonitor", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"]);
}

#[test]
#[ignore = "needs Helm"]
fn pods_keep_to_the_restricted_profile_and_leave_the_user_to_the_cluster() {
    for (name, objects) in objects(&cases()) {
        for pod in pods(&objects) {
            let context = &pod["securityContext"];
            assert_eq!(
                (&context["runAsNonRoot"], &context["seccompProfile"]["type"]),
                (&json!(true), &json!("RuntimeDefault"))
            );
            for pinned in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(context[pinned].is_null(), "{name} {pinned}: OpenShift chooses it");
            }
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
            }
        }
        assert_eq!(container(&objects)["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
    }
}

/// Both install the same exporter; what differs, differs for a reason.
#[test]
#[ignore = "needs Helm"]
fn the_objects_are_those_of_kustomize() {
    let ours = objects_of(json!({
        "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "networkPolicy": {"enabled": true},
    }));
    let sharded = objects_of(json!({"shards": 3, "networkPolicy": {"enabled": true}}));
    for (ours, overlay, kinds) in [
        (
            &ours,
            "base",
            &[
                "ConfigMap",
                "Deployment",
                "NetworkPolicy",
                "PrometheusRule",
                "Service",
                "ServiceAccount",
                "ServiceMonitor",
            ][..],
        ),
        (&sharded, "overlays/sharded", &["NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"]),
    ] {
        let theirs = yaml(&say("kubectl", &["kustomize", &format!("deploy/kubernetes/{overlay}")]));
        for kind in kinds {
            let [ours, theirs] = [one(ours, kind), one(&theirs, kind)].map(|object| comparable(object.clone()));
            assert_eq!(ours, theirs, "{overlay} {kind}");
        }
    }
}

/// An object without what the two ways spell differently on purpose.
fn comparable(mut object: Value) -> Value {
    let labels = |of: &mut Value| {
        if let Some(labels) = of.as_object_mut() {
            labels.retain(|name, _| name == "app.kubernetes.io/name");
        }
    };
    labels(&mut object["metadata"]["labels"]);
    object["metadata"]["name"] = json!("goldrush-exporter");
    if let Some(text) = object["data"]["goldrush-exporter.yml"].as_str() {
        object["data"]["goldrush-exporter.yml"] = yaml(text).remove(0);
    }
    if object["spec"].is_null() {
        return object;
    }
    // A cluster may have several releases of the chart.
    for pointer in ["/spec/selector", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        if let Some(of) = object.pointer_mut(pointer)
            && of.get("app.kubernetes.io/name").is_some()
        {
            labels(of);
        }
    }
    // kustomize gives a changed configuration a new name, Helm notes its checksum.
    if let Some(pod) = object.pointer_mut("/spec/template") {
        pod["metadata"].as_object_mut().unwrap().remove("annotations");
        let pod = &mut pod["spec"];
        pod["volumes"][0]["configMap"]["name"] = json!("goldrush-exporter");
        pod["containers"][0]["args"].as_array_mut().unwrap().retain(|argument| argument != "--log.level=info");
        let of = pod["containers"][0].as_object_mut().unwrap();
        of.entry("imagePullPolicy").or_insert(json!("IfNotPresent"));
    }
    // The chart's also covers the pod of `helm test`.
    if let Some(selector) = object["spec"].get_mut("podSelector") {
        *selector = Value::Null;
    }
    // The chart knows the release's job, kustomize leaves it to the operator.
    if let Some(endpoint) = object.pointer_mut("/spec/endpoints/0") {
        endpoint["relabelings"] = Value::Null;
    }
    object
}

#[test]
#[ignore = "needs Helm"]
fn the_job_has_goldrush_in_its_name_whatever_the_release_is_called() {
    for (values, job) in [
        (json!({"podMonitor": {"enabled": true}}), "goldrush/goldrush-exporter"),
        (json!({"podMonitor": {"enabled": true}, "fullnameOverride": "x"}), "goldrush/x-goldrush"),
    ] {
        let objects = objects_of(values);
        let relabelings = &one(&objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"];
        assert_eq!(relabelings, &json!([{"targetLabel": "job", "replacement": job}]));
    }
}

#[test]
#[ignore = "needs Helm"]
fn names_that_do_not_exist_are_refused_at_every_level() {
    let schema: Value = serde_json::from_str(&file(&format!("{CHART}/values.schema.json"))).unwrap();
    closed("values", &schema);
    for (values, name) in [
        (json!({"acounts": []}), "acounts"),
        (json!({"config": {"polls": {}}}), "polls"),
        (json!({"config": {"poll": {"state": "15s"}}}), "state"),
        // The chart sets these.
        (json!({"config": {"accounts": []}}), "accounts"),
        (json!({"config": {"shard": {}}}), "shard"),
        (json!({"accounts": [{"name": "a", "existingSecret": "b", "project": {}}]}), "project"),
        (json!({"image": {"name": "x"}}), "name"),
        (json!({"serviceMonitor": {"enable": true}}), "enable"),
        (json!({"prometheusRule": {"disabled": {"GoldRushWatchdogs": true}}}), "GoldRushWatchdogs"),
    ] {
        let error = error_of(values);
        assert!(error.contains(&format!("'{name}' not allowed")), "{name}: {error}");
    }
}

/// Every object in a schema says what else may be in it; Kubernetes' own and a parent chart's are the only open ones.
fn closed(path: &str, schema: &Value) {
    let Some(members) = schema.as_object() else { return };
    if schema["type"] == "object" {
        let open = ["values.definitions.object", "values.properties.global"].contains(&path);
        let rest = &schema["additionalProperties"];
        assert!(if open { rest == &json!(true) } else { rest == &json!(false) || rest.is_object() }, "{path}: {rest}");
    }
    for (name, member) in members {
        closed(&format!("{path}.{name}"), member);
    }
}

#[test]
#[ignore = "needs Helm"]
fn a_parent_chart_can_switch_it_off_and_share_globals() {
    objects_of(json!({"enabled": true, "global": {"imageRegistry": "", "of": "the parent"}}));
}

#[test]
#[ignore = "needs Helm"]
fn what_cannot_work_is_refused_with_words_that_help() {
    for (values, words) in [
        (
            json!({"accounts": [{"name": "a", "existingSecret": "x"}, {"name": "a", "existingSecret": "y"}]}),
            "duplicate account name \"a\"",
        ),
        (
            json!({"accounts": [{"name": "a", "serviceKey": "sk_x"}]}),
            "use existingSecret, or set allowServiceKeysInValues",
        ),
        (json!({"accounts": [{"name": "a", "remoteRef": {"key": "x"}}]}), "needs externalSecrets.secretStoreRef"),
        (
            json!({"serviceMonitor": {"enabled": true}, "scrapeConfig": {"enabled": true}}),
            "serviceMonitor and scrapeConfig are enabled",
        ),
        (
            json!({"prometheusRule": {"slo": {"enabled": true}}}),
            "prometheusRule.slo is enabled, but prometheusRule is not",
        ),
        (json!({"accounts": [{"name": "a", "existingSecret": "x", "serviceKey": "y"}]}), "accounts/0"),
        (json!({"accounts": [{"name": "../a", "existingSecret": "x"}]}), "accounts/0/name"),
    ] {
        let error = error_of(values);
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("sk_x"), "{error}");
    }
    // The SDK renders for the newest Kubernetes only, so the bound is moved above it.
    let (_folder, newer) = changed("templates/_helpers.tpl", "<1.28.0-0", "<99.0.0-0");
    let values = BTreeMap::from([("shards".to_owned(), json!({"shards": 2})), ("one".to_owned(), json!({}))]);
    let it = rendered(&newer, &values);
    let error = it["shards"]["error"].as_str().unwrap();
    assert!(error.contains("more than one needs Kubernetes 1.28 or newer"), "{error}");
    assert!(it["one"]["objects"].is_array());
}

/// A copy of the chart in which one text is another.
fn changed(path: &str, from: &str, to: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("goldrush-exporter").to_str().unwrap().to_owned();
    say("cp", &["-r", CHART, &copy]);
    let text = file(&format!("{CHART}/{path}"));
    assert!(text.contains(from), "{path}: {from}");
    std::fs::write(format!("{copy}/{path}"), text.replace(from, to)).unwrap();
    (folder, copy)
}

/// Paths of the settings in a configuration; a list has those of its first item.
fn settings(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                settings(value, &format!("{path}.{name}"), into);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => settings(&items[0], path, into),
        _ => {
            into.insert(path.to_owned());
        }
    }
}

/// Paths of the settings that a schema knows.
fn known(root: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return known(root, root.pointer(reference.strip_prefix('#').unwrap()).unwrap(), path, into);
    }
    // Two ways to write the same.
    if path.contains('.') && schema["oneOf"][0]["$ref"].is_string() {
        return known(root, &schema["oneOf"][0], path, into);
    }
    if let Some(members) = schema["properties"].as_object() {
        for (name, member) in members {
            known(root, member, &format!("{path}.{name}"), into);
        }
    } else if schema["type"] == "array" {
        known(root, &schema["items"], path, into);
    } else {
        into.insert(path.to_owned());
    }
}

#[test]
#[ignore = "needs Helm"]
fn the_schema_knows_the_settings_that_the_exporter_has() {
    // A list of which an item has settings is printed with them only where there is one.
    let mut has = BTreeSet::new();
    for objects in objects(&cases()).values() {
        settings(&checked(configuration(objects)).unwrap(), "", &mut has);
    }
    let longer = has.clone();
    has.retain(|path| !longer.iter().any(|other| other.starts_with(&format!("{path}."))));
    // The chart sets these.
    has.retain(|path| !path.starts_with(".shard.") && path != ".accounts.service_key_file");
    let schema: Value = serde_json::from_str(&file(&format!("{CHART}/values.schema.json"))).unwrap();
    let mut knows = BTreeSet::new();
    known(&schema, &schema["properties"]["config"], "", &mut knows);
    known(&schema, &schema["properties"]["accounts"], ".accounts", &mut knows);
    knows.retain(|path| !CHARTS_OWN.iter().any(|own| path.starts_with(&format!(".accounts.{own}"))));
    let unknown: Vec<&String> = has.difference(&knows).collect();
    assert!(unknown.is_empty(), "values.schema.json does not know {unknown:?}");
    let unset: Vec<&String> = knows.difference(&has).collect();
    assert!(unset.is_empty(), "no file of ci/ sets {unset:?}, such as config-values.yaml, or no such setting exists");
}

/// The configuration as the exporter understands it, or what it says against it.
fn checked(configuration: &str) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for account in yaml(configuration)[0]["accounts"].as_array().unwrap() {
        let file = account["service_key_file"].as_str().unwrap();
        std::fs::write(path(file.rsplit_once('/').unwrap().1), KEY).unwrap();
    }
    let configuration = configuration.replace("/run/secrets/goldrush", folder.path().to_str().unwrap());
    std::fs::write(path("exporter.yml"), configuration).unwrap();
    let ended = common::run(&["--config.check", "--config.file", &path("exporter.yml")], &[]);
    if ended.status == Some(0) { Ok(yaml(&ended.stdout).remove(0)) } else { Err(ended.stderr) }
}

#[test]
#[ignore = "needs Helm"]
fn the_exporter_accepts_each_configuration_and_finds_each_key_in_a_file_of_the_pod() {
    for (name, objects) in objects(&cases()) {
        let configuration = configuration(&objects);
        let understood = checked(configuration).unwrap_or_else(|error| panic!("{name}: {error}\n{configuration}"));
        let accounts = understood["accounts"].as_array().unwrap();
        for pod in pods(&objects) {
            let volumes = pod["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == "service-keys").unwrap();
            let sources = volume["projected"]["sources"].as_array().unwrap();
            let paths: Vec<&Value> = sources.iter().map(|source| &source["secret"]["items"][0]["path"]).collect();
            assert_eq!(paths, accounts.iter().map(|account| &account["name"]).collect::<Vec<_>>(), "{name}");
            assert!(sources.iter().all(|source| source["secret"]["name"].is_string()), "{name}");
        }
    }
}

#[test]
#[ignore = "needs Helm"]
fn keys_come_from_secrets_that_exist_or_are_made() {
    let objects = objects(&cases());
    let source = |name: &str| {
        &workload(&objects[name])["spec"]["template"]["spec"]["volumes"][1]["projected"]["sources"][0]["secret"]
    };
    let external = one(&objects["external-secrets"], "ExternalSecret");
    assert_eq!(source("external-secrets")["name"], external["spec"]["target"]["name"]);
    assert_eq!(source("external-secrets")["items"][0]["key"], external["spec"]["data"][0]["secretKey"]);
    assert_eq!(external["spec"]["data"][0]["remoteRef"], json!({"key": "goldrush/prod", "property": "service-key"}));
    let secret = one(&objects["inline-key"], "Secret");
    assert_eq!(source("inline-key")["name"], secret["metadata"]["name"]);
    assert_eq!(secret["stringData"], json!({"try": "sk_only_to_try_things_out"}));
    for (name, objects) in &objects {
        let secrets = objects.iter().filter(|object| object["kind"] == "Secret").count();
        assert_eq!(secrets, usize::from(name == "inline-key"), "{name}");
        let others = objects.iter().filter(|object| object["kind"] != "Secret");
        assert!(others.into_iter().all(|object| !object.to_string().contains("sk_only")), "{name}");
    }
}

#[test]
#[ignore = "needs Helm"]
fn the_pods_run_are_probed_and_helm_test_checks_the_key() {
    let api = Api::healthy(30);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("default"), KEY).unwrap();
    for values in [json!({}), json!({"shards": 2}), json!({"webConfig": {"existingSecret": "web", "key": "web.yml"}})] {
        let objects = objects_of(values);
        let pod = container(&objects);
        let text = configuration(&objects).replace("/run/secrets/goldrush", here);
        std::fs::write(folder.path().join("goldrush-exporter.yml"), text).unwrap();
        std::fs::write(folder.path().join("web.yml"), "{}").unwrap();
        let mut environment = common::environment(common::FAST);
        environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), api.base_url()));
        let arguments = |of: &Value| -> Vec<String> {
            let all = of["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
            all.map(|argument| argument.replace("/etc/goldrush-exporter", here).replace("/run/secrets/web", here))
                .filter(|argument| argument != "--web.listen-address=:9877")
                .collect()
        };
        let check = arguments(&one(&objects, "Pod")["spec"]["containers"][0]);
        let check: Vec<&str> = check.iter().map(String::as_str).collect();
        let ended = common::run(&check, &environment);
        assert!(ended.status == Some(0) && ended.stdout.contains("30 pipelines"), "{}{}", ended.stdout, ended.stderr);

        for variable in pod["env"].as_array().into_iter().flatten() {
            let value = variable["value"].as_str().unwrap_or("0");
            environment.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        let arguments = arguments(pod);
        assert_eq!(arguments.len() + 1, pod["args"].as_array().unwrap().len());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let exporter = Exporter::start(&arguments, &environment);
        exporter.until("a pipeline", |exposition| !exposition.values("goldrush_pipeline_info", &[]).is_empty());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let probe = &pod[probe];
            if let Some(path) = probe["httpGet"]["path"].as_str() {
                common::eventually(path, || exporter.get(path).status == 200);
            } else {
                let command = probe["exec"]["command"].as_array().unwrap();
                let address = format!("--web.listen-address={}", exporter.address);
                assert_eq!(command[..2], [json!("/usr/bin/goldrush-exporter"), json!("healthcheck")]);
                assert!(command[2].as_str().unwrap().starts_with("--web.listen-address=:"));
                let ended = common::run(&["healthcheck", &address], &[]);
                assert!(ended.status == Some(0), "{}", ended.stderr);
            }
        }
    }
}

#[test]
#[ignore = "needs Helm"]
fn pods_restart_when_the_configuration_changes_and_for_nothing_else_that_is_beside_them() {
    let template = |values: Value| workload(&objects_of(values))["spec"]["template"].clone();
    let first = template(json!({}));
    for values in [
        json!({"config": {"poll": {"status": "20s"}}}),
        json!({"accounts": [{"name": "other", "existingSecret": "goldrush-service-key"}]}),
        json!({"accounts": [{"name": "default", "existingSecret": "goldrush-service-key", "expect": ["pipe_1"]}]}),
        json!({"log": {"level": "debug"}}),
    ] {
        assert_ne!(template(values.clone()), first, "{values}");
    }
    for values in [
        json!({"serviceMonitor": {"enabled": true, "interval": "30s"}}),
        json!({"podMonitor": {"enabled": true}}),
        json!({"prometheusRule": {"enabled": true}}),
        json!({"dashboards": {"enabled": true}}),
        json!({"networkPolicy": {"enabled": true}}),
        json!({"commonLabels": {"team": "data"}, "annotations": {"a": "b"}}),
        json!({"service": {"annotations": {"a": "b"}}}),
        json!({"test": {"enabled": false}}),
    ] {
        assert_eq!(template(values.clone()), first, "{values}");
    }
    // Nor for a newer version of the chart.
    let (_folder, newer) = changed("Chart.yaml", "\nversion: ", "\nversion: 9");
    let values = BTreeMap::from([("it".to_owned(), json!({}))]);
    let newer = rendered(&newer, &values).remove("it").unwrap();
    assert_eq!(workload(newer["objects"].as_array().unwrap())["spec"]["template"], first);
}

/// Kubernetes refuses an upgrade that changes one of these.
#[test]
#[ignore = "needs Helm"]
fn no_upgrade_changes_what_cannot_be_changed() {
    let fixed = |object: &Value| {
        let spec = &object["spec"];
        match object["kind"].as_str().unwrap() {
            "Deployment" => Some(json!([spec["selector"]])),
            "StatefulSet" => Some(json!([
                spec["selector"],
                spec["serviceName"],
                spec["podManagementPolicy"],
                spec["volumeClaimTemplates"]
            ])),
            "Service" => Some(json!([spec["clusterIP"]])),
            _ => None,
        }
    };
    let mut cases = cases();
    // A name is what the operator chose.
    cases.get_mut("everything").unwrap().as_object_mut().unwrap().remove("nameOverride");
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    for (name, objects) in objects(&cases) {
        for object in &objects {
            let Some(now) = fixed(object) else { continue };
            let before = seen.entry(object["kind"].as_str().unwrap().to_owned()).or_insert_with(|| now.clone());
            assert_eq!(before, &now, "{name}");
        }
    }
    assert_eq!(seen.len(), 3);
}

#[test]
#[ignore = "needs Helm"]
fn the_image_can_come_from_any_registry_by_tag_or_digest() {
    let image = |values: Value| container(&objects_of(values))["image"].as_str().unwrap().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image(json!({})), format!("goldrush-exporter:{version}"));
    assert_eq!(image(json!({"image": {"registry": "a", "tag": "t"}})), "a/goldrush-exporter:t");
    let digest = format!("sha256:{}", "0".repeat(64));
    let both = json!({"global": {"imageRegistry": "b"}, "image": {"registry": "a", "tag": "t", "digest": digest}});
    assert_eq!(image(both), format!("b/goldrush-exporter@{digest}"));
}

/// The groups of the PrometheusRule of that name.
#[track_caller]
fn rule_groups(objects: &[Value], name: &str) -> Value {
    let mut rules = objects.iter().filter(|object| object["kind"] == "PrometheusRule");
    let rule =
        rules.find(|rule| rule["metadata"]["name"] == name).unwrap_or_else(|| panic!("no PrometheusRule {name}"));
    rule["spec"]["groups"].clone()
}

#[test]
#[ignore = "needs Helm"]
fn service_level_objectives_are_those_of_the_repository_and_have_to_be_asked_for() {
    let objects = objects_of(json!({"prometheusRule": {"enabled": true, "slo": {"enabled": true}}}));
    for (name, source) in [("goldrush-exporter", "goldrush"), ("goldrush-exporter-slo", "goldrush-slo")] {
        let source = yaml(&file(&format!("alerts/{source}.rules.yml"))).remove(0);
        assert_eq!(rule_groups(&objects, name), source["groups"]);
    }
    // Panics if there are several.
    one(&objects_of(json!({"prometheusRule": {"enabled": true}})), "PrometheusRule");
}

#[test]
#[ignore = "needs Helm"]
fn an_alert_that_is_left_out_leaves_the_others_as_they_are() {
    let rules = |name: &str| yaml(&file(&format!("alerts/{name}.rules.yml"))).remove(0)["groups"].clone();
    let names = |groups: &Value| -> Vec<String> {
        let rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.filter_map(|rule| rule["alert"].as_str()).map(str::to_owned).collect()
    };
    let rendered = |disabled: Value| {
        let rule = json!({"enabled": true, "slo": {"enabled": true}, "disabled": disabled});
        let objects = objects_of(json!({"prometheusRule": rule}));
        ["goldrush-exporter", "goldrush-exporter-slo"].map(|name| rule_groups(&objects, name))
    };

    let [main, slo] =
        rendered(json!({"GoldRushWatchdog": true, "GoldRushRateLimited": true, "GoldRushApiErrors": false}));
    let mut expected = rules("goldrush");
    let groups = expected.as_array_mut().unwrap();
    for group in &mut *groups {
        let without = |rule: &Value| rule["alert"] != "GoldRushWatchdog" && rule["alert"] != "GoldRushRateLimited";
        group["rules"].as_array_mut().unwrap().retain(without);
    }
    let all = groups.len();
    groups.retain(|group| group["rules"] != json!([]));
    assert_eq!(groups.len(), all - 1, "the watchdog has a group of its own");
    assert_eq!((&main, &slo), (&expected, &rules("goldrush-slo")));

    // Every alert, by the name that the schema knows.
    let alerts = [names(&rules("goldrush")), names(&rules("goldrush-slo"))].concat();
    assert!(alerts.len() > 30);
    let [main, slo] = rendered(alerts.iter().map(|name| (name.clone(), json!(true))).collect());
    assert_eq!((names(&main), names(&slo)), (vec![], vec![]));
    assert!(slo.to_string().contains("goldrush:slo_burn:rate1h"), "what is recorded stays");
}

#[test]
#[ignore = "needs Helm"]
fn rules_and_dashboards_are_those_of_the_repository() {
    let objects = objects_of(json!({"prometheusRule": {"enabled": true}, "dashboards": {"enabled": true}}));
    assert_eq!(one(&objects, "PrometheusRule")["spec"], yaml(&file("alerts/goldrush.rules.yml"))[0]);
    let dashboards = objects.iter().filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
    let mut names = BTreeSet::new();
    for dashboard in dashboards {
        let (name, text) = dashboard["data"].as_object().unwrap().iter().next().unwrap();
        let source = file(&format!("dashboards/{}", name.strip_prefix("goldrush-").unwrap()));
        assert!(text.as_str().unwrap().trim_end() == source.trim_end(), "{name}");
        names.insert(name.clone());
        assert!(dashboard.to_string().len() < 262_144 - 10_000, "what `kubectl apply` annotates is limited: {name}");
    }
    assert_eq!(
        names.iter().collect::<Vec<_>>(),
        ["goldrush-exporter.json", "goldrush-fleet.json", "goldrush-pipeline.json"]
    );
}

#[test]
#[ignore = "needs Helm"]
fn what_is_generated_is_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("goldrush-exporter");
    let copy = copy.to_str().unwrap();
    say("cp", &["-r", CHART, copy]);
    say(&format!("{ROOT}/{TOOLS}/deploy/bin/python3"), &["deploy/helm/generate", copy]);
    let different = run(program("diff").args(["-r", CHART, copy]));
    let hint = "alerts, dashboards or values.yaml have changed: run deploy/helm/generate and commit what it writes";
    assert!(different.success, "{hint}\n{}", different.stdout);
    // Each value has a line that says what it is for.
    let schema: Value = serde_json::from_str(&file(&format!("{CHART}/values.schema.json"))).unwrap();
    let readme = file(&format!("{CHART}/README.md"));
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(readme.contains(&format!("\n| `{name}")), "{name}");
    }
}

#[test]
#[ignore = "needs Helm"]
fn the_notes_say_what_to_do_next() {
    let notes = |values: Value| {
        let it = rendered(CHART, &BTreeMap::from([("it".to_owned(), values)])).remove("it").unwrap();
        it["notes"].as_str().unwrap_or_else(|| panic!("{it}")).to_owned()
    };
    let first = notes(json!({}));
    for command in [
        "kubectl -n goldrush create secret generic goldrush-service-key --from-file=service-key=FILE\n",
        "helm -n goldrush test goldrush-exporter --logs\n",
        "kubectl -n goldrush port-forward deployment/goldrush-exporter 9877\n",
        "--set serviceMonitor.enabled=true",
        "--set prometheusRule.enabled=true",
    ] {
        assert!(first.contains(command), "{command}\n{first}");
    }
    let shards = notes(json!({"shards": 2, "podMonitor": {"enabled": true}, "accounts": [
        {"name": "a", "existingSecret": "keys", "key": "a"}, {"name": "b", "existingSecret": "keys", "key": "b"}]}));
    assert!(shards.contains("create secret generic keys --from-file=a=FILE --from-file=b=FILE\n"), "{shards}");
    assert!(shards.contains("statefulset/goldrush-exporter") && !shards.contains("serviceMonitor"), "{shards}");
}

#[test]
#[ignore = "needs Helm"]
fn the_package_holds_what_ships_and_works_alone() {
    let folder = tempfile::tempdir().unwrap();
    let archive = helm(&json!({"chart": CHART, "package": folder.path().to_str().unwrap()}));
    let archive = archive.as_str().unwrap();
    let listed = say("tar", &["-tzf", archive]);
    let packed: BTreeSet<&str> = listed.lines().map(|path| path.split_once('/').unwrap().1).collect();
    let committed = say("git", &["ls-files", CHART]);
    let committed = committed.lines().map(|path| path.strip_prefix(CHART).unwrap().trim_start_matches('/'));
    let ships: BTreeSet<&str> =
        committed.filter(|path| !path.starts_with("ci/") && *path != ".helmignore").chain([".helmignore"]).collect();
    assert_eq!(packed, ships);
    // The release's script packs the same without Helm; it packs what is committed.
    say("deploy/release/chart", &[folder.path().to_str().unwrap()]);
    let listed = say("tar", &["-tzf", archive]);
    let released: BTreeSet<&str> =
        listed.lines().filter(|path| !path.ends_with('/')).map(|path| path.split_once('/').unwrap().1).collect();
    assert_eq!(released, ships);
    let everything = json!({"prometheusRule": {"enabled": true}, "dashboards": {"enabled": true}});
    let cases = BTreeMap::from([("it".to_owned(), everything)]);
    assert_eq!(rendered(archive, &cases), rendered(CHART, &cases));
    // A release is kept in a Secret, of 1 MiB at most.
    let size = std::fs::metadata(archive).unwrap().len();
    assert!(size < 300_000, "{size}");
}

#[test]
#[ignore = "needs Helm"]
fn the_chart_installs_this_version() {
    let chart = yaml(&file(&format!("{CHART}/Chart.yaml"))).remove(0);
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"), "deploy/release/release publishes both");
}
