//! Puts many mutants of one package into its sources at once, each behind a question that is
//! answered when the program runs: `mutant::on(ID)`. One build then serves all of them.
//!
//!     instrument_mutants ROOT MUTANTS [ID...] > MAP
//!
//! MUTANTS is what `cargo mutants --list --json` says, whose places in it are the IDs, from 1. The
//! files below ROOT are rewritten in place; the IDs that are given are left out. MAP is JSON:
//! `alone`, the IDs that cannot be built in (in constants), `bad`, those that cannot compile
//! (another operator beside `let`), and for each file `lines`, where a mutant's own text stands,
//! and `sites`, where it would be seen, each `[ID, first line, last line]`: an error of the
//! compiler there means that it does not compile.
//!
//! The `mutant` module is not written here: what it looks like depends on the package.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use proc_macro2::{LineColumn, Span};
use serde_json::{Value, json};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// What can be changed at a place, and the byte offsets that matter for it.
#[derive(Clone)]
enum Site {
    Binary {
        left: Range<usize>,
        right: Range<usize>,
    },
    Unary {
        operand: Range<usize>,
    },
    /// `range` is the condition after `if`.
    Guard,
    /// An arm without a guard: `range` is empty, after its pattern.
    Arm,
    /// The literal of a structure that takes its rest from another value; a replacement is whole.
    Structure,
    /// `range` is empty, behind the opening brace.
    Body,
}

#[derive(Clone)]
struct Found {
    range: Range<usize>,
    site: Site,
}

/// Where each line begins, to turn lines and columns in characters into bytes.
struct Lines<'s> {
    text: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    fn new(text: &'s str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { text, starts: starts.collect() }
    }

    /// `line` from 1, `column` from 0.
    fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.starts[line - 1];
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    fn at(&self, place: LineColumn) -> usize {
        self.offset(place.line, place.column)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.at(span.start())..self.at(span.end())
    }
}

/// Finds the sites of a file, by the offset at which a mutant of their kind begins.
struct Finder<'s> {
    lines: &'s Lines<'s>,
    operators: HashMap<usize, Found>,
    guards: HashMap<usize, Found>,
    arms: HashMap<usize, Found>,
    bodies: HashMap<usize, Found>,
    /// Of fields: with the literal without the field.
    fields: HashMap<usize, (Found, String)>,
    /// Where `&&` stands beside a `let`: nothing else may.
    lets: HashSet<usize>,
}

impl Finder<'_> {
    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let begin = self.lines.at(block.brace_token.span.open().end());
        let found = Found { range: begin..begin, site: Site::Body };
        self.bodies.insert(self.lines.at(first.span().start()), found);
    }
}

fn has_let(condition: &syn::Expr) -> bool {
    match condition {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, it: &'ast syn::ExprBinary) {
        if !has_let(&it.left) && !has_let(&it.right) {
            let (left, right) =
                (self.lines.range(it.left.span()), self.lines.range(it.right.span()));
            let range = left.start..right.end;
            let found = Found { range, site: Site::Binary { left, right } };
            self.operators.insert(self.lines.at(it.op.span().start()), found);
        } else {
            self.lets.insert(self.lines.at(it.op.span().start()));
        }
        visit::visit_expr_binary(self, it);
    }

    fn visit_expr_unary(&mut self, it: &'ast syn::ExprUnary) {
        let begin = self.lines.at(it.op.span().start());
        let operand = self.lines.range(it.expr.span());
        let range = begin..operand.end;
        let found = Found { range, site: Site::Unary { operand } };
        self.operators.insert(begin, found);
        visit::visit_expr_unary(self, it);
    }

    fn visit_expr_struct(&mut self, it: &'ast syn::ExprStruct) {
        if let Some(dots) = &it.dot2_token {
            let whole = self.lines.range(it.span());
            let starts = it.fields.iter().map(|field| self.lines.at(field.span().start()));
            let starts: Vec<_> = starts.chain([self.lines.at(dots.span().start())]).collect();
            for field in starts.windows(2) {
                let (before, after) = (whole.start..field[0], field[1]..whole.end);
                let text = [&self.lines.text[before], &self.lines.text[after]].concat();
                let found = Found { range: whole.clone(), site: Site::Structure };
                self.fields.insert(field[0], (found, text));
            }
        }
        visit::visit_expr_struct(self, it);
    }

    fn visit_arm(&mut self, it: &'ast syn::Arm) {
        let begin = self.lines.at(it.span().start());
        match &it.guard {
            Some((_, guard)) if has_let(guard) => {}
            Some((_, guard)) => {
                let range = self.lines.range(guard.span());
                let found = Found { range, site: Site::Guard };
                self.guards.insert(found.range.start, found.clone());
                self.arms.insert(begin, found);
            }
            None => {
                let end = self.lines.at(it.pat.span().end());
                self.arms.insert(begin, Found { range: end..end, site: Site::Arm });
            }
        }
        visit::visit_arm(self, it);
    }

    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        self.body(&it.block);
        visit::visit_item_fn(self, it);
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        self.body(&it.block);
        visit::visit_impl_item_fn(self, it);
    }

    fn visit_trait_item_fn(&mut self, it: &'ast syn::TraitItemFn) {
        if let Some(block) = &it.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, it);
    }

    // What is computed when the program is compiled is not asked when it runs.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_angle_bracketed_generic_arguments(
        &mut self,
        _: &'ast syn::AngleBracketedGenericArguments,
    ) {
    }
    fn visit_expr_repeat(&mut self, it: &'ast syn::ExprRepeat) {
        self.visit_expr(&it.expr);
    }
}

