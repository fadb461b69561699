//! What an agent lets be chosen: modes and models, in one of the protocol's two ways.

use serde_json::{Value, json};

/// What is offered, and what is in force.
pub(crate) struct Choices {
    /// Each with a list and a method of its own.
    lists: bool,
    /// As options of a session.
    options: bool,
    /// None is taken.
    refuses: bool,
    mode: String,
    model: String,
}

impl Default for Choices {
    fn default() -> Self {
        Self::new(|_| false)
    }
}

impl Choices {
    pub(crate) fn new(flag: impl Fn(&str) -> bool) -> Self {
        Self {
            lists: flag("modes"),
            options: flag("options"),
            refuses: flag("refuse-choices"),
            mode: "code".to_owned(),
            model: "small".to_owned(),
        }
    }

    /// What is told of them with a session.
    pub(crate) fn offers(&self) -> Value {
        let (mode, model) = (&self.mode, &self.model);
        let mut told = json!({});
        if self.lists {
            told["modes"] = json!({"currentModeId": mode,
                "availableModes": [{"id": "code"}, {"id": "plan"}]});
            told["models"] = json!({"currentModelId": model,
                "availableModels": [{"modelId": "small"}, {"modelId": "large"}]});
        }
        if self.options {
            told["configOptions"] = json!([
                {"id": "a", "category": "mode", "type": "select", "currentValue": mode,
                 "options": [{"value": "code"}, {"value": "plan"}]},
                {"id": "b", "category": "model", "type": "select", "currentValue": model,
                 "options": [{"group": "all", "options": [{"value": "small"}, {"value": "large"}]}]},
            ]);
        }
        told
    }

    /// Answers a `session/set_…`.
    pub(crate) fn choose(&mut self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        let (what, value) = match (method, self.lists, self.options) {
            ("session/set_mode", true, _) => (&mut self.mode, &params["modeId"]),
            ("session/set_model", true, _) => (&mut self.model, &params["modelId"]),
            ("session/set_config_option", _, true) if params["configId"] == "a" => {
                (&mut self.mode, &params["value"])
            }
            ("session/set_config_option", _, true) if params["configId"] == "b" => {
                (&mut self.model, &params["value"])
            }
            _ => return Err((-32_601, "no such method".to_owned())),
        };
        match value.as_str() {
            Some(value) if !self.refuses => value.clone_into(what),
            _ => return Err((-32_602, "Invalid params".to_owned())),
        }
        Ok(self.offers())
    }

    /// What is in force, in words.
    pub(crate) fn chosen(&self) -> String {
        format!("{} {} ", self.mode, self.model)
    }
}
