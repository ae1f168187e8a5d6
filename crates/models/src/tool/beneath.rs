//! Files below the folders that the operator allows, and nothing else.
//!
//! A path is walked folder by folder from the root that allows it, each opened from the one before
//! and none through a link: what is opened is below the root, even if somebody moves things about
//! meanwhile. `..` is refused before. The root itself may be a link: the operator named it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf, absolute},
};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, RenameFlags, fstat, mkdirat, open, openat, renameat_with},
    io::Errno,
};

use super::{ToolError, failed};

/// The largest file that is read.
pub(super) const READ_BYTES_MAX: u64 = 1024 * 1024;
/// The most entries that a search looks at.
const ENTRIES_MAX: usize = 20_000;
/// The most files that it finds.
const FOUND_MAX: usize = 500;
/// How deep it goes.
const DEPTH_MAX: usize = 16;

/// A place below an allowed folder; whether something is there is another question.
pub(super) struct Place {
    root: PathBuf,
    /// What leads from there: names only.
    names: Vec<OsString>,
}

impl Place {
    /// Finds the allowed folder that `path` lies below. A relative path counts from the working
    /// directory if that is allowed, else from the first allowed folder.
    pub(super) fn find(roots: &[PathBuf], path: &str) -> Result<Self, ToolError> {
        if roots.is_empty() {
            return Err(failed(
                "no file may be used: the operator lists folders that may in ALLOWED_PATHS",
            ));
        }
        if path.contains('\0') || path.is_empty() {
            return Err(ToolError::Arguments(
                "a path is empty or holds a NUL".to_owned(),
            ));
        }
        let path = Path::new(path);
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(ToolError::Arguments("a path must not hold `..`".to_owned()));
        }
        for root in roots {
            let (Ok(root), Ok(whole)) = (absolute(root), absolute(path)) else {
                continue;
            };
            if let Ok(rest) = whole.strip_prefix(&root) {
                return Ok(Self::below(root, rest));
            }
        }
        if path.is_relative()
            && let Ok(root) = absolute(&roots[0])
        {
            return Ok(Self::below(root, path));
        }
        Err(failed(format!(
            "{} is not below a folder of ALLOWED_PATHS",
            path.display()
        )))
    }

    fn below(root: PathBuf, rest: &Path) -> Self {
        let names = rest.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        });
        Self {
            names: names.collect(),
            root,
        }
    }

    /// The whole path, for messages and for who can only be given one.
    pub(super) fn path(&self) -> PathBuf {
        self.root.join(self.names.iter().collect::<PathBuf>())
    }

    fn told(&self, doing: &str, error: io::Error) -> ToolError {
        let path = self.path();
        let path = path.display();
        // What NOFOLLOW and DIRECTORY answer where a link stands.
        if matches!(
            Errno::from_io_error(&error),
            Some(Errno::LOOP | Errno::NOTDIR)
        ) {
            return failed(format!(
                "{path} cannot be {doing}: a part of it is a link or no folder, and links are not followed"
            ));
        }
        failed(format!("{path} cannot be {doing}: {error}"))
    }

    /// The folder that it is in, and its name there.
    fn parent(&self, make: bool) -> io::Result<(OwnedFd, &OsStr)> {
        let Some((name, folders)) = self.names.split_last() else {
            return Err(io::Error::other("it is the allowed folder itself"));
        };
        let mut folder = open(&self.root, FOLDER, Mode::empty())?;
        for step in folders {
            if make {
                match mkdirat(&folder, &**step, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            folder = openat(&folder, &**step, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok((folder, name))
    }

    fn open(&self, flags: OFlags, make: bool) -> io::Result<File> {
        let (folder, name) = self.parent(make)?;
        // NONBLOCK: a named pipe would hold the call up.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no file"));
        }
        Ok(file.into())
    }

    /// The file's text.
    pub(super) fn read(&self) -> Result<String, ToolError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let file = self.open(OFlags::RDONLY, false)?;
            file.take(READ_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| self.told("read", error))?;
        if bytes.len() as u64 > READ_BYTES_MAX {
            return Err(failed(format!(
                "{} is larger than 1 MiB",
                self.path().display()
            )));
        }
        String::from_utf8(bytes)
            .map_err(|_| failed(format!("{} is no UTF-8 text", self.path().display())))
    }

    /// Writes or adds to the file, and makes the folders that lead to it.
    pub(super) fn write(&self, content: &str, append: bool) -> Result<(), ToolError> {
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let append_flag = if append {
                OFlags::APPEND
            } else {
                OFlags::empty()
            };
            let mut file = self.open(flags | append_flag, true)?;
            if !append {
                file.set_len(0)?;
            }
            file.write_all(content.as_bytes())
        };
        write().map_err(|error| self.told("written", error))
    }

    /// Moves it; nothing is replaced.
    pub(super) fn move_to(&self, to: &Self) -> Result<(), ToolError> {
        let moved = || -> io::Result<()> {
            let (from_folder, from_name) = self.parent(false)?;
            let (to_folder, to_name) = to.parent(true)?;
            renameat_with(
                from_folder,
                from_name,
                to_folder,
                to_name,
                RenameFlags::NOREPLACE,
            )?;
            Ok(())
        };
        moved().map_err(|error| self.told("moved", error))
    }

    /// Whether it is a file that no link leads to.
    pub(super) fn is_file(&self) -> Result<(), ToolError> {
        self.open(OFlags::RDONLY, false)
            .map(drop)
            .map_err(|error| self.told("read", error))
    }

    /// The files that fit this place read as a pattern, below its allowed folder.
    pub(super) fn glob(&self) -> Result<Vec<PathBuf>, ToolError> {
        let pattern: Vec<String> = self
            .names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let mut search = Search {
            pattern,
            looked_at: 0,
            found: Vec::new(),
        };
        open(&self.root, FOLDER, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|root| search.folder(&root, &mut Vec::new()))
            .map_err(|error| self.told("searched", error))?;
        search.found.sort();
        let whole = |names: PathBuf| self.root.join(names);
        Ok(search.found.into_iter().map(whole).collect())
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

struct Search {
    pattern: Vec<String>,
    looked_at: usize,
    found: Vec<PathBuf>,
}

impl Search {
    fn folder(&mut self, folder: &OwnedFd, names: &mut Vec<String>) -> io::Result<()> {
        for entry in Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            self.looked_at += 1;
            if self.looked_at > ENTRIES_MAX {
                return Err(io::Error::other(
                    "more than 20,000 entries: narrow the pattern's folder",
                ));
            }
            names.push(name.to_owned());
            let opened = openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
            match opened {
                Ok(inner) if names.len() < DEPTH_MAX => self.folder(&inner, names)?,
                Err(Errno::NOTDIR) if self.found.len() < FOUND_MAX => {
                    if entry.file_type() == FileType::RegularFile && fits_path(&self.pattern, names)
                    {
                        self.found.push(names.iter().collect());
                    }
                }
                _ => {}
            }
            names.pop();
        }
        Ok(())
    }
}

fn fits_path(pattern: &[String], names: &[String]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            fits_path(rest, names) || (!names.is_empty() && fits_path(pattern, &names[1..]))
        }
        (Some((first, rest)), Some((name, names))) => {
            fits_name(first.as_bytes(), name.as_bytes()) && fits_path(rest, names)
        }
        _ => false,
    }
}

/// `*` any characters, `?` one. The last `*` is the only one that is ever tried again, so it takes
/// no more than pattern times name.
fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        let parts = |text: &str| text.split('/').map(String::from).collect::<Vec<_>>();
        fits_path(&parts(pattern), &parts(path))
    }

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.md", "a.md", true),
            ("*.md", "b/a.md", false),
            ("**/*.md", "a.md", true),
            ("**/*.md", "b/c/a.md", true),
            ("b/**", "b/c/a.md", true),
            ("a?c*e", "abcde", true),
            ("a?c*e", "abcd", false),
            ("**", "x", true),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }
}
