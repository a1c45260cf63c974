//! What a task watches, as it is stored.

use std::collections::BTreeMap;

use super::Read;
use crate::model::{
    BodyMatchDraft, ConfigValue, CustomSpec, ExecDraft, ExecSpec, HttpDraft, HttpSpec, MonitorDraft, MonitorSpec,
    TcpDraft, TcpSpec, TcpStep,
};

/// A monitor.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::journal::embedded) enum MonitorForm {
    #[prost(message, tag = "1")]
    Http(HttpForm),
    #[prost(message, tag = "2")]
    Tcp(TcpForm),
    #[prost(message, tag = "3")]
    Exec(ExecForm),
    #[prost(message, tag = "4")]
    Custom(CustomForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct HttpForm {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(message, repeated, tag = "3")]
    headers: Vec<NamedForm>,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
    #[prost(string, repeated, tag = "5")]
    expected_status: Vec<String>,
    #[prost(string, tag = "6")]
    body_contains: String,
    #[prost(string, tag = "7")]
    body_regex: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct TcpForm {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(message, repeated, tag = "2")]
    steps: Vec<StepForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct StepForm {
    #[prost(bytes = "vec", tag = "1")]
    send: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    expect: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct ExecForm {
    #[prost(string, tag = "1")]
    command: String,
    #[prost(string, repeated, tag = "2")]
    args: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    env: Vec<NamedForm>,
}

/// A header or a variable.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct NamedForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct CustomForm {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ValueForm>,
}

/// A custom kind's configuration; `null` has no value.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct ValueForm {
    #[prost(oneof = "ValueOf", tags = "1, 2, 3, 4, 5")]
    value: Option<ValueOf>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ValueOf {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(message, tag = "4")]
    List(ListForm),
    #[prost(message, tag = "5")]
    Object(ObjectForm),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListForm {
    #[prost(message, repeated, tag = "1")]
    values: Vec<ValueForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ObjectForm {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    values: Vec<ValueForm>,
}

impl MonitorForm {
    pub(super) fn of(monitor: &MonitorSpec) -> Self {
        match monitor {
            MonitorSpec::Http(http) => Self::Http(HttpForm::of(http)),
            MonitorSpec::Tcp(tcp) => Self::Tcp(TcpForm::of(tcp)),
            MonitorSpec::Exec(exec) => Self::Exec(ExecForm::of(exec)),
            MonitorSpec::Custom(CustomSpec { kind, config }) => {
                Self::Custom(CustomForm { kind: kind.clone(), config: Some(ValueForm::of(config)) })
            }
        }
    }

    pub(super) fn read(self) -> Read<MonitorDraft> {
        Ok(match self {
            Self::Http(http) => MonitorDraft::Http(http.draft()),
            Self::Tcp(tcp) => MonitorDraft::Tcp(tcp.draft()),
            Self::Exec(exec) => MonitorDraft::Exec(exec.draft()),
            Self::Custom(CustomForm { kind, config }) => {
                let config = config.ok_or(super::Unreadable::Missing("configuration"))?.read();
                MonitorDraft::Custom(CustomSpec { kind, config })
            }
        })
    }
}

impl HttpForm {
    fn of(http: &HttpSpec) -> Self {
        let wanted = http.body_match();
        Self {
            url: http.url().as_str().to_owned(),
            method: http.method().to_owned(),
            headers: http.headers().iter().map(NamedForm::of).collect(),
            body: http.body().to_vec(),
            expected_status: http.expected_status().iter().map(ToString::to_string).collect(),
            body_contains: wanted.contains().unwrap_or_default().to_owned(),
            body_regex: wanted.regex().map_or("", |regex| regex.as_str()).to_owned(),
        }
    }

    fn draft(self) -> HttpDraft {
        let Self { url, method, headers, body, expected_status, body_contains, body_regex } = self;
        HttpDraft {
            url,
            method,
            headers: headers.into_iter().map(NamedForm::read).collect(),
            body,
            expected_status,
            body_match: BodyMatchDraft { contains: body_contains, regex: body_regex },
        }
    }
}

impl TcpForm {
    fn of(tcp: &TcpSpec) -> Self {
        let steps =
            tcp.steps().iter().map(|TcpStep { send, expect }| StepForm { send: send.clone(), expect: expect.clone() });
        Self { address: format!("{}:{}", tcp.host(), tcp.port()), steps: steps.collect() }
    }

    fn draft(self) -> TcpDraft {
        let Self { address, steps } = self;
        let steps = steps.into_iter().map(|StepForm { send, expect }| TcpStep { send, expect });
        TcpDraft { address, steps: steps.collect() }
    }
}

impl ExecForm {
    fn of(exec: &ExecSpec) -> Self {
        Self {
            command: exec.command().to_owned(),
            args: exec.args().to_vec(),
            env: exec.env().iter().map(NamedForm::of).collect(),
        }
    }

    fn draft(self) -> ExecDraft {
        let Self { command, args, env } = self;
        ExecDraft { command, args, env: env.into_iter().map(NamedForm::read).collect() }
    }
}

impl NamedForm {
    fn of((name, value): &(String, String)) -> Self {
        Self { name: name.clone(), value: value.clone() }
    }

    fn read(self) -> (String, String) {
        let Self { name, value } = self;
        (name, value)
    }
}

impl ValueForm {
    fn of(value: &ConfigValue) -> Self {
        let value = match value {
            ConfigValue::Null => None,
            ConfigValue::Bool(value) => Some(ValueOf::Bool(*value)),
            ConfigValue::Number(value) => Some(ValueOf::Number(*value)),
            ConfigValue::String(value) => Some(ValueOf::String(value.clone())),
            ConfigValue::List(values) => {
                Some(ValueOf::List(ListForm { values: values.iter().map(Self::of).collect() }))
            }
            ConfigValue::Object(fields) => Some(ValueOf::Object(ObjectForm {
                names: fields.keys().cloned().collect(),
                values: fields.values().map(Self::of).collect(),
            })),
        };
        Self { value }
    }

    fn read(self) -> ConfigValue {
        match self.value {
            None => ConfigValue::Null,
            Some(ValueOf::Bool(value)) => ConfigValue::Bool(value),
            Some(ValueOf::Number(value)) => ConfigValue::Number(value),
            Some(ValueOf::String(value)) => ConfigValue::String(value),
            Some(ValueOf::List(ListForm { values })) => ConfigValue::List(values.into_iter().map(Self::read).collect()),
            Some(ValueOf::Object(ObjectForm { names, values })) => {
                let fields: BTreeMap<_, _> = names.into_iter().zip(values.into_iter().map(Self::read)).collect();
                ConfigValue::Object(fields)
            }
        }
    }
}