struct Mutant {
    id: u64,
    genre: String,
    replacement: String,
}

/// A site and what may be changed there.
struct Edit {
    found: Found,
    mutants: Vec<Mutant>,
}

struct Writer<'s> {
    text: &'s str,
    /// In the order of the file; of two that begin at one place, the outer one first.
    edits: Vec<Edit>,
    out: String,
    line: usize,
    lines: Vec<Value>,
    sites: Vec<Value>,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.line += text.matches('\n').count();
        self.out.push_str(text);
    }

    /// Text of one mutant, on lines of its own.
    fn alone(&mut self, id: u64, before: &str, text: &str, after: &str) {
        self.put(&format!("{before} crate::mutant::on({id}) {after}\n"));
        let first = self.line;
        self.put(text);
        self.lines.push(json!([id, first, self.line]));
        self.put("\n");
    }

    /// Writes a part of the file, from the edit at `next` on; returns the first edit behind it.
    fn write(&mut self, part: Range<usize>, mut next: usize) -> usize {
        let mut at = part.start;
        while next < self.edits.len() && self.edits[next].found.range.start < part.end
            || next < self.edits.len() && self.edits[next].found.range == (part.end..part.end)
        {
            let range = self.edits[next].found.range.clone();
            let before = &self.text[at..range.start];
            self.put(before);
            next = self.edit(next);
            at = range.end;
        }
        let rest = &self.text[at..part.end];
        self.put(rest);
        next
    }

    fn edit(&mut self, number: usize) -> usize {
        let mutants = std::mem::take(&mut self.edits[number].mutants);
        let range = self.edits[number].found.range.clone();
        let site = self.edits[number].found.site.clone();
        let mut next = number + 1;
        let first = self.line;
        match site {
            Site::Body => {
                for Mutant { id, replacement, .. } in &mutants {
                    self.alone(*id, "if", &format!("return {replacement};"), "{");
                    self.put("}\n");
                }
            }
            Site::Arm => {
                let not: Vec<_> =
                    mutants.iter().map(|it| format!("!crate::mutant::on({})", it.id)).collect();
                self.put(&format!(" if {}", not.join(" && ")));
            }
            Site::Guard => {
                let (mut or, mut and) = (String::new(), String::new());
                for Mutant { id, genre, replacement } in &mutants {
                    match (&**genre, &**replacement) {
                        ("MatchArmGuard", "true") => or += &format!("crate::mutant::on({id}) || "),
                        _ => and += &format!("!crate::mutant::on({id}) && "),
                    }
                }
                self.put(&format!("({and}({or}"));
                next = self.write(range, next);
                self.put("))");
            }
            Site::Structure => {
                let mut before = "(if";
                for Mutant { id, replacement, .. } in &mutants {
                    self.alone(*id, before, replacement, "{");
                    before = "} else if";
                }
                self.put("} else {");
                next = self.write(range, next);
                self.put("})");
            }
            Site::Binary { left, right } => {
                let (text, mut before) = (self.text, "(if");
                for Mutant { id, replacement, .. } in &mutants {
                    let changed =
                        format!("{} {replacement} {}", &text[left.clone()], &text[right.clone()]);
                    self.alone(*id, before, &changed, "{");
                    before = "} else if";
                }
                self.put("} else {");
                next = self.write(left.clone(), next);
                self.put(&text[left.end..right.start]);
                next = self.write(right, next);
                self.put("})");
            }
            Site::Unary { operand } => {
                let (text, mut before) = (self.text, "(if");
                for Mutant { id, replacement, .. } in &mutants {
                    let changed = format!("{replacement}{}", &text[operand.clone()]);
                    self.alone(*id, before, &changed, "{");
                    before = "} else if";
                }
                self.put("} else {");
                self.put(&text[range.start..operand.start]);
                next = self.write(operand, next);
                self.put("})");
            }
        }
        self.sites.extend(mutants.iter().map(|it| json!([it.id, first, self.line])));
        next
    }
}

