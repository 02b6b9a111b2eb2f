//! The page at `/`: says what this is and where to go.

/// The page. The path is the operator's own, from the command line.
pub(super) fn page(telemetry_path: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let path = telemetry_path.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GoldRush Exporter</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }}</style>
</head>
<body>
<h1>GoldRush Exporter</h1>
<p>Prometheus exporter for GoldRush pipelines, version {version}.</p>
<ul>
<li><a href="{path}">Metrics</a></li>
<li><a href="/-/healthy">Healthy</a></li>
<li><a href="/-/ready">Ready</a></li>
</ul>
</body>
</html>
"#
    )
}
