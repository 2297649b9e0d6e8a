//! The fields of the messages that are read, by their numbers in `generated.proto`.

use super::workload;

/// A message and the fields that are read of it.
pub(super) struct Message {
    pub name: &'static str,
    pub fields: &'static [Field],
}

pub(super) struct Field {
    pub number: u32,
    /// The name in JSON.
    pub name: &'static str,
    pub form: Form,
}

#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Integer,
    /// An integer for which 0 is not the same as nothing.
    OptionalInteger,
    Flag,
    /// A flag for which `false` is not the same as nothing.
    OptionalFlag,
    IntOrString,
    Message(&'static Message),
    Texts,
    Messages(&'static Message),
    TextMap,
    /// Amounts of resources by name.
    QuantityMap,
    /// Bytes that are base64 in JSON.
    BytesMap,
    /// What the server writes itself, whatever the client sends.
    Ignored,
}

use Form::{
    BytesMap, Flag, Ignored, IntOrString, Integer, Messages, OptionalFlag, OptionalInteger, Text,
    TextMap, Texts,
};

pub(super) const fn field(number: u32, name: &'static str, form: Form) -> Field {
    Field { number, name, form }
}

/// The message of a kind.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Message> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => &NAMESPACE,
        ("v1", "ConfigMap") => &CONFIG_MAP,
        ("v1", "Secret") => &SECRET,
        ("v1", "Service") => &SERVICE,
        ("v1", "ServiceAccount") => &SERVICE_ACCOUNT,
        ("v1", "Pod") => &workload::POD,
        ("apps/v1", "Deployment") => &workload::DEPLOYMENT,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => &ACCESS_REVIEW,
        ("policy/v1", "PodDisruptionBudget") => &DISRUPTION_BUDGET,
        ("policy/v1", "Eviction") => &EVICTION,
        ("scheduling.k8s.io/v1", "PriorityClass") => &PRIORITY_CLASS,
        // It goes with every group.
        (_, "DeleteOptions") => &DELETE_OPTIONS,
        _ => return None,
    })
}

/// The number of the field of [`UNKNOWN`] that holds the object.
pub(super) const UNKNOWN_RAW: u32 = 2;

pub(super) static UNKNOWN: Message = Message {
    name: "Unknown",
    fields: &[
        field(1, "typeMeta", Form::Message(&TYPE_META)),
        field(UNKNOWN_RAW, "raw", Ignored),
        field(3, "contentEncoding", Text),
        field(4, "contentType", Text),
    ],
};

static TYPE_META: Message =
    Message { name: "TypeMeta", fields: &[field(1, "apiVersion", Text), field(2, "kind", Text)] };

pub(super) static INT_OR_STRING: Message = Message {
    name: "IntOrString",
    fields: &[field(1, "type", Integer), field(2, "intVal", Integer), field(3, "strVal", Text)],
};

pub(super) static OBJECT_META: Message = Message {
    name: "ObjectMeta",
    fields: &[
        field(1, "name", Text),
        field(2, "generateName", Text),
        field(3, "namespace", Text),
        field(4, "selfLink", Ignored),
        field(5, "uid", Text),
        field(6, "resourceVersion", Text),
        field(7, "generation", Ignored),
        field(8, "creationTimestamp", Ignored),
        field(9, "deletionTimestamp", Ignored),
        field(10, "deletionGracePeriodSeconds", Ignored),
        field(11, "labels", TextMap),
        field(12, "annotations", TextMap),
        field(13, "ownerReferences", Messages(&OWNER_REFERENCE)),
        field(14, "finalizers", Texts),
        field(17, "managedFields", Ignored),
    ],
};

static OWNER_REFERENCE: Message = Message {
    name: "OwnerReference",
    fields: &[
        field(1, "kind", Text),
        field(3, "name", Text),
        field(4, "uid", Text),
        field(5, "apiVersion", Text),
        field(6, "controller", OptionalFlag),
        field(7, "blockOwnerDeletion", OptionalFlag),
    ],
};

static NAMESPACE: Message = Message {
    name: "Namespace",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&NAMESPACE_SPEC)),
        field(3, "status", Ignored),
    ],
};

static NAMESPACE_SPEC: Message =
    Message { name: "NamespaceSpec", fields: &[field(1, "finalizers", Texts)] };

static CONFIG_MAP: Message = Message {
    name: "ConfigMap",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "data", TextMap),
        field(3, "binaryData", BytesMap),
        field(4, "immutable", OptionalFlag),
    ],
};

static SECRET: Message = Message {
    name: "Secret",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "data", BytesMap),
        field(3, "type", Text),
        field(4, "stringData", TextMap),
        field(5, "immutable", OptionalFlag),
    ],
};

