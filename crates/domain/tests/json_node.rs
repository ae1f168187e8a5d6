//! The canonical form against JavaScript itself. Skipped, saying so, where there is no Node.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use domain::json::{Limits, Numbers, canonicalize};

const DOCUMENTS: usize = 4_000;

/// Reads one hex-coded text per line, answers with its canonical form, or `!` if it is no JSON.
const PROGRAM: &str = r"
const lines = require('fs').readFileSync(0, 'latin1').trim().split('\n');
const out = lines.map((line) => {
  try {
    const text = Buffer.from(line, 'hex').toString('utf8');
    return Buffer.from(JSON.stringify(JSON.parse(text)), 'utf8').toString('hex');
  } catch { return '!'; }
});
process.stdout.write(out.join('\n'));
";

/// Xorshift: the same documents on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

fn space(dice: &mut Dice, out: &mut String) {
    if dice.below(4) == 0 {
        out.push_str(dice.one_of(&[" ", "\n", "\t", "\r\n  ", "    "]));
    }
}

fn string(dice: &mut Dice, out: &mut String) {
    out.push('"');
    for _ in 0..dice.below(6) {
        out.push_str(dice.one_of(&[
            "a",
            "bc",
            "plain text of some length",
            "\\n",
            "\\\"",
            "\\\\",
            "\\/",
            "/",
            "\\u0041",
            "\\u00e9",
            "\u{e9}",
            "\\uD83D\\uDE00",
            "\u{1f600}",
            "\\ud83d",
            "\\uDE00",
            "\\u0000",
            "\\u001F",
            "\\u2028",
            "\u{2028}",
            "\u{7f}",
            "\\b\\f\\r\\t",
            "\\uFFFF",
            "\u{feff}",
        ]));
    }
    out.push('"');
}

fn number(dice: &mut Dice, out: &mut String) {
    let digits = |dice: &mut Dice, most: u64, out: &mut String| {
        for _ in 0..=dice.below(most) {
            out.push_str(dice.one_of(&["0", "0", "1", "2", "5", "7", "9"]));
        }
    };
    out.push_str(dice.one_of(&["", "", "-"]));
    if dice.below(3) == 0 {
        out.push('0');
    } else {
        out.push_str(dice.one_of(&["1", "4", "9"]));
        let most = [3, 3, 18, 30][usize::try_from(dice.below(4)).unwrap()];
        digits(dice, most, out);
    }
    if dice.below(2) == 0 {
        out.push('.');
        digits(dice, 18, out);
    }
    if dice.below(4) == 0 {
        out.push_str(dice.one_of(&["e", "E", "e+", "e-", "E-"]));
        digits(dice, 3, out);
    }
}

fn object(dice: &mut Dice, depth: u32, out: &mut String) {
    let wide = dice.below(40) == 0;
    let members = if wide { 150 } else { dice.below(8) };
    out.push('{');
    for at in 0..members {
        if at > 0 {
            out.push(',');
        }
        space(dice, out);
        match dice.below(6) {
            0 => string(dice, out),
            1 | 2 => out.push_str(dice.one_of(&[
                "\"0\"",
                "\"1\"",
                "\"10\"",
                "\"01\"",
                "\"4294967294\"",
                "\"4294967295\"",
                "\"-1\"",
                "\"1.5\"",
                "\"\\u0032\"",
                "\"\"",
                "\"__proto__\"",
                "\"toString\"",
            ])),
            3 => {
                out.push('"');
                out.push_str(&dice.below(300).to_string());
                out.push('"');
            }
            4 => {
                out.push_str(dice.one_of(&[
                    "\"id\"",
                    "\"name\"",
                    "\"\\u0069d\"",
                    "\"created_at\"",
                ]));
            }
            _ => {
                out.push_str("\"some longer key ");
                out.push_str(&dice.below(200).to_string());
                out.push_str(" of many\"");
            }
        }
        space(dice, out);
        out.push(':');
        value(dice, if wide { 0 } else { depth }, out);
    }
    out.push('}');
}

fn value(dice: &mut Dice, depth: u32, out: &mut String) {
    space(dice, out);
    match dice.below(if depth == 0 { 4 } else { 9 }) {
        0 => out.push_str(dice.one_of(&["true", "false", "null"])),
        1 => string(dice, out),
        2 | 3 => number(dice, out),
        4 | 5 => {
            out.push('[');
            for at in 0..dice.below(6) {
                if at > 0 {
                    out.push(',');
                }
                value(dice, depth - 1, out);
            }
            out.push(']');
        }
        _ => object(dice, depth - 1, out),
    }
    space(dice, out);
}

/// Changes one character, so that most documents are no longer JSON.
fn spoil(dice: &mut Dice, text: &mut String) {
    let places = text.chars().count() as u64;
    let at = usize::try_from(dice.below(places)).unwrap();
    let (byte, _) = text.char_indices().nth(at).unwrap();
    text.remove(byte);
    text.insert_str(
        byte,
        dice.one_of(&["", "\"", ",", "}", "0", "\\", "x", "\u{b}", "\u{a0}"]),
    );
}

fn node(texts: &[String]) -> Option<Vec<Option<Vec<u8>>>> {
    let spawned = Command::new("node")
        .args(["-e", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: no node");
        return None;
    };
    let lines: Vec<String> = texts.iter().map(hex::encode).collect();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let answer = |line: &str| (line != "!").then(|| hex::decode(line).unwrap());
    Some(answers.lines().map(answer).collect())
}

#[test]
fn random_documents_come_out_as_node_prints_them() {
    let mut dice = Dice(0x5eed_0001);
    let mut texts = Vec::new();
    while texts.len() < DOCUMENTS {
        let mut text = String::new();
        value(&mut dice, 5, &mut text);
        if dice.below(5) == 0 {
            spoil(&mut dice, &mut text);
        }
        // An empty line could not be told from none.
        if !text.is_empty() {
            texts.push(text);
        }
    }
    let Some(answers) = node(&texts) else {
        return;
    };
    assert_eq!(answers.len(), DOCUMENTS);
    let mut refused = 0;
    for (text, answer) in texts.iter().zip(answers) {
        let canonical = canonicalize(text.as_bytes(), Numbers::JavaScript, &Limits::default());
        let ours = canonical.as_ref().ok().map(domain::json::Canonical::as_str);
        let answer = answer.map(|it| String::from_utf8(it).unwrap());
        assert_eq!(ours, answer.as_deref(), "{text}");
        refused += usize::from(ours.is_none());

        let exact = canonicalize(text.as_bytes(), Numbers::Exact, &Limits::default());
        if let Ok(exact) = exact {
            assert_eq!(Some(exact.as_str()), answer.as_deref(), "{text}");
        }
    }
    assert!((100..DOCUMENTS / 2).contains(&refused), "{refused}");
}
