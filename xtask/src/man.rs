//! A man page for each module: its flags from the command line that it parses, its arguments and examples from its
//! schemas. And one for `og`, made of what its `--help` prints.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::docs::model::{Field, Page};
use crate::shell::Result;

/// The page in section 1.
pub fn page(command: &clap::Command, page: &Page) -> Result<Vec<u8>> {
    // Without a date, so that it is the same whenever it is made.
    let man = Man::new(command.clone()).date(" ").manual("opengauss-node");
    let mut out = Vec::new();
    let told = |e: std::io::Error| format!("the man page of {}: {e}", page.name);
    man.render_title(&mut out).map_err(told)?;
    man.render_name_section(&mut out).map_err(told)?;
    man.render_synopsis_section(&mut out).map_err(told)?;
    let mut more = Roff::new();
    more.control("SH", ["DESCRIPTION"]);
    more.text([roman(
        "Reads one JSON object of arguments from the file, or from standard input when none is named, acts on one openGauss \
         node, and prints one JSON object that says what changed. The same call again changes nothing.",
    )]);
    more.to_writer(&mut out).map_err(told)?;
    man.render_options_section(&mut out).map_err(told)?;
    let mut more = Roff::new();
    more.control("SH", ["ARGUMENTS"]);
    more.text([roman("The keys of the JSON object.")]);
    fields(&mut more, &page.args, "", true);
    more.control("SH", ["RESULT"]);
    fields(&mut more, &page.result, "", false);
    more.control("SH", ["EXIT STATUS"]);
    for (status, what) in
        [("0", "Done."), ("1", "Failed; error.kind says how."), ("2", "Unusable arguments.")]
    {
        more.control("TP", []);
        more.text([bold(status)]);
        more.text([roman(what)]);
    }
    more.control("SH", ["EXAMPLES"]);
    for example in &page.examples {
        more.control("TP", []);
        more.text([roman(format!("{}:", example.title))]);
        more.control("nf", []);
        more.text([roman(example.call.trim_end())]);
        more.control("fi", []);
    }
    more.to_writer(&mut out).map_err(told)?;
    Ok(out)
}

fn fields(out: &mut Roff, fields: &[Field], place: &str, args: bool) {
    for field in fields {
        let here = format!("{place}{}", field.name);
        let kind = if field.choices.is_empty() {
            format!("{}{}", if field.list { "list of " } else { "" }, field.kind.name())
        } else {
            field.choices.join(", ")
        };
        let default = field.default.as_ref().map_or_else(String::new, |d| format!(" [{d}]"));
        let required = if args && field.required { " (required)" } else { "" };
        out.control("TP", []);
        out.text([bold(&here), roman(" "), italic(kind), roman(format!("{default}{required}"))]);
        out.text([roman(field.description.join(" ").replace('`', ""))]);
        let list = if field.list { "[]" } else { "" };
        self::fields(out, &field.fields, &format!("{here}{list}."), args);
    }
}

