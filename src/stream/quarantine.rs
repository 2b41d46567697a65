//! Files that are no part of a log and are not deleted: they are set aside under a name of no segment.

use std::io;
use std::path::{Path, PathBuf};

use crate::stream::env::Env;
use crate::{Error, ErrorKind, Result};

/// The directory of files that were set aside.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Moves a file to the quarantine.
pub(crate) fn set_aside(env: &Env, dir: &Path, path: &Path) -> Result<PathBuf> {
    put_aside(env, dir, path, |target| env.vfs.rename(path, target))
}

/// Has `put` bring the file at `path` to the name that it is given in the quarantine. A full disk may have no room for one: then it
/// has that name in the directory it is in.
pub(crate) fn put_aside(
    env: &Env,
    dir: &Path,
    path: &Path,
    put: impl Fn(&Path) -> io::Result<()>,
) -> Result<PathBuf> {
    // Like no other, and like no segment.
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let name = format!("{name}.{:016x}", env.vfs.random() as u64);
    let put_in = |place: &Path| {
        let target = place.join(&name);
        put(&target)?;
        env.vfs.sync_dir(place)?;
        Ok(target)
    };
    let quarantine = dir.join(QUARANTINE);
    let put_there = || {
        env.vfs.create_dir_all(&quarantine)?;
        let target = put_in(&quarantine)?;
        env.vfs.sync_dir(dir)?;
        Ok(target)
    };
    let io = |err| Error::io("set aside", path, err);
    match put_there().map_err(io) {
        Err(err) if *err.kind() == ErrorKind::NoSpace => put_in(dir).map_err(io),
        put => put,
    }
}
