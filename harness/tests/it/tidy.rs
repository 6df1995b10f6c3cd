//! The rules of ARCHITECTURE.md that a test can keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use harness::scenario::{Choices, Scenario, library};

/// Longest room. Past it, a file has outgrown its name.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What each part of the harness may import of the others, by the table of ARCHITECTURE.md. `load` and `faults` never see
/// each other: they meet in the history, which makes the evidence independent. `checkers` sees neither.
fn may_import() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = page.split("| part | knows | imports |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let words = |cell: &str| -> Vec<String> {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
        words.filter(|word| word != "–").collect()
    };
    let mut may = BTreeMap::new();
    for row in rows {
        let [_, parts, _, imports, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        may.extend(words(parts).into_iter().map(|part| (part, words(imports))));
    }
    may
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Cargo's own folder says so, if not always by its tag; `target` is a room of ours, too.
        let cargos = ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|mark| path.join(mark).exists());
        if path.is_dir() && !cargos {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names that follow `crate::` in a file, also inside one level of braces (`use crate::{clock::Clock, plan};`).
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut first = true;
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(std::mem::take(&mut word));
                        first = true;
                    }
                    ':' if depth == 0 => first = false,
                    letter if depth == 0 && first && !letter.is_whitespace() => word.push(letter),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found
                .push(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

#[test]
fn the_harness_imports_only_downwards() {
    let may = may_import();
    let src = root().join("harness/src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let part = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if part == "lib" || part == "main" {
            continue;
        }
        let Some(allowed) = may.get(&part) else {
            wrong.push(format!("{part} is not in the list of parts"));
            continue;
        };
        for import in imports(&fs::read_to_string(file).unwrap()) {
            if import != part && may.contains_key(&import) && !allowed.contains(&import) {
                wrong.push(format!("{} imports {import}", relative.display()));
            }
            used.insert((part.clone(), import));
        }
    }
    let unused =
        may.iter().flat_map(|(part, imports)| imports.iter().map(move |it| (part.clone(), it.clone())));
    let unused = unused.filter(|pair| !used.contains(pair));
    wrong.extend(unused.map(|(part, import)| format!("the table says that {part} imports {import}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A new kind of fault must not compile until every part has said what it makes of it.
#[test]
fn no_match_over_faults_has_an_arm_for_the_rest() {
    let mut files = Vec::new();
    rust_files(&root().join("harness/src"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        let indent = |line: &str| line.len() - line.trim_start().len();
        // The indent of the arms of a match over faults, for as long as it lasts.
        let mut arms: Option<usize> = None;
        for (number, line) in production.lines().enumerate() {
            let code = line.trim_start();
            if code.is_empty() {
                continue;
            }
            let arm = code.trim_start_matches("| ").starts_with("FaultKind::");
            if arms.is_some_and(|at| indent(line) < at) {
                arms = None;
            }
            // An arm, and not the value of one.
            if arm && (code.starts_with('|') || code.contains("=>") || code.ends_with('{') && arms.is_none())
            {
                arms = Some(indent(line));
            }
            let rest = code.starts_with("_ =>") || code.starts_with("other =>");
            if rest && arms == Some(indent(line)) {
                wrong.push(format!("{}:{}: {code}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_harness_links_neither_node_nor_writer() {
    let manifest = fs::read_to_string(root().join("harness/Cargo.toml")).unwrap();
    assert!(!manifest.contains("chat-node") && !manifest.contains("chat-writer"));
}

#[test]
fn only_the_target_room_names_what_is_under_test() {
    let mut files = Vec::new();
    rust_files(&root().join("harness/src"), &mut files);
    files.retain(|file| !file.to_string_lossy().contains("src/target"));
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let named = ["chat-node", "chat-writer", "chat_node", "chat_writer"].map(|name| text.contains(name));
        if named.contains(&true) {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn goose_and_toxiproxy_each_stay_behind_one_file() {
    let mut files = Vec::new();
    rust_files(&root().join("harness/src"), &mut files);
    for (names, home) in [("use goose::", "load/goose.rs"), ("use toxiproxy_rust", "environment/proxies")] {
        let users: Vec<_> = files
            .iter()
            .filter(|file| fs::read_to_string(file).unwrap().contains(names))
            .filter(|file| !file.to_string_lossy().contains(home))
            .collect();
        assert!(users.is_empty(), "{names} outside {home}: {users:?}");
    }
}

#[test]
fn rooms_are_small_and_never_called_mod_or_utils() {
    let mut files = Vec::new();
    for part in ["reference", "harness/src", "benches"] {
        rust_files(&root().join(part), &mut files);
    }
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if ["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs"].contains(&name.as_str()) {
            wrong.push(format!("{}: a room is named by what it knows", file.display()));
        }
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_scenario_says_what_why_and_expect_and_can_be_planned() {
    let all = library::all().unwrap();
    assert!(all.len() >= 5);
    for found in all {
        let prose = library::prose(&found.text);
        for part in ["What:", "Why:", "Expect:"] {
            assert!(prose.contains(part), "{} opens without {part}", found.name);
        }
        let planned =
            Scenario::plan(&found.name, &found.name, &found.text, &Choices { seed: 1, ..Choices::default() });
        if let Err(error) = planned {
            panic!("{:?}", miette::Report::new(error));
        }
    }
}

/// Most terms that a reader of the code has to learn.
const TERMS_MAX: usize = 25;

#[test]
fn the_architecture_page_is_short_and_so_is_its_glossary() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() < 200);
    let glossary = page.split("## Words").nth(1).unwrap().split("\n## ").next().unwrap();
    let terms = glossary.lines().filter(|line| line.starts_with("| **")).count();
    assert!((1..=TERMS_MAX).contains(&terms), "{terms} terms");
}