/// The page of `og`; `help` returns what `og WORDS --help` prints.
pub fn og_page(help: &dyn Fn(&[&str]) -> Result<String>) -> Result<Vec<u8>> {
    let main = HelpText::parse(&help(&[])?);
    let mut page = Roff::new();
    page.control("TH", ["og", "1", " ", concat!("og ", env!("CARGO_PKG_VERSION")), "opengauss-node"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("og - {}", main.about))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("og"), roman(" WORKFLOW [NODE...] [OPTIONS]")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Runs the workflows on the nodes of a cluster over ssh, which asks for no password. The cluster is described in \
         cluster.json or cluster.yml, or read from files of openGauss or from an Ansible inventory (-f). Each workflow that \
         changes something takes -n, which changes nothing and says what would be changed.",
    )]);
    let commands = main.sections.iter().find(|section| section.title == "Commands");
    let commands = commands.ok_or("og --help lists no commands")?;
    page.control("SH", ["COMMANDS"]);
    for (name, _) in &commands.entries {
        let own = HelpText::parse(&help(&[name.as_str()])?);
        page.control("SS", [own.usage.as_str()]);
        page.text([roman(format!("{}.", own.about.trim_end_matches('.')))]);
        for text in &own.end {
            page.control("PP", []);
            page.text([roman(text.clone())]);
        }
        for section in &own.sections {
            page.control("PP", []);
            page.text([italic(format!("{}:", section.title))]);
            for (word, about) in &section.entries {
                page.control("TP", []);
                page.text([bold(word)]);
                page.text([roman(about.replace('`', ""))]);
            }
        }
    }
    page.control("SH", ["EXIT STATUS"]);
    for text in &main.end {
        page.text([roman(text.clone())]);
    }
    page.control("SH", ["FILES"]);
    for (file, about) in [
        ("cluster.json, cluster.yml", "The cluster, in the current folder."),
        (
            "~/.config/opengauss-node, /etc/opengauss-node",
            "Where --cluster NAME looks for NAME.json or NAME.yml.",
        ),
        ("~/.local/state/opengauss-node/runs", "The records of runs, which og history shows."),
    ] {
        page.control("TP", []);
        page.text([bold(file)]);
        page.text([roman(about)]);
    }
    page.control("SH", ["SEE ALSO"]);
    let names: Vec<_> = og_registry::PROGRAMS.iter().map(|program| format!("{}(1)", program.name)).collect();
    page.text([roman(names.join(", "))]);
    let mut out = Vec::new();
    page.to_writer(&mut out).map_err(|e| format!("the man page of og: {e}"))?;
    Ok(out)
}

/// What `--help` prints, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct HelpText {
    about: String,
    usage: String,
    sections: Vec<HelpSection>,
    /// The lines at the end.
    end: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct HelpSection {
    title: String,
    /// A word or option, and what is said of it.
    entries: Vec<(String, String)>,
}

impl HelpText {
    /// From how far on a line goes on with the text of the line before.
    const TEXT_INDENT: usize = 12;

    fn parse(text: &str) -> Self {
        let mut it = Self::default();
        for line in text.lines() {
            let (indent, words) = (line.len() - line.trim_start().len(), line.trim());
            if words.is_empty() {
                continue;
            }
            if let Some(usage) = line.strip_prefix("Usage: ") {
                usage.clone_into(&mut it.usage);
            } else if it.usage.is_empty() {
                it.about =
                    if it.about.is_empty() { words.to_owned() } else { format!("{} {words}", it.about) };
            } else if indent == 0 && words.ends_with(':') {
                let title = words.trim_end_matches(':').to_owned();
                it.sections.push(HelpSection { title, entries: Vec::new() });
            } else if indent == 0 {
                it.end.push(words.to_owned());
            } else if let Some(section) = it.sections.last_mut() {
                let before = section.entries.last_mut().filter(|_| indent >= Self::TEXT_INDENT);
                if let Some((_, about)) = before {
                    let joined = format!("{about} {words}");
                    joined.trim_start().clone_into(about);
                } else {
                    let (word, about) = words.split_once("  ").unwrap_or((words, ""));
                    section.entries.push((word.to_owned(), about.trim_start().to_owned()));
                }
            }
        }
        it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_taken_apart() {
        let text = "Do it\n\nUsage: og do [OPTIONS] <NODE>...\n\nArguments:\n  <NODE>...  The nodes\n\nOptions:\n  -f, --file <FILE>  The \
                    file\n      --long <N>     First\n                     second\n\nThe end.\n";
        let entry = |word: &str, about: &str| (word.to_owned(), about.to_owned());
        let section = |title: &str, entries| HelpSection { title: title.to_owned(), entries };
        assert_eq!(
            HelpText::parse(text),
            HelpText {
                about: "Do it".to_owned(),
                usage: "og do [OPTIONS] <NODE>...".to_owned(),
                sections: vec![
                    section("Arguments", vec![entry("<NODE>...", "The nodes")]),
                    section(
                        "Options",
                        vec![entry("-f, --file <FILE>", "The file"), entry("--long <N>", "First second")]
                    ),
                ],
                end: vec!["The end.".to_owned()],
            }
        );
    }
}
