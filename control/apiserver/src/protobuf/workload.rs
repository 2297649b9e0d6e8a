//! Deployments and pods, as far as `kubectl create deployment` fills them and somewhat beyond.

use super::messages::{
    Form,
    Form::{
        Flag, Ignored, IntOrString, Integer, Messages, OptionalFlag, OptionalInteger, QuantityMap,
        Text, TextMap, Texts,
    },
    LOCAL_OBJECT_REFERENCE, Message, OBJECT_META, field,
};

pub(super) static DEPLOYMENT: Message = Message {
    name: "Deployment",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&DEPLOYMENT_SPEC)),
        field(3, "status", Ignored),
    ],
};

static DEPLOYMENT_SPEC: Message = Message {
    name: "DeploymentSpec",
    fields: &[
        field(1, "replicas", OptionalInteger),
        field(2, "selector", Form::Message(&LABEL_SELECTOR)),
        field(3, "template", Form::Message(&POD_TEMPLATE_SPEC)),
        field(4, "strategy", Form::Message(&DEPLOYMENT_STRATEGY)),
        field(5, "minReadySeconds", Integer),
        field(6, "revisionHistoryLimit", OptionalInteger),
        field(7, "paused", Flag),
        field(9, "progressDeadlineSeconds", OptionalInteger),
    ],
};

static DEPLOYMENT_STRATEGY: Message = Message {
    name: "DeploymentStrategy",
    fields: &[
        field(1, "type", Text),
        field(2, "rollingUpdate", Form::Message(&ROLLING_UPDATE_DEPLOYMENT)),
    ],
};

static ROLLING_UPDATE_DEPLOYMENT: Message = Message {
    name: "RollingUpdateDeployment",
    fields: &[field(1, "maxUnavailable", IntOrString), field(2, "maxSurge", IntOrString)],
};

pub(super) static LABEL_SELECTOR: Message = Message {
    name: "LabelSelector",
    fields: &[
        field(1, "matchLabels", TextMap),
        field(2, "matchExpressions", Messages(&LABEL_SELECTOR_REQUIREMENT)),
    ],
};

static LABEL_SELECTOR_REQUIREMENT: Message = Message {
    name: "LabelSelectorRequirement",
    fields: &[field(1, "key", Text), field(2, "operator", Text), field(3, "values", Texts)],
};

static POD_TEMPLATE_SPEC: Message = Message {
    name: "PodTemplateSpec",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&POD_SPEC)),
    ],
};

pub(super) static POD: Message = Message {
    name: "Pod",
    fields: &[
        field(1, "metadata", Form::Message(&OBJECT_META)),
        field(2, "spec", Form::Message(&POD_SPEC)),
        field(3, "status", Ignored),
    ],
};

static POD_SPEC: Message = Message {
    name: "PodSpec",
    fields: &[
        field(2, "containers", Messages(&CONTAINER)),
        field(3, "restartPolicy", Text),
        field(4, "terminationGracePeriodSeconds", OptionalInteger),
        field(5, "activeDeadlineSeconds", OptionalInteger),
        field(6, "dnsPolicy", Text),
        field(7, "nodeSelector", TextMap),
        field(8, "serviceAccountName", Text),
        field(9, "serviceAccount", Text),
        field(10, "nodeName", Text),
        field(11, "hostNetwork", Flag),
        field(12, "hostPID", Flag),
        field(13, "hostIPC", Flag),
        field(15, "imagePullSecrets", Messages(&LOCAL_OBJECT_REFERENCE)),
        field(16, "hostname", Text),
        field(17, "subdomain", Text),
        field(19, "schedulerName", Text),
        field(20, "initContainers", Messages(&CONTAINER)),
        field(21, "automountServiceAccountToken", OptionalFlag),
        field(24, "priorityClassName", Text),
        field(25, "priority", OptionalInteger),
        field(27, "shareProcessNamespace", OptionalFlag),
        field(29, "runtimeClassName", Text),
        field(30, "enableServiceLinks", OptionalFlag),
    ],
};

static CONTAINER: Message = Message {
    name: "Container",
    fields: &[
        field(1, "name", Text),
        field(2, "image", Text),
        field(3, "command", Texts),
        field(4, "args", Texts),
        field(5, "workingDir", Text),
        field(6, "ports", Messages(&CONTAINER_PORT)),
        field(7, "env", Messages(&ENV_VAR)),
        field(8, "resources", Form::Message(&RESOURCE_REQUIREMENTS)),
        field(13, "terminationMessagePath", Text),
        field(14, "imagePullPolicy", Text),
        field(16, "stdin", Flag),
        field(17, "stdinOnce", Flag),
        field(18, "tty", Flag),
        field(20, "terminationMessagePolicy", Text),
    ],
};

static CONTAINER_PORT: Message = Message {
    name: "ContainerPort",
    fields: &[
        field(1, "name", Text),
        field(2, "hostPort", Integer),
        field(3, "containerPort", Integer),
        field(4, "protocol", Text),
        field(5, "hostIP", Text),
    ],
};

static ENV_VAR: Message =
    Message { name: "EnvVar", fields: &[field(1, "name", Text), field(2, "value", Text)] };

static RESOURCE_REQUIREMENTS: Message = Message {
    name: "ResourceRequirements",
    fields: &[field(1, "limits", QuantityMap), field(2, "requests", QuantityMap)],
};
