//! The OpenAPI document of everything the router has.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document, kept as it is read.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::routes;
    use super::*;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let routes: BTreeSet<_> =
            routes::all().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let document = document();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        assert_eq!(described, routes);
    }

    #[test]
    fn the_document_is_of_this_version_and_refers_to_nothing_that_it_lacks() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut used = BTreeSet::new();
        refs(&document, &mut used);
        for reference in &used {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        // And it has nothing that nothing refers to.
        for kind in ["schemas", "responses", "parameters"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(used.contains(&reference), "{reference} is not used");
            }
        }
    }

    fn refs(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.insert(reference.clone());
                }
                map.values().for_each(|value| refs(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| refs(value, found)),
            _ => {}
        }
    }
}
