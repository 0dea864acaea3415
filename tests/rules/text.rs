//! Rules about what texts say: comments, documents, scripts.

use super::source::Source;

/// A document that a text names is there.
pub(crate) fn markdown_names(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    // The rules' own examples name what is not there.
    for source in sources.iter().filter(|source| source.path != "tests/tidy.rs") {
        for line in &source.lines {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            for word in line.text.split(|c: char| !is_part(c)) {
                let word = word.trim_end_matches('.').trim_start_matches("./");
                let Some(stem) = word.strip_suffix(".md") else { continue };
                if stem.is_empty() || stem.contains("NNNN") {
                    continue;
                }
                let is_it = |other: &Source| {
                    other.path == word || other.path.ends_with(&format!("/{word}"))
                };
                if !word.contains("://") && !sources.iter().any(is_it) {
                    let at = source.at(line);
                    findings.push(format!("{at}: there is no {word}: write it or name another"));
                }
            }
        }
    }
    findings
}

/// A decision that a text names by its number is there.
pub(crate) fn decision_names(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "tests/tidy.rs") {
        for line in &source.lines {
            for after in line.text.split("docs/adr/").skip(1) {
                let Some(number) = after.get(..4) else { continue };
                let is_it = |other: &Source| other.path.starts_with(&format!("docs/adr/{number}-"));
                if number.bytes().all(|b| b.is_ascii_digit()) && !sources.iter().any(is_it) {
                    let at = source.at(line);
                    findings.push(format!("{at}: there is no decision {number}: write it"));
                }
            }
        }
    }
    findings
}

/// Nothing refers to one developer's machine.
pub(crate) fn outside_paths(sources: &[Source]) -> Vec<String> {
    let outside = ["/home/", "/root/", "/work/", "../shared", "/Users/"];
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "tests/rules/text.rs") {
        for line in &source.lines {
            if let Some(path) = outside.iter().find(|path| line.text.contains(**path)) {
                let at = source.at(line);
                findings.push(format!("{at}: {path} is on no reader's machine: say it without"));
            }
        }
    }
    findings
}

/// Decisions are numbered once, and each has its parts.
pub(crate) fn decisions(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let decisions: Vec<_> =
        sources.iter().filter(|source| source.path.starts_with("docs/adr/")).collect();
    for decision in &decisions {
        let path = &decision.path;
        let number = path["docs/adr/".len()..].split('-').next().unwrap_or("");
        let has_number = |other: &&&Source| other.path.starts_with(&format!("docs/adr/{number}-"));
        if decisions.iter().filter(has_number).count() > 1 {
            findings.push(format!("{path}:1: number {number} is taken: use the next free one"));
        }
        let title = decision.lines.first().map_or("", |line| line.text.as_str());
        if !title.starts_with(&format!("# {number} ")) {
            findings.push(format!("{path}:1: its title starts with `# {number} `"));
        }
        for part in ["Context", "Decision", "Consequences"] {
            let heading = format!("## {part}");
            if !decision.lines.iter().any(|line| line.text == heading) {
                findings.push(format!("{path}:1: no part `{part}`: add `{heading}`"));
            }
        }
    }
    findings
}
