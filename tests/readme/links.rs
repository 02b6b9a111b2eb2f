//! Every link leads somewhere, with its anchor, and every path that a page names exists.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Page, ROOT, pages};

/// Where the repository is published. Runbooks and packages link to it absolutely.
const PUBLISHED: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &Page) -> BTreeSet<String> {
    let prose = page.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
        normal
    })
}

/// The links of these pages that lead nowhere.
fn dead(pages: &[Page]) -> Vec<String> {
    let mut dead = Vec::new();
    for page in pages {
        for link in page.prose().split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match target.strip_prefix(PUBLISHED) {
                Some(path) => PathBuf::from(path),
                None if target.contains("://") => continue,
                None if target.is_empty() => page.path.clone(),
                None => normal(&page.path.parent().unwrap().join(target)),
            };
            let has_anchor =
                anchor.is_empty() || pages.iter().any(|other| other.path == path && anchors(other).contains(anchor));
            if !Path::new(ROOT).join(&path).exists() || !has_anchor {
                dead.push(format!("{}: {link}", page.name()));
            }
        }
    }
    dead
}

#[test]
fn every_link_leads_somewhere() {
    assert_eq!(dead(&pages()), Vec::<String>::new());

    // The check itself can fail.
    let text =
        "# A title\n[](#a-title) [](#no) [](../README.md) [](no.md) [](../LICENSE#no) [](https://example.com/no)\n";
    let published = format!("[]({PUBLISHED}LICENSE) []({PUBLISHED}no)\n```sh\n[](in-a-block)\n```\n");
    let page = Page { path: "docs/drill.md".into(), text: text.to_owned() + &published };
    let no = format!("docs/drill.md: {PUBLISHED}no");
    assert_eq!(
        dead(&[page]),
        ["docs/drill.md: #no", "docs/drill.md: no.md", "docs/drill.md: ../LICENSE#no", no.as_str()]
    );
}

#[test]
fn the_repository_and_its_releases_have_one_address() {
    let repository = env!("CARGO_PKG_REPOSITORY");
    let name = repository.strip_prefix("https://github.com/").unwrap();
    let readme = Page::read("README.md").text;
    assert!(readme.contains(&format!("({repository}/releases)")), "README.md does not say where releases are");
    for page in pages() {
        for link in page.text.split("https://github.com/").skip(1) {
            let is_ours = link.split('/').nth(1).is_some_and(|project| project.starts_with("goldrush-exporter"));
            assert!(!is_ours || link.starts_with(name), "{}: {}", page.name(), link.lines().next().unwrap());
        }
    }
}

/// The folders of the repository's root.
const FOLDERS: &[&str] =
    &["src", "tests", "docs", "alerts", "dashboards", "deploy", "benches", "fuzz", "examples", ".github", ".ci"];

/// Whether a path of the repository exists; `*` in its last part is any text.
pub fn exists(path: &str) -> bool {
    let path = Path::new(ROOT).join(path);
    let Some((before, after)) = path.file_name().and_then(|name| name.to_str()?.split_once('*')) else {
        return path.exists();
    };
    let fits =
        |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
    let folder = std::fs::read_dir(path.parent().unwrap());
    folder.is_ok_and(|mut entries| entries.any(|entry| fits(entry.unwrap().file_name().to_str().unwrap())))
}

/// Whether this is written as a path of the repository.
pub fn is_path(word: &str) -> bool {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-*".contains(c));
    is_plain && word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder))
}

/// What users and tools make in these places.
const MADE: &[&str] = &["deploy/release/minisign.pub", "deploy/compose/service-key", "fuzz/artifacts", "fuzz/corpus"];

/// Whether something is there only after somebody has made it.
pub fn is_made(path: &str) -> bool {
    MADE.iter().any(|made| path.starts_with(made))
}

/// Forms, owners and workflows of the host, by path.
fn host_files() -> Vec<(PathBuf, String)> {
    let folders = ["", "workflows", "ISSUE_TEMPLATE"].map(|folder| Path::new(ROOT).join(".github").join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_path_of_the_hosts_files_exists() {
    let mut seen = 0;
    for (file, text) in host_files() {
        let is_owners = file.ends_with("CODEOWNERS");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for word in lines.flat_map(|line| line.split([' ', '"', '\'', '`', '=', '(', ')'])) {
            let path = if is_owners { word.strip_prefix('/').unwrap_or_default() } else { word };
            let path = path.trim_end_matches(['/', '.', ',']);
            if is_path(path) || (is_owners && !path.is_empty()) {
                assert!(exists(path) || is_made(path), "{}: {word}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The paths in code spans that do not exist.
fn missing(pages: &[Page]) -> Vec<String> {
    let mut missing = Vec::new();
    for page in pages {
        // The folder of a page is where its reader is: `provisioning/…` in dashboards/README.md.
        let prose = page.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        for word in spans.flat_map(str::split_whitespace).filter(|word| is_path(word)) {
            let beside = page.path.parent().unwrap().join(word);
            // `fuzz/seeds/TARGET`
            let placeholder = word.rsplit_once('/').filter(|(_, name)| name.chars().all(|c| c.is_ascii_uppercase()));
            let word = placeholder.map_or(word, |(folder, _)| folder);
            if !exists(word) && !exists(beside.to_str().unwrap()) && !is_made(word) {
                missing.push(format!("{}: {word}", page.name()));
            }
        }
    }
    missing
}

#[test]
fn every_path_that_is_named_exists() {
    assert_eq!(missing(&pages()), Vec::<String>::new());
    let text =
        "`src/lib.rs` `alerts/*.yml` `docs/no.md --flag` `tests/*.no` `path/of/something` `README.md`\n".to_owned();
    let page = Page { path: "page.md".into(), text };
    assert_eq!(missing(&[page]), ["page.md: docs/no.md", "page.md: tests/*.no"]);
}
