//! The API described by itself: an OpenAPI document, made of the table that routes it.
//!
//! What a request may hold and what an answer holds are the types that the handlers read and write, so
//! that neither can be described otherwise than it is.

use std::borrow::Cow;

use axum::routing::MethodRouter;
use keel_wire::{Command, Fault};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::shared::Shared;

/// A path, what serves it, and what is said about it.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) serves: MethodRouter<Arc<Shared>>,
    pub(super) operations: Vec<Operation>,
}

/// What is said about one method of a path.
pub(super) struct Operation {
    method: &'static str,
    id: &'static str,
    says: &'static str,
    /// Whether it wants a bearer token.
    token: bool,
    parameters: Vec<Value>,
    /// What fills in the members that the query may have, and the parts of a schema.
    query: Option<Make>,
    body: Option<(&'static str, Make)>,
    answers: Vec<Answer>,
    /// Statuses of refusals, besides those that any request may get.
    refusals: Vec<u16>,
    /// The media type of its refusals.
    refused_as: &'static str,
}

type Make = fn(&mut SchemaGenerator) -> Value;

struct Answer {
    status: u16,
    says: &'static str,
    content: Vec<(&'static str, Option<Make>)>,
    links: bool,
}

const JSON: &str = "application/json";

/// The schema of a type, by reference where it has a name.
fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// The members of a type that is read from a query.
fn members<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

impl Operation {
    pub(super) fn new(method: &'static str, id: &'static str, says: &'static str) -> Self {
        Self {
            method,
            id,
            says,
            token: true,
            parameters: Vec::new(),
            query: None,
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
            refused_as: JSON,
        }
    }

    pub(super) fn without_token(mut self) -> Self {
        self.token = false;
        self
    }

    /// Its query is read as that type.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(members::<T>);
        self
    }

    /// Its body is JSON, and read as that type.
    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some((JSON, schema::<T>));
        self.refusals.extend([400, 408, 413, 415]);
        self
    }

    /// Its body is JSON of a schema that no type of its own has.
    pub(super) fn body_of(mut self, make: Make) -> Self {
        self.body = Some((JSON, make));
        self.refusals.extend([400, 408, 413, 415]);
        self
    }

    /// Its body is text of that media type.
    pub(super) fn text_body(mut self, kind: &'static str) -> Self {
        self.body = Some((kind, |_| json!({ "type": "string" })));
        self
    }

    pub(super) fn header(
        mut self,
        name: &'static str,
        says: &'static str,
        required: bool,
        schema: &Value,
    ) -> Self {
        self.parameters.push(json!({
            "in": "header", "name": name, "description": says, "required": required,
            "schema": schema,
        }));
        self
    }

    /// Answers JSON of that type.
    pub(super) fn answers<T: JsonSchema>(mut self, status: u16, says: &'static str) -> Self {
        self.answers.push(Answer {
            status,
            says,
            content: vec![(JSON, Some(schema::<T>))],
            links: false,
        });
        self
    }

    /// Answers text of one of those media types, or nothing.
    pub(super) fn answers_as(
        mut self,
        status: u16,
        says: &'static str,
        kinds: &[&'static str],
    ) -> Self {
        let content = kinds.iter().map(|kind| (*kind, None)).collect();
        self.answers.push(Answer {
            status,
            says,
            content,
            links: false,
        });
        self
    }

    /// The last answer may be text of that media type, too.
    pub(super) fn or_as(mut self, kind: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.content.push((kind, None));
        }
        self
    }

    /// The last answer is a session, and leads to what can be done with it.
    pub(super) fn linked(mut self) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links = true;
        }
        self
    }

    pub(super) fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    pub(super) fn refuses_as(mut self, kind: &'static str) -> Self {
        self.refused_as = kind;
        self
    }

    fn document(&self, path: &str, generator: &mut SchemaGenerator) -> Value {
        let mut parameters: Vec<Value> = named_in(path).map(parameter_of_path).collect();
        parameters.extend(self.parameters.iter().cloned());
        if let Some(query) = self.query {
            parameters.extend(parameters_of_query(&query(generator)));
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.says,
            "parameters": parameters,
            "responses": self.responses(path, generator),
            "security": if self.token { json!([{ "token": [] }]) } else { json!([]) },
        });
        if let Some((kind, make)) = self.body {
            operation["requestBody"] = json!({
                "required": true,
                "content": { kind: { "schema": make(generator) } },
            });
        }
        operation
    }

    fn responses(&self, path: &str, generator: &mut SchemaGenerator) -> Value {
        let mut responses = Map::new();
        for answer in &self.answers {
            let mut response = json!({ "description": answer.says });
            for (kind, make) in &answer.content {
                let schema =
                    make.map_or_else(|| json!({ "type": "string" }), |make| make(generator));
                response["content"][kind] = json!({ "schema": schema });
            }
            if answer.links {
                response["links"] = links();
            }
            responses.insert(answer.status.to_string(), response);
        }
        let mut refusals = self.refusals.clone();
        if self.token {
            // No token, a bad one, or one that may not.
            refusals.extend([401, 403]);
        }
        if path.contains('{') {
            refusals.push(404);
        }
        if self.query.is_some() || !self.parameters.is_empty() {
            refusals.push(400);
        }
        // A store or a server that cannot now.
        refusals.extend([500, 503]);
        for status in refusals {
            let schema = if self.refused_as == JSON {
                schema::<Fault>(generator)
            } else {
                json!({ "type": "object" })
            };
            let refusal = json!({
                "description": "A refusal, with its fault.",
                "content": { self.refused_as: { "schema": schema } },
            });
            responses.entry(status.to_string()).or_insert(refusal);
        }
        Value::Object(responses)
    }
}

