//! The group that arguments name, and the streams in it by name.

use tailwater::{
    ErrorKind, GroupId, GroupName, GroupSpec, Store, Stream, StreamInfo, StreamName, StreamSpec, Tenant,
};

use crate::args::Home;
use crate::failure::{Failure, Result};

impl Home {
    /// The group's name.
    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or("default")
    }

    /// Whether it is the group that every store has, whose streams have no limit.
    fn is_default(&self) -> bool {
        self.tenant.as_str() == "default" && self.group() == "default"
    }

    /// The tenant, and its group.
    pub fn find(&self, store: &Store) -> Result<(Tenant, GroupId)> {
        let tenant = store.tenant(&self.tenant);
        let found = tenant.group_named(self.group());
        let found = found.map_err(|err| hint(err, "`tailwater group create` makes it"))?;
        Ok((tenant, found.id))
    }

    /// Makes the group where there is none.
    pub fn ensure(&self, store: &Store) -> Result<()> {
        let tenant = store.tenant(&self.tenant);
        match tenant.group_named(self.group()) {
            Err(err) if *err.kind() == ErrorKind::NotFound => {
                tenant.create_group(GroupSpec::new(GroupName::new(self.group())?))?;
                Ok(())
            }
            found => Ok(found.map(drop)?),
        }
    }

    /// What the stream called `name` is.
    pub fn info(&self, store: &Store, name: &str) -> Result<(Tenant, StreamInfo)> {
        let (tenant, group) = self.find(store)?;
        let info = tenant.stream_named(group, name)?;
        Ok((tenant, info))
    }

    /// The stream called `name`.
    pub fn stream(&self, store: &Store, name: &str) -> Result<Stream> {
        let (tenant, info) = self.info(store, name)?;
        Ok(tenant.stream(info.group, info.id)?)
    }

    /// The stream called `name`, made with its group where `create` says so and it does not exist.
    pub fn stream_to_append(&self, store: &Store, name: &str, create: bool) -> Result<Stream> {
        if create {
            self.ensure(store)?;
        }
        let (tenant, group) = self.find(store)?;
        match tenant.stream_named(group, name) {
            Ok(info) => Ok(tenant.stream(group, info.id)?),
            Err(err) if *err.kind() == ErrorKind::NotFound && create => {
                self.create(store, StreamSpec::new(StreamName::new(name)?))
            }
            Err(err) => Err(hint(err, "--create makes it")),
        }
    }

    /// Makes a stream in the group.
    pub fn create(&self, store: &Store, spec: StreamSpec) -> Result<Stream> {
        if self.is_default() {
            return Ok(store.create_stream(spec)?);
        }
        let (tenant, group) = self.find(store)?;
        Ok(tenant.create_stream(group, spec)?)
    }
}

/// An error that says what makes the thing that is not there.
fn hint(err: tailwater::Error, how: &str) -> Failure {
    match err.kind() {
        ErrorKind::NotFound => Failure::Said(format!("{err} ({how})")),
        _ => err.into(),
    }
}
