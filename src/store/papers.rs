//! What verifying a store looks at beside its logs: the catalogue, and what each stream's `meta` says for the day it is lost.

use std::io;
use std::path::PathBuf;

use crate::catalog::Meta;
use crate::segment::parse_file_name;
use crate::store::Shared;
use crate::store::dir::names;
use crate::stream::Damage;
use crate::{Error, Result, StreamId, vfs};

impl Shared {
    /// What is wrong with the catalogue, though nothing is lost by it yet. Who opens it for writing makes it sound.
    pub(super) fn catalog_damage(&self) -> Vec<Damage> {
        if !self.env.read_only {
            return Vec::new();
        }
        let catalog = self.catalog.lock();
        let problems = catalog.problems().iter();
        problems.map(|problem| damage(None, problem.path.clone(), problem.to_string())).collect()
    }

    /// What is wrong with a stream's `meta`: nobody reads it before the catalogue is lost, and then it is all there is.
    ///
    /// That it says what the catalogue says is not asked: a crash may come between the two.
    pub(super) fn meta_damage(&self, id: StreamId) -> Result<Option<Damage>> {
        let vfs = &*self.env.vfs;
        let dir = self.stream_dir(id);
        let path = dir.join(names::META);
        let what = match vfs::read_all(vfs, &path, 1 << 20) {
            Ok(bytes) => match Meta::decode(&bytes, &path) {
                Ok(meta) if meta.stream.id == id && meta.store == self.env.store => return Ok(None),
                Ok(meta) => format!("it is of stream {} of store {}", meta.stream.id, meta.store),
                Err(err) => err.to_string(),
            },
            // A stream that has had no record has no files, and one that is being deleted loses them, its mark last.
            Err(err) if err.kind() == io::ErrorKind::NotFound => match vfs.list(&dir) {
                Ok(files)
                    if files.iter().any(|file| parse_file_name(&file.name).is_some())
                        && files.iter().all(|file| file.name != names::DELETED) =>
                {
                    "there is no `meta` beside the segments".into()
                }
                _ => return Ok(None),
            },
            // No regular file, or a larger one than any `meta` is.
            Err(err) if matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                err.to_string()
            }
            Err(err) => return Err(Error::io("read", &path, err)),
        };
        Ok(Some(damage(Some(id), path, what)))
    }
}

pub(super) fn damage(stream: Option<StreamId>, path: PathBuf, what: String) -> Damage {
    Damage { stream, path, start: None, end: None, what }
}
