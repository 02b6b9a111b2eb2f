//! The documentation says what is so: its tables are the tables in the code, its settings are the settings, its links and paths
//! lead somewhere, and its commands are commands.

#[path = "readme/commands.rs"]
mod commands;
mod common;
#[path = "readme/links.rs"]
mod links;
#[path = "readme/tables.rs"]
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Api, Exporter};
use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::thresholds::Threshold;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A page of the documentation.
struct Page {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let text =
            std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.into(), text }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The code blocks of this language, without the indentation of the fence.
    fn blocks(&self, language: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, Vec<&str>)> = None;
        for line in self.text.lines() {
            let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
            match (&mut open, rest.strip_prefix("```")) {
                (None, Some(info)) => open = Some((if info == language { indent } else { "other" }, Vec::new())),
                (Some(_), Some("")) => {
                    let (indent, lines) = open.take().unwrap();
                    if indent != "other" {
                        blocks.push(lines.join("\n") + "\n");
                    }
                }
                (Some((indent, lines)), _) => lines.push(line.strip_prefix(*indent).unwrap_or(line)),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code block does not end", self.name());
        blocks
    }

    /// What is not in a code block.
    fn prose(&self) -> String {
        let mut inside = false;
        let prose = self.text.lines().filter(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        });
        prose.collect::<Vec<_>>().join("\n")
    }
}

/// Every page of the repository, the chart's and the runbooks included.
fn pages() -> Vec<Page> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            let is_foreign = name == "target" || name == "node_modules" || (name.starts_with('.') && name != ".github");
            if kind.is_dir() && !is_foreign {
                walk(&entry.path(), found);
            } else if kind.is_file() && name.ends_with(".md") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(ROOT), &mut found);
    found.sort_unstable();
    let pages = found.iter().map(|path| Page::read(path.strip_prefix(ROOT).unwrap().to_str().unwrap()));
    pages.collect()
}

/// What users read first: README.md and docs/.
fn documentation() -> Vec<Page> {
    let documentation =
        pages().into_iter().filter(|page| page.path == Path::new("README.md") || page.path.starts_with("docs"));
    documentation.collect()
}

#[test]
fn the_readme_is_short() {
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines: what is not about the first five minutes belongs into docs/");
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let api = Api::healthy(1);
    let exposition =
        Exporter::of(&api).until("a pipeline", |exposition| exposition.0.contains("goldrush_pipeline_phase"));
    let shown = exposition.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let known: BTreeSet<&str> = shown.chain(FAMILIES.iter().map(|family| family.name)).collect();
    let metrics = Page::read("docs/metrics.md").text;
    for name in known.iter().filter(|name| !name.starts_with("process_")) {
        assert!(metrics.contains(&format!("`{name}`")), "docs/metrics.md: {name} is missing");
    }
    for page in documentation() {
        let words = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("goldrush_") && !word.ends_with('_')) {
            let name = word.strip_suffix("_bucket").or(word.strip_suffix("_count")).unwrap_or(word);
            assert!(known.contains(name), "{} names {word}, which is not a metric", page.name());
        }
    }
}

#[test]
fn the_example_configuration_is_accepted_and_has_every_setting() {
    let page = Page::read("docs/configuration.md");
    let yaml = page.blocks("yaml").into_iter().find(|block| block.starts_with("api:")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "sk_of_prod").unwrap();
    let file = folder.path().join("goldrush.yml");
    std::fs::write(&file, yaml.replace("/run/secrets/goldrush-prod", key.to_str().unwrap())).unwrap();
    let staging = common::environment(&[("GOLDRUSH_STAGING_SERVICE_KEY", "sk_of_staging")]);
    let ended = common::run(&["--config.check", "--config.file", file.to_str().unwrap()], &staging);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    for setting in ended.stdout.lines().filter_map(|line| line.trim_start_matches([' ', '-']).split(':').next()) {
        assert!(yaml.contains(&format!("{setting}:")), "the setting {setting} is missing");
    }
    // What `--config.check` prints of policies is only what they set.
    for threshold in Threshold::ALL {
        assert!(yaml.contains(&format!(" {threshold}:")), "the setting policies[].{threshold} is missing");
    }
}

#[test]
fn every_yaml_block_is_yaml() {
    for page in pages() {
        for block in page.blocks("yaml") {
            let parsed = yaml_rust2::YamlLoader::load_from_str(&block);
            assert!(parsed.is_ok_and(|documents| !documents.is_empty()), "{}: not YAML:\n{block}", page.name());
        }
    }
}

/// Words that make a sentence hard to read: who does what is left open.
const VAGUE: &[&str] = &["whoever", "nobody", "somebody", "anybody", "tells of", "of its own", "is no more than"];

#[test]
fn the_documentation_names_who_does_what() {
    let pages = pages().into_iter();
    let own = |page: &Page| {
        ["README.md", "CHANGELOG.md"].map(Path::new).contains(&page.path.as_path())
            || ["docs", "alerts", ".github", "dashboards"].iter().any(|folder| page.path.starts_with(folder))
    };
    for page in pages.filter(own) {
        let text = page.prose().to_lowercase();
        let vague = VAGUE.iter().find(|word| text.contains(**word));
        assert_eq!(vague, None, "{}", page.name());
    }
}

#[test]
fn every_entry_of_the_changelog_says_what_it_is() {
    let changelog = Page::read("CHANGELOG.md").text;
    for section in changelog.split("\n## ").skip(1) {
        let kinds = ["[CHANGE]", "[FEATURE]", "[ENHANCEMENT]", "[BUGFIX]"];
        let entries = section.lines().filter_map(|line| line.strip_prefix("- "));
        let order = entries.map(|entry| {
            let kind = kinds.iter().position(|kind| entry.starts_with(&format!("{kind} ")));
            kind.unwrap_or_else(|| panic!("not one of {kinds:?}: {entry}"))
        });
        assert!(order.is_sorted(), "{}: the order is {kinds:?}", section.lines().next().unwrap());
    }
}
