//! Objects in the store: keys, encoding, and what the store's errors mean to a client.

use std::sync::Arc;

use bytes::Bytes;
use control_store::{Entry, List, Page, Revision, Store, StoreError};
use serde_json::Value;

use crate::{
    kinds::Kind,
    object,
    status_error::{MODIFIED, StatusError},
};

/// The store, in terms of objects.
#[derive(Clone)]
pub(crate) struct Registry {
    store: Arc<dyn Store>,
}

/// The keys of a kind, or of those of its objects that are in `namespace`, begin so.
pub(crate) fn prefix(kind: &Kind, namespace: &str) -> String {
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    if namespace.is_empty() {
        format!("/{group}/{}/", kind.plural)
    } else {
        format!("/{group}/{}/{namespace}/", kind.plural)
    }
}

pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    prefix(kind, namespace) + name
}

/// The object of an entry, with the revision that changed it as its resourceVersion.
pub(crate) fn decode(entry: &Entry) -> Result<Value, StatusError> {
    decode_at(&entry.value, entry.mod_revision)
}

pub(crate) fn decode_at(value: &[u8], revision: Revision) -> Result<Value, StatusError> {
    let mut object = serde_json::from_slice(value).map_err(StatusError::internal)?;
    object::set(&mut object, "resourceVersion", revision.to_string());
    Ok(object)
}

fn encode(object: &Value) -> Result<Bytes, StatusError> {
    let mut object = object.clone();
    object::unset(&mut object, "resourceVersion");
    Ok(serde_json::to_vec(&object).map_err(StatusError::internal)?.into())
}

/// What the client is told of a failure of the store.
pub(crate) fn status(error: &StoreError, kind: &Kind, name: &str) -> StatusError {
    match error {
        StoreError::AlreadyExists => StatusError::already_exists(kind, name),
        StoreError::NotFound => StatusError::not_found(kind, name),
        StoreError::Conflict(_) => StatusError::conflict(kind, name, MODIFIED),
        StoreError::Compacted { requested, oldest } => {
            StatusError::too_old_resource_version(*requested, *oldest)
        }
        StoreError::Future { requested, current } => StatusError::timeout(format!(
            "Too large resource version: {requested}, current: {current}"
        )),
        StoreError::TooLarge { max, .. } => StatusError::too_large(*max),
        StoreError::Full { .. } => StatusError::internal(error),
        StoreError::NoSpace => StatusError::insufficient_storage(error.to_string()),
        StoreError::Closed => StatusError::unavailable(error.to_string()),
        StoreError::Io(_) | StoreError::Corrupt(_) => {
            tracing::error!(%error, ?kind, name, "store");
            StatusError::internal(error)
        }
    }
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) async fn find(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, StatusError> {
        let read = self
            .store
            .get(&key(kind, namespace, name))
            .await
            .map_err(|error| status(&error, kind, name))?;
        read.value.as_deref().map(decode).transpose()
    }

    /// Errors: 404 where there is no such object.
    pub(crate) async fn get(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Value, StatusError> {
        let found = self.find(kind, namespace, name).await?;
        found.ok_or_else(|| StatusError::not_found(kind, name))
    }

    /// Objects of a kind in the order of their keys, as the store has them: an object that is
    /// decoded is many times as large. See [`List`].
    pub(crate) async fn list(&self, kind: &Kind, list: List) -> Result<Page, StatusError> {
        self.store.list(list).await.map_err(|error| status(&error, kind, ""))
    }

    /// All objects of a kind, or all of a namespace. For the server's own use, and for kinds that
    /// are few.
    pub(crate) async fn all(
        &self,
        kind: &Kind,
        namespace: &str,
    ) -> Result<Vec<Value>, StatusError> {
        let list = List { prefix: prefix(kind, namespace), ..List::default() };
        let page = self.list(kind, list).await?;
        page.entries.iter().map(|entry| decode(entry)).collect()
    }

    /// Stores a new object; gives it with its resourceVersion.
    pub(crate) async fn create(
        &self,
        kind: &Kind,
        mut object: Value,
    ) -> Result<Value, StatusError> {
        let name = object::name(&object).to_owned();
        let key = key(kind, object::namespace(&object), &name);
        let entry = self
            .store
            .create(&key, encode(&object)?)
            .await
            .map_err(|error| status(&error, kind, &name))?;
        object::set(&mut object, "resourceVersion", entry.mod_revision.to_string());
        Ok(object)
    }

    /// Stores `new` in place of `old`, if that is still what is there.
    pub(crate) async fn replace(
        &self,
        kind: &Kind,
        old: &Value,
        mut new: Value,
    ) -> Result<Value, StatusError> {
        let (key, revision) = place(kind, old)?;
        let entry = self
            .store
            .update(&key, encode(&new)?, revision)
            .await
            .map_err(|error| status(&error, kind, object::name(old)))?;
        object::set(&mut new, "resourceVersion", entry.mod_revision.to_string());
        Ok(new)
    }

    /// Removes `old`, if that is still what is there; gives it with the revision of its removal.
    pub(crate) async fn remove(&self, kind: &Kind, old: &Value) -> Result<Value, StatusError> {
        let (key, revision) = place(kind, old)?;
        let removed = self
            .store
            .delete(&key, revision)
            .await
            .map_err(|error| status(&error, kind, object::name(old)))?;
        let mut gone = old.clone();
        object::set(&mut gone, "resourceVersion", removed.to_string());
        Ok(gone)
    }
}

/// Where an object that came from the store is, and as of when.
fn place(kind: &Kind, object: &Value) -> Result<(String, Revision), StatusError> {
    let revision = object::resource_version(object).parse().map_err(StatusError::internal)?;
    Ok((key(kind, object::namespace(object), object::name(object)), revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_so() {
        let kind = crate::kinds::find("", "v1", "configmaps").unwrap();
        let told = status(&StoreError::NoSpace, kind, "a");
        assert_eq!((told.code, told.reason), (507, "InsufficientStorage"));
        assert!(told.message.contains("no space left on device"), "{told}");
    }
}
