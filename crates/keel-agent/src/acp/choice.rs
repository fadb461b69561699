//! What a session chooses of its agent: a mode, a model.
//!
//! Agents offer them as options of a session's configuration, or, in an older way, each with a list and
//! a method of its own; the former stand where there are both. What an agent takes without having
//! offered it is not asked for, as some take anything.

use serde_json::{Value, json};

use super::update::text;
use crate::limits::CHOICES_MAX;

/// Something that is chosen, by the param of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Mode,
    Model,
}

impl What {
    /// In the order in which they are chosen: a mode may be one of a model.
    pub(crate) const ALL: [Self; 2] = [Self::Model, Self::Mode];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Model => "model",
        }
    }
}

/// How an agent is told what was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// As the option of this id.
    Option(String),
    /// By a method of its own.
    Own,
}

/// What an agent lets be chosen, and what of it is in force as far as we know: it may change its mode
/// by itself, and then that stands until something else is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    way: Way,
    began: String,
    pub(crate) offered: Vec<String>,
    chosen: Option<String>,
}

/// Both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choices {
    mode: Option<Choice>,
    model: Option<Choice>,
}

impl Choices {
    /// What an agent offers with a session that it opened.
    pub(crate) fn read(told: &Value) -> Self {
        let options = told["configOptions"].as_array();
        let option = |what: What| {
            let mut options = options.into_iter().flatten();
            options.find_map(|it| read_option(it, what))
        };
        let own = |list: &Value, current: &str, names: &str, name: &str| {
            let offered = list[names].as_array().into_iter().flatten();
            Some(Choice {
                way: Way::Own,
                began: text(list.as_object()?, current)?,
                offered: names_of(offered, name),
                chosen: None,
            })
        };
        let (modes, models) = (&told["modes"], &told["models"]);
        let mode = || own(modes, "currentModeId", "availableModes", "id");
        let model = || own(models, "currentModelId", "availableModels", "modelId");
        Self {
            mode: option(What::Mode).or_else(mode),
            model: option(What::Model).or_else(model),
        }
    }

    pub(crate) const fn of(&self, what: What) -> Option<&Choice> {
        match what {
            What::Mode => self.mode.as_ref(),
            What::Model => self.model.as_ref(),
        }
    }

    /// It has taken `value`.
    pub(crate) fn took(&mut self, what: What, value: String) {
        let choice = match what {
            What::Mode => &mut self.mode,
            What::Model => &mut self.model,
        };
        if let Some(choice) = choice {
            choice.chosen = Some(value);
        }
    }
}

impl Choice {
    /// What is in force.
    pub(crate) fn now(&self) -> &str {
        self.chosen.as_ref().unwrap_or(&self.began)
    }

    /// What was before anything was chosen.
    pub(crate) fn began(&self) -> &str {
        &self.began
    }

    /// What the agent is asked, so that `value` is in force in `session`.
    pub(crate) fn request(&self, what: What, session: &str, value: &str) -> (&'static str, Value) {
        match (&self.way, what) {
            (Way::Option(id), _) => (
                "session/set_config_option",
                json!({"sessionId": session, "configId": id, "value": value}),
            ),
            (Way::Own, What::Mode) => (
                "session/set_mode",
                json!({"sessionId": session, "modeId": value}),
            ),
            (Way::Own, What::Model) => (
                "session/set_model",
                json!({"sessionId": session, "modelId": value}),
            ),
        }
    }
}

/// An option that is a choice of `what`, by its category, or by its id where it has none.
fn read_option(option: &Value, what: What) -> Option<Choice> {
    let object = option.as_object()?;
    let id = text(object, "id")?;
    let category = text(object, "category");
    if category.as_deref().unwrap_or(&id) != what.name() || option["type"] != "select" {
        return None;
    }
    // There may be groups of them.
    let values = option["options"].as_array().into_iter().flatten();
    let values = values.flat_map(|it| match it["options"].as_array() {
        Some(group) => group.iter(),
        None => std::slice::from_ref(it).iter(),
    });
    Some(Choice {
        way: Way::Option(id),
        began: text(object, "currentValue")?,
        offered: names_of(values, "value"),
        chosen: None,
    })
}

fn names_of<'a>(values: impl Iterator<Item = &'a Value>, name: &str) -> Vec<String> {
    let names = values.take(CHOICES_MAX);
    names.filter_map(|it| text(it.as_object()?, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_over_the_older_lists_and_may_be_grouped() {
        let told = json!({
            "modes": {"currentModeId": "old", "availableModes": [{"id": "old"}]},
            "models": {"currentModelId": "m", "availableModels": [{"modelId": "m"}, {"modelId": 7}]},
            "configOptions": [
                7,
                {"id": "mode", "category": "thought_level", "type": "select", "currentValue": "x", "options": []},
                {"id": "preset", "category": "mode", "type": "select", "currentValue": "ask", "options": [
                    {"group": "careful", "options": [{"value": "ask"}, {"value": "plan"}]},
                    {"value": "code"},
                ]},
                {"id": "model", "type": "boolean", "currentValue": true},
            ],
        });
        let choices = Choices::read(&told);
        let (mode, model) = (choices.of(What::Mode), choices.of(What::Model));
        let (mode, model) = (mode.expect("it is offered"), model.expect("it is offered"));
        assert_eq!(
            (mode.now(), &mode.offered[..]),
            ("ask", &["ask", "plan", "code"].map(str::to_owned)[..])
        );
        assert_eq!(
            (model.now(), &model.offered[..]),
            ("m", &["m".to_owned()][..])
        );
        let (method, params) = mode.request(What::Mode, "s", "plan");
        assert_eq!(method, "session/set_config_option");
        assert_eq!(
            params,
            json!({"sessionId": "s", "configId": "preset", "value": "plan"})
        );
        let (method, params) = model.request(What::Model, "s", "m");
        assert_eq!(
            (method, &params["modelId"]),
            ("session/set_model", &json!("m"))
        );
        assert_eq!(Choices::read(&json!({"modes": 7})), Choices::default());
    }
}
