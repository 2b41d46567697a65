//! Deleting streams, one or all of a group's or tenant's: marks first, then the catalogue's one change, then the files.
//!
//! | a crash                             | leaves                                       | so the next open               |
//! |-------------------------------------|----------------------------------------------|--------------------------------|
//! | before the catalogue's change       | marks in directories of streams that it knows | takes the marks away: nothing was deleted |
//! | after it                            | marks in directories of streams that it does not | removes what is marked         |
//!
//! A stream without a directory has no files, and needs no mark. Before the first mark of all the file `deleting` says that there are
//! any, so that an open of a store in which nothing was deleted looks for none.

use std::collections::HashSet;
use std::io;

use crate::catalog::Catalog;
use crate::store::Shared;
use crate::store::dir::{self, names};
use crate::{Error, ErrorKind, GroupId, Result, StreamId, TenantId};

impl Shared {
    /// Deletes a stream with its records.
    pub(super) fn delete_stream(&self, id: StreamId) -> Result<()> {
        self.delete(|catalog| catalog.stream(id).map(|_| vec![id]), |catalog| catalog.delete_stream(id))
    }

    /// Deletes a group with its streams.
    pub(super) fn delete_group(&self, tenant: &TenantId, id: GroupId) -> Result<()> {
        self.delete(
            |catalog| catalog.deletable_group(tenant, id),
            |catalog| catalog.delete_group(tenant, id).map(|_| ()),
        )
    }

    /// Deletes a tenant with its groups and their streams. Its sessions go first, so that whatever interrupts this leaves none of
    /// them to a later tenant of the same name; and once more for those created meanwhile.
    pub(super) fn delete_tenant(&self, id: &TenantId) -> Result<()> {
        self.catalog.lock().deletable_tenant(id)?;
        self.close_sessions_of(id)?;
        let deleted = self
            .delete(|catalog| catalog.deletable_tenant(id), |catalog| catalog.delete_tenant(id).map(|_| ()));
        deleted.and(self.close_sessions_of(id))
    }

    /// Deletes the streams that `which` names, by `change`.
    fn delete(
        &self,
        which: impl Fn(&Catalog) -> Result<Vec<StreamId>>,
        change: impl FnOnce(&mut Catalog) -> Result<()>,
    ) -> Result<()> {
        self.note_deleting()?;
        let mut marked = HashSet::new();
        let (mut catalog, ids) = loop {
            let ids = which(&self.catalog.lock())?;
            for id in ids {
                if marked.insert(id)
                    && let Err(err) = self.mark(id)
                {
                    self.unmark(&marked);
                    return Err(err);
                }
            }
            // One may have been created meanwhile.
            let catalog = self.catalog.lock();
            let ids = which(&catalog)?;
            if ids.iter().all(|id| marked.contains(id)) {
                break (catalog, ids);
            }
        };
        let changes = ids.first().and_then(|&id| catalog.tenant_of(id)).map(|tenant| self.changes(tenant));
        if let Err(err) = change(&mut catalog) {
            // After a failed sync nobody knows whether it is deleted, and then the next open does.
            if *err.kind() != ErrorKind::Poisoned {
                self.unmark(&marked);
            }
            return Err(err);
        }
        drop(catalog);
        let mut outcome = Ok(());
        for &id in &ids {
            self.quiet.lock().forget(id);
            if let Some(changes) = &changes {
                changes.forget(id);
            }
            if let Some(core) = self.loaded.remove(id) {
                core.mark_deleted();
            }
        }
        if let Some(changes) = changes {
            // Sessions that wait find out.
            changes.signal.raise();
        }
        for &id in &ids {
            outcome = outcome.and(dir::remove_tree(&*self.env.vfs, &self.stream_dir(id)));
        }
        outcome
    }

    /// Leaves word for the next open that it has to look for marks, unless a deletion before did.
    fn note_deleting(&self) -> Result<()> {
        let mut noted = self.deleting.lock();
        if !*noted {
            dir::note_deleting(&*self.env.vfs, &self.dir)?;
            *noted = true;
        }
        Ok(())
    }

    /// Marks the stream's directory, if it has one.
    fn mark(&self, id: StreamId) -> Result<()> {
        let vfs = &*self.env.vfs;
        let dir = self.stream_dir(id);
        match vfs.list(&dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => drop(listed.map_err(|err| Error::io("list directory of stream", &dir, err))?),
        }
        let mark = dir.join(names::DELETED);
        match vfs.replace(&mark, &[]) {
            // Somebody else was quicker to delete it.
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|err| Error::io("mark stream deleted", &mark, err)),
        }
    }

    /// Takes the marks of streams away that stay. A mark that cannot be removed goes at the next open.
    fn unmark(&self, ids: &HashSet<StreamId>) {
        for &id in ids {
            let _ = self.env.vfs.remove_file(&self.stream_dir(id).join(names::DELETED));
        }
    }
}
