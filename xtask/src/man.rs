//! A man page for each module: its flags from the command line that it parses, its arguments and examples from its
//! schemas.

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
