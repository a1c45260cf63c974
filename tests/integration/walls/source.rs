//! Reads just enough Rust to know which paths a file names, where, and which of them are test code.

use std::collections::BTreeSet;

use super::lexer::{Token, lex};

/// A path of at least two segments, or the name of a macro that is called: `["todo", "!"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
    /// Within an item that is marked `#[cfg(test)]`.
    pub(super) test: bool,
}

/// What a file says of others.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Every path; those that begin with `crate`, `self` or `super` are resolved: `["crate", "model", "Task"]`.
    pub(super) paths: Vec<Path>,
    /// Single names, for those that mean the same wherever they come from.
    pub(super) names: Vec<Path>,
    /// The modules that the file declares; one may be named like a crate.
    pub(super) modules: BTreeSet<String>,
    /// Those in files of their own that are test code.
    pub(super) test_modules: BTreeSet<String>,
}

/// Reads a file whose module is `module`: `["lifecycle", "run"]` for `src/lifecycle/run.rs`.
pub(super) fn read(text: &str, module: &[&str]) -> Source {
    let mut reader = Reader {
        tokens: lex(text),
        next: 0,
        blocks: Vec::new(),
        module: module.iter().map(|part| (*part).to_owned()).collect(),
        source: Source::default(),
    };
    reader.run();
    reader.source
}

/// A block that is open.
struct Block {
    test: bool,
    /// Whether it is the body of an inline module, which `super` climbs out of.
    module: bool,
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
    blocks: Vec<Block>,
    module: Vec<String>,
    source: Source,
}

impl Reader {
    fn run(&mut self) {
        // Whether the item that comes is marked, and the module whose body or semicolon comes.
        let (mut marked, mut module) = (false, None);
        // A semicolon within brackets, as in `[u8; 4]`, ends no item.
        let mut brackets = 0;
        while let Some(token) = self.peek(0).cloned() {
            if self.at_test_mark() {
                marked = true;
                self.next += TEST_MARK.len();
                continue;
            }
            match &token {
                Token::Name(name) if name == "mod" => {
                    self.next += 1;
                    module = self.name();
                    self.source.modules.extend(module.clone());
                    continue;
                }
                // They belong to no path: what follows in `use ::tokio` is one of its own.
                Token::Name(name) if LEADING.contains(&name.as_str()) => {}
                Token::Name(_) => {
                    self.path(marked);
                    continue;
                }
                Token::Sign('{') => {
                    self.blocks.push(Block { test: marked, module: module.is_some() });
                    self.module.extend(module.take());
                    marked = false;
                }
                Token::Sign('}') if self.blocks.pop().is_some_and(|block| block.module) => {
                    self.module.pop();
                }
                Token::Sign('(' | '[') => brackets += 1,
                Token::Sign(')' | ']') => brackets -= 1,
                Token::Sign(';') if brackets == 0 => {
                    if let (true, Some(name)) = (marked, module.take()) {
                        self.source.test_modules.insert(name);
                    }
                    marked = false;
                }
                _ => {}
            }
            self.next += 1;
        }
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.next + ahead).map(|(_, token)| token)
    }

    fn at_test_mark(&self) -> bool {
        TEST_MARK.iter().enumerate().all(|(at, expected)| match self.peek(at) {
            Some(Token::Name(name)) => name == expected,
            Some(Token::Sign(sign)) => expected.chars().eq([*sign]),
            _ => false,
        })
    }

    fn name(&mut self) -> Option<String> {
        let Some(Token::Name(name)) = self.peek(0).cloned() else { return None };
        self.next += 1;
        Some(name)
    }

    /// Reads a path, or a `use` tree's, from a name on.
    fn path(&mut self, marked: bool) {
        let test = marked || self.blocks.iter().any(|block| block.test);
        self.tree(Vec::new(), test);
    }

    fn tree(&mut self, mut segments: Vec<String>, test: bool) {
        let line = self.tokens.get(self.next).map_or(0, |(line, _)| *line);
        loop {
            match self.peek(0).cloned() {
                Some(Token::Name(name)) => {
                    self.next += 1;
                    segments.push(name);
                }
                Some(Token::Sign('*')) => {
                    self.next += 1;
                    segments.push("*".to_owned());
                }
                Some(Token::Sign('{')) if !segments.is_empty() => return self.group(&segments, test),
                _ => break,
            }
            match self.peek(0) {
                Some(Token::Separator) => self.next += 1,
                Some(Token::Sign('!')) if self.peek(1) != Some(&Token::Sign('=')) => {
                    segments.push("!".to_owned());
                    break;
                }
                _ => break,
            }
        }
        // A room under another name would be walked into unseen.
        if segments.len() == 2 && self.peek(0) == Some(&Token::Name("as".to_owned())) {
            segments.push("as".to_owned());
        }
        self.found(Path { line, segments, test });
    }

    /// `{a, b::c as d}` after a prefix. In an expression a brace follows a path without a separator, so it never gets here.
    fn group(&mut self, prefix: &[String], test: bool) {
        self.next += 1;
        loop {
            match self.peek(0) {
                None => return,
                Some(Token::Sign('}')) => {
                    self.next += 1;
                    return;
                }
                Some(Token::Name(name)) if name == "as" => self.next += 2,
                Some(Token::Name(_) | Token::Sign('*')) => self.tree(prefix.to_vec(), test),
                Some(_) => self.next += 1,
            }
        }
    }

    fn found(&mut self, path: Path) {
        let Path { line, mut segments, test } = path;
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let Some(last) = segments.last().cloned() else { return };
        self.source.names.push(Path { line, segments: vec![last], test });
        if let Some(segments) = self.resolved(&segments) {
            self.source.paths.push(Path { line, segments, test });
        }
    }

    /// The path from the crate's root, where it is relative; `None` for a lone name.
    fn resolved(&self, segments: &[String]) -> Option<Vec<String>> {
        let climbs = segments.iter().take_while(|segment| *segment == "super").count();
        let relative = climbs > 0 || (segments.len() > 1 && segments[0] == "self");
        if relative {
            let base = self.module.len().saturating_sub(climbs);
            let rest = segments.iter().skip_while(|segment| ["self", "super"].contains(&segment.as_str()));
            let root = "crate".to_owned();
            return Some([root].into_iter().chain(self.module[..base].iter().cloned()).chain(rest.cloned()).collect());
        }
        (segments.len() > 1).then(|| segments.to_vec())
    }
}

/// Keywords that a path with a leading `::` may follow.
const LEADING: [&str; 12] =
    ["as", "const", "dyn", "else", "for", "impl", "in", "move", "mut", "return", "use", "where"];

const TEST_MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