static SERVICE_ACCOUNT: Message = Message {
    name: "ServiceAccount",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(3, "imagePullSecrets", Messages(&LOCAL_OBJECT_REFERENCE)),
        field(4, "automountServiceAccountToken", OptionalFlag),
    ],
};

pub(super) static LOCAL_OBJECT_REFERENCE: Message =
    Message { name: "LocalObjectReference", fields: &[field(1, "name", Text)] };

static SERVICE: Message = Message {
    name: "Service",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&SERVICE_SPEC)),
        field(3, "status", Ignored),
    ],
};

static SERVICE_SPEC: Message = Message {
    name: "ServiceSpec",
    fields: &[
        field(1, "ports", Messages(&SERVICE_PORT)),
        field(2, "selector", TextMap),
        field(3, "clusterIP", Text),
        field(4, "type", Text),
        field(5, "externalIPs", Texts),
        field(7, "sessionAffinity", Text),
        field(8, "loadBalancerIP", Text),
        field(9, "loadBalancerSourceRanges", Texts),
        field(10, "externalName", Text),
        field(11, "externalTrafficPolicy", Text),
        field(12, "healthCheckNodePort", Integer),
        field(13, "publishNotReadyAddresses", Flag),
        field(17, "ipFamilyPolicy", Text),
        field(18, "clusterIPs", Texts),
        field(19, "ipFamilies", Texts),
        field(20, "allocateLoadBalancerNodePorts", OptionalFlag),
        field(21, "loadBalancerClass", Text),
        field(22, "internalTrafficPolicy", Text),
        field(23, "trafficDistribution", Text),
    ],
};

static SERVICE_PORT: Message = Message {
    name: "ServicePort",
    fields: &[
        field(1, "name", Text),
        field(2, "protocol", Text),
        field(3, "port", Integer),
        field(4, "targetPort", IntOrString),
        field(5, "nodePort", Integer),
        field(6, "appProtocol", Text),
    ],
};

static ACCESS_REVIEW: Message = Message {
    name: "SelfSubjectAccessReview",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&ACCESS_REVIEW_SPEC)),
        field(3, "status", Ignored),
    ],
};

static ACCESS_REVIEW_SPEC: Message = Message {
    name: "SelfSubjectAccessReviewSpec",
    fields: &[
        field(1, "resourceAttributes", Form::Message(&RESOURCE_ATTRIBUTES)),
        field(2, "nonResourceAttributes", Form::Message(&NON_RESOURCE_ATTRIBUTES)),
    ],
};

static RESOURCE_ATTRIBUTES: Message = Message {
    name: "ResourceAttributes",
    fields: &[
        field(1, "namespace", Text),
        field(2, "verb", Text),
        field(3, "group", Text),
        field(4, "version", Text),
        field(5, "resource", Text),
        field(6, "subresource", Text),
        field(7, "name", Text),
    ],
};

static NON_RESOURCE_ATTRIBUTES: Message = Message {
    name: "NonResourceAttributes",
    fields: &[field(1, "path", Text), field(2, "verb", Text)],
};

static DISRUPTION_BUDGET: Message = Message {
    name: "PodDisruptionBudget",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&DISRUPTION_BUDGET_SPEC)),
        field(3, "status", Ignored),
    ],
};

static DISRUPTION_BUDGET_SPEC: Message = Message {
    name: "PodDisruptionBudgetSpec",
    fields: &[
        field(1, "minAvailable", IntOrString),
        field(2, "selector", Form::Message(&workload::LABEL_SELECTOR)),
        field(3, "maxUnavailable", IntOrString),
        field(4, "unhealthyPodEvictionPolicy", Text),
    ],
};

static EVICTION: Message = Message {
    name: "Eviction",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "deleteOptions", Form::Message(&DELETE_OPTIONS)),
    ],
};

static DELETE_OPTIONS: Message = Message {
    name: "DeleteOptions",
    fields: &[
        field(1, "gracePeriodSeconds", OptionalInteger),
        field(2, "preconditions", Form::Message(&PRECONDITIONS)),
        field(3, "orphanDependents", OptionalFlag),
        field(4, "propagationPolicy", Text),
        field(5, "dryRun", Texts),
        field(6, "ignoreStoreReadErrorWithClusterBreakingPotential", Ignored),
    ],
};

static PRECONDITIONS: Message = Message {
    name: "Preconditions",
    fields: &[field(1, "uid", Text), field(2, "resourceVersion", Text)],
};

static PRIORITY_CLASS: Message = Message {
    name: "PriorityClass",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "value", OptionalInteger),
        field(3, "globalDefault", Flag),
        field(4, "description", Text),
        field(5, "preemptionPolicy", Text),
    ],
};
