//! The manifest's JSON Schema (draft 2020-12), generated from the table of keys.
//!
//! The schema describes keys, types, ranges and patterns. It accepts some manifests that `parse` rejects (for example
//! two functions with the same route), but must not reject a manifest that `parse` accepts.

use serde_json::{Map, Value as Json, json};

use crate::keys::{MANIFEST, SECRET_REFERENCE};
use crate::secret::SECRET;
use crate::shape::{Key, Need, Shape};
use crate::{check, duration, size};

/// Generates the JSON Schema of the manifest.
pub fn schema() -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hearth manifest (edge.yaml)",
        "$defs": {
            "resource": {
                "description": "Anything. `{ secret: NAME }` stands for the value of a secret.",
                "if": { "type": "object", "required": [SECRET], "maxProperties": 1 },
                "then": { "$ref": REFERENCE },
                "else": {
                    "items": { "$ref": RESOURCE },
                    "additionalProperties": { "$ref": RESOURCE },
                },
            },
            "secret": {
                "description": "The value of a secret.",
                "type": "object",
                "required": [SECRET],
                "properties": { SECRET: of(&SECRET_REFERENCE) },
                "additionalProperties": false,
            },
        },
    });
    if let (Json::Object(schema), Json::Object(shape)) = (&mut schema, of(&MANIFEST)) {
        schema.extend(shape);
    }
    schema
}

const RESOURCE: &str = "#/$defs/resource";
const REFERENCE: &str = "#/$defs/secret";

fn of(shape: &'static Shape) -> Json {
    match shape {
        Shape::Map(keys) => {
            let properties: Map<_, _> = keys
                .iter()
                .map(|key| (key.name.to_owned(), property(key)))
                .collect();
            let required: Vec<_> = keys
                .iter()
                .filter(|key| matches!(key.need, Need::Required))
                .map(|key| key.name)
                .collect();
            let mut map = json!({ "type": "object", "properties": properties, "additionalProperties": false });
            if !required.is_empty() {
                map["required"] = json!(required);
            }
            map
        }
        Shape::Names {
            name,
            each,
            least,
            most,
        } => {
            let mut map = json!({
                "type": "object",
                "propertyNames": { "pattern": name.pattern() },
                "additionalProperties": of(each),
            });
            if *least > 0 {
                map["minProperties"] = json!(least);
            }
            if let Some(most) = most {
                map["maxProperties"] = json!(most);
            }
            map
        }
        Shape::List { each, least: 0 } => json!({ "type": "array", "items": of(each) }),
        Shape::List { each, least } => {
            json!({ "type": "array", "items": of(each), "minItems": least })
        }
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Decimal { min, max } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        Shape::Size { min, max } => json!({
            "anyOf": [
                { "type": "integer", "minimum": min, "maximum": max },
                { "type": "string", "pattern": size::PATTERN },
            ],
        }),
        Shape::Duration { .. } => json!({ "type": "string", "pattern": duration::PATTERN }),
        Shape::Name(rule) => json!({ "type": "string", "pattern": rule.pattern() }),
        Shape::Text(rule) if rule.secret => json!({
            "anyOf": [{ "type": "string", "pattern": rule.pattern }, { "$ref": REFERENCE }],
        }),
        Shape::Text(rule) => json!({ "type": "string", "pattern": rule.pattern }),
        Shape::Resource => json!({ "$ref": RESOURCE }),
    }
}

fn property(key: &'static Key) -> Json {
    if let Need::NotYet = key.need {
        return json!({ "description": format!("Not yet supported. {}", key.doc), "not": {} });
    }
    let mut property = of(key.shape);
    property["description"] = match key.need {
        Need::As(other) => json!(format!("{} Default: as `{other}`.", key.doc)),
        Need::Absent(means) => json!(format!("{} Default: {means}.", key.doc)),
        Need::Required | Need::Default(_) | Need::NotYet => json!(key.doc),
    };
    if let Need::Default(yaml) = key.need {
        property["default"] = check::default(key.shape, yaml);
    }
    property
}
