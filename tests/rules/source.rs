//! A file of the repository, split into code, comment and test.

use std::path::Path;
use std::{fs, io};

/// A text file.
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
}

/// One line.
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: usize,
    /// The whole line.
    pub(crate) text: String,
    /// Whether it belongs to a test.
    pub(crate) is_test: bool,
}

impl Line {
    /// The line without its comment; empty for a line that is one.
    pub(crate) fn code(&self) -> &str {
        // A `//` in a string is cut as well: harmless for what the rules look for.
        self.text.split("//").next().unwrap_or("")
    }
}

impl Source {
    /// A file with this text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let lines = split(text, is_test_path(path));
        Self { path: path.to_owned(), lines }
    }

    /// Every text file under `root` that is part of the project.
    pub(crate) fn read_all(root: &Path) -> io::Result<Vec<Self>> {
        let mut sources = Vec::new();
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_dir() {
                    let skipped = ["target", ".git", "corpus", "artifacts", "node_modules"];
                    if !skipped.contains(&name.as_str()) {
                        pending.push(path);
                    }
                    continue;
                }
                let known = ["rs", "md", "toml", "sh", "c", "h", "txt"];
                let is_text = path.extension().is_some_and(|e| known.iter().any(|k| e == *k));
                if is_text || name == "run" {
                    let text = fs::read_to_string(&path)?;
                    let path = path.strip_prefix(root).expect("it is under the root");
                    sources.push(Self::new(&path.to_string_lossy(), &text));
                }
            }
        }
        mark_test_modules(&mut sources);
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(sources)
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its top module: `wire` of src/wire/header.rs. `None` outside the library's modules.
    pub(crate) fn module(&self) -> Option<&str> {
        let (module, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(module)
    }

    /// Its lines outside tests.
    pub(crate) fn product(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.is_test)
    }

    /// Where a finding is.
    pub(crate) fn at(&self, line: &Line) -> String {
        format!("{}:{}", self.path, line.number)
    }
}

fn is_test_path(path: &str) -> bool {
    !path.starts_with("src/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Marks the files whose modules are declared `#[cfg(test)] mod name;`.
fn mark_test_modules(sources: &mut [Source]) {
    let mut test_files = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let directory = match source.path.strip_suffix("/mod.rs") {
            Some(directory) => directory.to_owned(),
            None => source.path.trim_end_matches(".rs").to_owned(),
        };
        for line in source.lines.iter().filter(|line| line.is_test) {
            let declared = line.text.trim().strip_suffix(';').and_then(|l| l.split_once("mod "));
            if let Some((_, name)) = declared {
                test_files.push(format!("{directory}/{name}"));
            }
        }
    }
    let is_in = |path: &str| {
        let in_one = |file: &String| {
            path.strip_prefix(file.as_str()).is_some_and(|r| r == ".rs" || r.starts_with('/'))
        };
        test_files.iter().any(in_one)
    };
    for source in sources.iter_mut().filter(|source| is_in(&source.path)) {
        source.lines.iter_mut().for_each(|line| line.is_test = true);
    }
}

/// Splits `text` and marks the items under a `#[cfg(test)]`.
fn split(text: &str, all_test: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    // The indentation of the test item that we are in.
    let mut item: Option<usize> = None;
    for (index, text) in text.lines().enumerate() {
        let indentation = text.len() - text.trim_start().len();
        let code = text.trim();
        let opens =
            code.starts_with("#[cfg(") && code.contains("test") && !code.contains("not(test");
        if item.is_none() && opens {
            item = Some(indentation);
        }
        let is_test = all_test || item.is_some();
        lines.push(Line { number: index + 1, text: text.to_owned(), is_test });
        // rustfmt puts the end of an item at its indentation.
        let ends = code.starts_with('}') || code.ends_with(';') || code.ends_with("{}");
        if item == Some(indentation) && !opens && ends {
            item = None;
        }
    }
    lines
}