/// What becomes of one file.
struct Changed {
    text: String,
    alone: Vec<u64>,
    bad: Vec<u64>,
    map: Value,
}

/// Rewrites one file.
fn instrument(text: &str, mutants: Vec<(Mutant, usize, usize)>) -> Changed {
    let lines = Lines::new(text);
    let file = syn::parse_file(text).expect("a file that compiles");
    let mut finder = Finder {
        lines: &lines,
        operators: HashMap::new(),
        guards: HashMap::new(),
        arms: HashMap::new(),
        bodies: HashMap::new(),
        fields: HashMap::new(),
        lets: HashSet::new(),
    };
    finder.visit_file(&file);

    let (mut alone, mut bad) = (Vec::new(), Vec::new());
    let mut edits: BTreeMap<(usize, usize, usize, usize), Edit> = BTreeMap::new();
    for (mut mutant, line, column) in mutants {
        let begin = lines.offset(line, column - 1);
        let found = match &*mutant.genre {
            "BinaryOperator" | "UnaryOperator" => finder.operators.get(&begin),
            "MatchArmGuard" => finder.guards.get(&begin),
            "MatchArm" => finder.arms.get(&begin),
            "FnValue" => finder.bodies.get(&begin),
            "StructField" => finder.fields.get(&begin).map(|(found, text)| {
                mutant.replacement.clone_from(text);
                found
            }),
            _ => None,
        };
        let Some(found) = found else {
            let never = mutant.genre == "BinaryOperator" && finder.lets.contains(&begin);
            if never { &mut bad } else { &mut alone }.push(mutant.id);
            continue;
        };
        // What is empty comes before what begins there; an outer site before an inner one; a guard
        // before the operator that is all of it.
        let empty = usize::from(!found.range.is_empty());
        let inner = usize::from(!matches!(found.site, Site::Guard));
        let key = (found.range.start, empty, usize::MAX - found.range.end, inner);
        let edit = || Edit { found: found.clone(), mutants: Vec::new() };
        edits.entry(key).or_insert_with(edit).mutants.push(mutant);
    }

    let edits = edits.into_values().collect();
    let mut writer =
        Writer { text, edits, out: String::new(), line: 1, lines: vec![], sites: vec![] };
    writer.write(0..text.len(), 0);
    assert!(writer.edits.iter().all(|edit| edit.mutants.is_empty()), "an edit was passed over");
    let map = json!({ "lines": writer.lines, "sites": writer.sites });
    Changed { text: writer.out, alone, bad, map }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(list)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: instrument_mutants ROOT MUTANTS [ID...] > MAP");
        std::process::exit(2);
    };
    let left_out: HashSet<u64> = arguments.map(|id| id.parse().expect("a number")).collect();
    let list = std::fs::read_to_string(list).expect("the list of mutants");
    let list: Vec<Value> = serde_json::from_str(&list).expect("a list");

    let mut files: BTreeMap<String, Vec<(Mutant, usize, usize)>> = BTreeMap::new();
    for (id, value) in (1..).zip(&list) {
        if left_out.contains(&id) {
            continue;
        }
        let text = |key: &str| value[key].as_str().expect("a text").to_owned();
        let number = |key: &str| {
            usize::try_from(value["span"]["start"][key].as_u64().expect("a number")).expect("small")
        };
        let mutant = Mutant { id, genre: text("genre"), replacement: text("replacement") };
        files.entry(text("file")).or_default().push((mutant, number("line"), number("column")));
    }

    let (mut alone, mut bad) = (Vec::new(), Vec::new());
    let mut maps = serde_json::Map::new();
    for (name, mutants) in files {
        let path = format!("{root}/{name}");
        let text = std::fs::read_to_string(&path).expect("a source file");
        let changed = instrument(&text, mutants);
        std::fs::write(&path, changed.text).expect("a file that may be written");
        alone.extend(changed.alone);
        bad.extend(changed.bad);
        maps.insert(name, changed.map);
    }
    println!("{}", json!({ "alone": alone, "bad": bad, "files": maps }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file with mutants 1, 2, …: of this kind, with this text, where that stands first.
    fn changed(text: &str, mutants: &[(&str, &str, &str)]) -> Changed {
        let place = |at: &str| {
            let offset = text.find(at).expect("it is in the text");
            let line = text[..offset].matches('\n').count() + 1;
            let begin = text[..offset].rfind('\n').map_or(0, |end| end + 1);
            (line, offset - begin + 1)
        };
        let mutants = (1..).zip(mutants).map(|(id, (genre, replacement, at))| {
            let (genre, replacement) = ((*genre).to_owned(), (*replacement).to_owned());
            let (line, column) = place(at);
            (Mutant { id, genre, replacement }, line, column)
        });
        let changed = instrument(text, mutants.collect());
        syn::parse_file(&changed.text).expect("it is still Rust");
        assert!(changed.alone.is_empty() && changed.bad.is_empty());
        changed
    }

    /// Without space between its parts.
    fn dense(changed: &Changed) -> String {
        changed.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_guard_that_is_one_operation_has_the_mutants_of_both() {
        let text = "fn f(at: u8) -> u8 {\n    match at {\n        x if x < 3 => x,\n        _ => 0,\n    }\n}\n";
        let changed = changed(
            text,
            &[
                ("MatchArmGuard", "true", "x < 3"),
                ("MatchArmGuard", "false", "x < 3"),
                ("BinaryOperator", "<=", "< 3"),
                ("MatchArm", "", "x if"),
            ],
        );
        let dense = dense(&changed);
        let guard = "x if (!crate::mutant::on(2) && !crate::mutant::on(4) && \
                     (crate::mutant::on(1) || (if crate::mutant::on(3) { x <= 3 } else {x < 3})))";
        assert!(dense.contains(guard), "{dense}");
    }

    #[test]
    fn a_guard_that_is_negated_has_both_too() {
        let text = "fn f(at: bool) -> u8 {\n    match 1 {\n        x if !at => x,\n        _ => 0,\n    }\n}\n";
        let changed =
            changed(text, &[("UnaryOperator", "", "!at"), ("MatchArmGuard", "true", "!at")]);
        let dense = dense(&changed);
        let guard = "(crate::mutant::on(2) || (if crate::mutant::on(1) { at } else {!at}))";
        assert!(dense.contains(guard), "{dense}");
    }

    #[test]
    fn a_field_is_left_out_with_its_comma_and_the_rest_stays() {
        let text = "fn f() -> S {\n    S { one: 1, two: g(2 + 3), ..S::default() }\n}\n";
        let changed = changed(
            text,
            &[
                ("StructField", "", "one: 1"),
                ("StructField", "", "two: g"),
                ("BinaryOperator", "-", "+ 3"),
            ],
        );
        let dense = dense(&changed);
        let literal = "(if crate::mutant::on(1) { S { two: g(2 + 3), ..S::default() } } else if \
                       crate::mutant::on(2) { S { one: 1, ..S::default() } } else {S { one: 1, \
                       two: g((if crate::mutant::on(3) { 2 - 3 } else {2 + 3})), \
                       ..S::default() }})";
        assert!(dense.contains(literal), "{dense}");
    }
}
