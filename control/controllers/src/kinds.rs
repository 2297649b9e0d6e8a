//! The kinds the controllers know, in one table.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{PartialObjectMeta, discovery::ApiResource};
use serde_json::Value;
use viaduct_api::v1alpha1::{IPBlockSpec, IPPoolSpec, VIPPoolSpec};

/// A custom resource of ours.
pub type Custom<Spec> = kube::core::Object<Spec, Value>;

/// The name of an object within its kind; the namespace is empty where the kind has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// An object of any kind, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    pub kind: Kind,
    pub key: Key,
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.key)
    }
}

macro_rules! kinds {
    ($($kind:ident: $type:ty => $field:ident,
       $group:literal $version:literal $plural:literal namespaced $namespaced:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($kind,)* }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            pub const fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)* }
            }

            pub const fn version(self) -> &'static str {
                match self { $(Self::$kind => $version,)* }
            }

            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural,)* }
            }

            pub const fn is_namespaced(self) -> bool {
                match self { $(Self::$kind => $namespaced,)* }
            }
        }

        /// An object of any kind.
        #[derive(Clone, Debug)]
        pub enum Object { $($kind(Arc<$type>),)* }

        impl Object {
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => &object.metadata,)* }
            }

            pub(crate) fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self { $(Self::$kind(object) => &mut Arc::make_mut(object).metadata,)* }
            }

            /// Reads what the API answered for an object of `kind`.
            pub fn decode(kind: Kind, value: Value) -> serde_json::Result<Self> {
                Ok(match kind {
                    $(Kind::$kind => Self::$kind(Arc::new(serde_json::from_value(value)?)),)*
                })
            }
        }

        $(impl From<$type> for Object {
            fn from(object: $type) -> Self {
                Self::$kind(Arc::new(object))
            }
        })*

        /// Every object, by kind and name.
        #[derive(Clone, Debug, Default)]
        pub struct Objects {
            $(pub $field: BTreeMap<Key, Arc<$type>>,)*
        }

        impl Objects {
            pub fn get(&self, kind: Kind, key: &Key) -> Option<Object> {
                match kind {
                    $(Kind::$kind => self.$field.get(key).cloned().map(Object::$kind),)*
                }
            }

            pub fn keys(&self, kind: Kind) -> Vec<Key> {
                match kind { $(Kind::$kind => self.$field.keys().cloned().collect(),)* }
            }

            pub(crate) fn insert(&mut self, object: Object) -> Option<Object> {
                let key = Key::of(object.metadata());
                match object {
                    $(Object::$kind(object) => self.$field.insert(key, object).map(Object::$kind),)*
                }
            }

            pub(crate) fn remove(&mut self, kind: Kind, key: &Key) -> Option<Object> {
                match kind { $(Kind::$kind => self.$field.remove(key).map(Object::$kind),)* }
            }
        }
    };
}

kinds! {
    Namespace: Namespace => namespaces, "" "v1" "namespaces" namespaced false;
    Node: Node => nodes, "" "v1" "nodes" namespaced false;
    Pod: Pod => pods, "" "v1" "pods" namespaced true;
    Service: Service => services, "" "v1" "services" namespaced true;
    Deployment: Deployment => deployments, "apps" "v1" "deployments" namespaced true;
    ReplicaSet: ReplicaSet => replica_sets, "apps" "v1" "replicasets" namespaced true;
    EndpointSlice: EndpointSlice => endpoint_slices,
        "discovery.k8s.io" "v1" "endpointslices" namespaced true;
    PodDisruptionBudget: PodDisruptionBudget => budgets,
        "policy" "v1" "poddisruptionbudgets" namespaced true;
    Lease: Lease => leases, "coordination.k8s.io" "v1" "leases" namespaced true;
    ConfigMap: PartialObjectMeta<ConfigMap> => config_maps, "" "v1" "configmaps" namespaced true;
    Secret: PartialObjectMeta<Secret> => secrets, "" "v1" "secrets" namespaced true;
    ServiceAccount: PartialObjectMeta<ServiceAccount> => service_accounts,
        "" "v1" "serviceaccounts" namespaced true;
    IPPool: Custom<IPPoolSpec> => ip_pools, "viaduct.dev" "v1alpha1" "ippools" namespaced false;
    IPBlock: Custom<IPBlockSpec> => ip_blocks, "viaduct.dev" "v1alpha1" "ipblocks" namespaced false;
    VIPPool: Custom<VIPPoolSpec> => vip_pools, "viaduct.dev" "v1alpha1" "vippools" namespaced false;
}

impl Kind {
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The kind an owner reference or an involved object names; `None` for one not known here.
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        let same = |one: &&Self| one.name() == kind && one.api_version() == api_version;
        Self::ALL.iter().find(same).copied()
    }

    pub(crate) fn api_resource(self) -> ApiResource {
        ApiResource {
            group: self.group().into(),
            version: self.version().into(),
            api_version: self.api_version(),
            kind: self.name().into(),
            plural: self.plural().into(),
        }
    }
}

impl Object {
    pub fn reference(&self) -> Ref {
        Ref { kind: self.kind(), key: Key::of(self.metadata()) }
    }

    pub fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    /// A number in every server that etcd or our own store stands behind.
    pub(crate) fn revision(&self) -> Option<u64> {
        self.metadata().resource_version.as_deref()?.parse().ok()
    }
}