/// The names in a path's braces.
fn named_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter_of_path(name: &str) -> Value {
    json!({
        "in": "path", "name": name, "required": true,
        "schema": { "type": "string", "pattern": "^[a-z0-9-]{1,64}$" },
    })
}

fn parameters_of_query(members: &Value) -> Vec<Value> {
    let properties = members["properties"].as_object().into_iter().flatten();
    let parameters = properties.map(|(name, schema)| {
        let mut schema = schema.clone();
        let description = schema.get("description").cloned().unwrap_or_default();
        // Nobody writes null into a query: a member is there or is not.
        if let Some(Value::Array(kinds)) = schema.get_mut("type") {
            kinds.retain(|kind| kind != "null");
            if let [kind] = kinds.as_slice() {
                schema["type"] = kind.clone();
            }
        }
        if let Some(either) = schema.get("anyOf").and_then(Value::as_array) {
            let some: Vec<&Value> = either.iter().filter(|one| one["type"] != "null").collect();
            if let [one] = some.as_slice() {
                schema = (*one).clone();
            }
        }
        json!({
            "in": "query", "name": name, "description": description, "required": false,
            "schema": schema,
        })
    });
    parameters.collect()
}

/// What can be done with a session that was just opened.
fn links() -> Value {
    let to = |operation: &str| json!({ "operationId": operation, "parameters": { "session": "$response.body#/session" } });
    json!({
        "read": to("readSession"),
        "describe": to("describeSession"),
        "transcript": to("readTranscript"),
        "export": to("exportSession"),
        "events": to("readEvents"),
        "command": to("runCommand"),
        "end": to("endSession"),
        "delete": to("deleteSession"),
    })
}

/// The body of a command: its name, and data of that command's own shape.
pub(super) fn commands(generator: &mut SchemaGenerator) -> Value {
    let mut choices = Vec::new();
    for (name, schema) in Command::schemas() {
        // What breaks things on purpose is no part of what is offered.
        if name.starts_with("debug.") {
            continue;
        }
        let data = absorb(schema.to_value(), generator);
        choices.push(json!({
            "type": "object",
            "properties": { "name": { "const": name }, "data": data },
            "required": ["name", "data"],
            "additionalProperties": false,
        }));
    }
    json!({ "oneOf": choices })
}

/// A schema that stands alone, with its definitions among those of the document.
fn absorb(mut schema: Value, generator: &mut SchemaGenerator) -> Value {
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    object.remove("$schema");
    if let Some(Value::Object(definitions)) = object.remove("$defs") {
        for (name, definition) in definitions {
            let definition = pointed(definition);
            generator
                .definitions_mut()
                .entry(name)
                .or_insert(definition);
        }
    }
    pointed(schema)
}

/// The same with its references into the document's components.
fn pointed(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object
                .into_iter()
                .map(|(name, value)| match (name.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        let to = to.replace("#/$defs/", "#/components/schemas/");
                        (name, Value::String(to))
                    }
                    (_, value) => (name, pointed(value)),
                });
            Value::Object(members.collect())
        }
        Value::Array(values) => values.into_iter().map(pointed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = Cow::Borrowed("/components/schemas");
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let mut item = Map::new();
        for operation in &route.operations {
            let method = operation.method.to_ascii_lowercase();
            item.insert(method, operation.document(route.path, &mut generator));
        }
        paths.insert(route.path.to_owned(), Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Evenkeel",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A realtime session server. Sessions are spoken in over a WebSocket; this \
                is what stands beside it. Every refusal is one fault as JSON. An Idempotency-Key \
                makes a request the same one when it is sent again.",
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}
