//! The server's grammar of the value.

use std::collections::HashSet;

use super::{Group, StandbyNames, StandbyNamesError, SyncRule};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Any,
    First,
    Name(String),
    Number(String),
    Sign(char),
}

struct Parser {
    /// Each with the character it begins at, from 1.
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
}

pub(super) fn parse(value: &str) -> Result<StandbyNames, StandbyNamesError> {
    if value.is_empty() {
        return Ok(StandbyNames::default());
    }
    let mut parser = Parser { tokens: scan(value)?, at: 0, end: value.chars().count() + 1 };
    let mut groups = vec![parser.group()?];
    while parser.at < parser.tokens.len() {
        // Only groups with a method can be combined, and a bare list has taken every comma already.
        if !matches!(groups[0].rule, SyncRule::Any(_) | SyncRule::First(_)) {
            return Err(parser.unexpected_error());
        }
        parser.expect_sign(',')?;
        let group = parser.group()?;
        if !matches!(group.rule, SyncRule::Any(_) | SyncRule::First(_)) {
            return Err(error(parser.column(), "only ANY groups can be combined"));
        }
        groups.push(group);
    }
    check(&groups)?;
    Ok(StandbyNames { groups })
}

/// `{ident_start}{ident_cont}*`, and no key word.
pub(super) fn is_bare_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(is_start) && letters.all(is_inside) && keyword(name).is_none()
}

/// The key word that this is, in whatever case: the server's scanner is made with `flex -i`.
fn keyword(word: &str) -> Option<Token> {
    match word {
        _ if word.eq_ignore_ascii_case("ANY") => Some(Token::Any),
        _ if word.eq_ignore_ascii_case("FIRST") => Some(Token::First),
        _ => None,
    }
}

/// What the server refuses though the grammar allows it.
fn check(groups: &[Group]) -> Result<(), StandbyNamesError> {
    /// `SYNC_REP_MAX_GROUPS`.
    const MAX_GROUPS: usize = 256;
    let combined = groups.len() > 1;
    let mut seen: HashSet<String> = HashSet::new();
    if groups.len() > MAX_GROUPS {
        return Err(error(1, &format!("more than {MAX_GROUPS} groups")));
    }
    for group in groups {
        if combined && !matches!(group.rule, SyncRule::Any(_)) {
            return Err(error(1, "only ANY groups can be combined"));
        }
        let star = group.members.iter().any(|name| name == "*");
        if star && (combined || group.members.len() > 1) {
            return Err(error(1, "* cannot stand beside other names"));
        }
        if star {
            continue;
        }
        if group.members.len() < group.count() as usize {
            return Err(error(1, "the number is greater than the number of names"));
        }
        for name in &group.members {
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(error(1, &format!("the name {name} stands there twice")));
            }
        }
    }
    Ok(())
}

impl Parser {
    fn group(&mut self) -> Result<Group, StandbyNamesError> {
        let number_first = matches!(
            self.tokens.get(self.at..self.at + 2),
            Some([(_, Token::Number(_)), (_, Token::Sign('('))])
        );
        let rule = match self.peek() {
            Some(Token::Any) => {
                self.at += 1;
                SyncRule::Any(self.number()?)
            }
            Some(Token::First) => {
                self.at += 1;
                SyncRule::First(self.number()?)
            }
            Some(Token::Number(_)) if number_first => SyncRule::Count(self.number()?),
            _ => return Ok(Group { rule: SyncRule::List, members: self.list()? }),
        };
        self.expect_sign('(')?;
        let members = self.list()?;
        self.expect_sign(')')?;
        Ok(Group { rule, members })
    }

    fn list(&mut self) -> Result<Vec<String>, StandbyNamesError> {
        let mut names = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Name(name) | Token::Number(name)) => names.push(name.clone()),
                _ => return Err(self.unexpected_error()),
            }
            self.at += 1;
            if self.peek() != Some(&Token::Sign(',')) {
                return Ok(names);
            }
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<u32, StandbyNamesError> {
        let Some(Token::Number(digits)) = self.peek() else { return Err(self.unexpected_error()) };
        let number = digits.parse::<u32>().map_err(|_| error(self.column(), "the number is too great"))?;
        self.at += 1;
        Ok(number)
    }

    fn expect_sign(&mut self, sign: char) -> Result<(), StandbyNamesError> {
        if self.peek() != Some(&Token::Sign(sign)) {
            return Err(self.unexpected_error());
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(column, _)| *column)
    }

    fn unexpected_error(&self) -> StandbyNamesError {
        let what = match self.peek() {
            None => "something is missing".to_owned(),
            Some(Token::Any) => "ANY is not expected".to_owned(),
            Some(Token::First) => "FIRST is not expected".to_owned(),
            Some(Token::Name(text) | Token::Number(text)) => format!("{text:?} is not expected"),
            Some(Token::Sign(sign)) => format!("{sign:?} is not expected"),
        };
        error(self.column(), &what)
    }
}

fn scan(value: &str) -> Result<Vec<(usize, Token)>, StandbyNamesError> {
    let letters: Vec<char> = value.chars().collect();
    let run = |from: usize, belongs: fn(char) -> bool| -> String {
        letters[from..].iter().copied().take_while(|&c| belongs(c)).collect()
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let start = at + 1;
        let token = match letter {
            ' ' | '\t' | '\n' | '\r' | '\x0c' | '\x0b' => {
                at += 1;
                continue;
            }
            '"' => {
                let (name, after) = scan_quoted(&letters, at)?;
                at = after;
                Token::Name(name)
            }
            '0'..='9' => {
                let digits = run(at, |c| c.is_ascii_digit());
                at += digits.len();
                Token::Number(digits)
            }
            '*' => {
                at += 1;
                Token::Name("*".into())
            }
            ',' | '(' | ')' => {
                at += 1;
                Token::Sign(letter)
            }
            first if is_start(first) => {
                let word = run(at, is_inside);
                at += word.chars().count();
                keyword(&word).unwrap_or(Token::Name(word))
            }
            other => return Err(error(start, &format!("{other:?} is not expected"))),
        };
        tokens.push((start, token));
    }
    Ok(tokens)
}

fn scan_quoted(letters: &[char], start: usize) -> Result<(String, usize), StandbyNamesError> {
    let mut name = String::new();
    let mut at = start + 1;
    while let Some(&letter) = letters.get(at) {
        at += 1;
        if letter == '"' {
            if letters.get(at) != Some(&'"') {
                return Ok((name, at));
            }
            at += 1;
        }
        name.push(letter);
    }
    Err(error(start + 1, "a quoted name does not end"))
}

fn is_start(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn is_inside(letter: char) -> bool {
    is_start(letter) || letter.is_ascii_digit() || matches!(letter, '-' | '.' | '/' | '$')
}

fn error(column: usize, message: &str) -> StandbyNamesError {
    StandbyNamesError { column, message: message.to_owned() }
}
