//! Just enough of Rust's lexer to know a name from a text or a comment.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// `::`
    Separator,
    Sign(char),
}

/// Tokens with their lines. Comments, strings, characters, lifetimes and numbers are left out.
pub(super) fn lex(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let (token, length) = token(rest, first);
            tokens.extend(token.map(|token| (line, token)));
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token(rest: &str, first: char) -> (Option<Token>, usize) {
    let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    match first {
        '0'..='9' => (None, word),
        _ if is_word(first) => (Some(Token::Name(rest[..word].to_owned())), word),
        ':' if rest.starts_with("::") => (Some(Token::Separator), 2),
        _ if first.is_whitespace() => (None, first.len_utf8()),
        _ => (Some(Token::Sign(first)), first.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment, string, character or lifetime that `rest` begins with.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let is_prefix = |prefix: &&str| {
        let literal = rest.strip_prefix(*prefix);
        literal.is_some_and(|literal| literal.starts_with(['"', '\'']) || prefix.ends_with('r') && is_raw(literal))
    };
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(is_prefix).unwrap_or("");
    let literal = &rest[prefix.len()..];
    let length = match literal.chars().next()? {
        '"' | '#' if prefix.ends_with('r') && is_raw(literal) => raw_string(literal),
        '"' => quoted(literal.chars().peekable(), '"'),
        '\'' => character(literal),
        _ => return None,
    };
    Some(prefix.len() + length)
}

fn is_raw(text: &str) -> bool {
    text.trim_start_matches('#').starts_with('"')
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let step = if rest.starts_with("/*") || rest.starts_with("*/") {
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        depth += i32::from(rest.starts_with("/*")) - i32::from(rest.starts_with("*/"));
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 1;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

fn quoted(mut chars: Peekable<Chars<'_>>, quote: char) -> usize {
    let mut length = chars.next().map_or(0, char::len_utf8);
    while let Some(c) = chars.next() {
        length += c.len_utf8();
        if c == quote {
            break;
        }
        if c == '\\' {
            length += chars.next().map_or(0, char::len_utf8);
        }
    }
    length
}

/// `'a'`, `'\n'`, or the lifetime `'a`.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(text.chars().peekable(), '\''),
        _ => 1 + text[1..].find(|c: char| !is_word(c)).unwrap_or(text.len() - 1),
    }
}
