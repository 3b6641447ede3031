// SPDX-License-Identifier: MIT

//! What the documents point at is there: a promise in a table names the scenario that keeps it.

use std::fs;
use std::path::{Path, PathBuf};

/// The README and everything in docs/.
fn documents(root: &Path) -> Vec<PathBuf> {
    let docs = fs::read_dir(root.join("docs")).expect("docs/");
    let mut all = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    all.extend(docs.map(|entry| entry.expect("an entry").path()));
    all.retain(|path| path.extension().is_some_and(|end| end == "md"));
    all
}

/// Where the links of a text lead, those to other places of the net left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://"))
}

#[test]
fn every_link_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for document in documents(&root) {
        let text = fs::read_to_string(&document).expect("a document");
        let place = document.parent().expect("a directory");
        for link in links(&text) {
            seen += 1;
            assert!(
                place.join(link).exists(),
                "{}: {link} is not there",
                document.display()
            );
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

#[test]
fn every_scenario_that_is_linked_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for document in documents(&root) {
        let text = fs::read_to_string(&document).expect("a document");
        for link in links(&text).filter(|link| link.contains("scenarios/src/scenarios/")) {
            let name = Path::new(link).file_stem().and_then(|name| name.to_str());
            assert!(
                abuse_scenarios::scenarios::ALL
                    .iter()
                    .any(|scenario| Some(scenario.name) == name),
                "{}: {link} is in no list",
                document.display()
            );
        }
    }
}
