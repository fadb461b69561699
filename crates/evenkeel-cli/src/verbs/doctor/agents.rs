//! Which agents are installed, and how to get those that are not. None is started, and nothing is
//! downloaded.

use keel_agent::acp::{Installed, PRESETS, Preset};
use keel_server::{Config, config::BackendKind};

use super::Report;

pub(super) fn examine(config: &Config, report: &mut Report) {
    let agents = config.backends.values();
    let agents = agents.filter(|backend| backend.kind == BackendKind::Acp);
    let used = |preset: &Preset| {
        let names = |it: &keel_server::config::Backend| it.preset.as_deref() == Some(preset.name);
        agents
            .clone()
            .any(|backend| names(backend) && backend.command.is_empty())
    };
    if agents.clone().next().is_none() {
        return;
    }
    for preset in PRESETS {
        tell(preset, preset.installed(), used(preset), report);
    }
}

fn tell(preset: &Preset, installed: Option<Installed>, used: bool, report: &mut Report) {
    let name = preset.name;
    match installed {
        Some(Installed { program, version }) => {
            let program = program.display();
            let found = version
                .as_deref()
                .unwrap_or("of a version that it does not tell");
            let says = format!("{name} is installed: {program} {found}");
            match preset.version {
                Some(tried) if used && version.as_deref().is_some_and(|it| it != tried) => report
                    .warn(
                        "agents",
                        says,
                        format!(
                            "version {tried} is the one that was tried ({})",
                            preset.install
                        ),
                    ),
                Some(_) | None => report.ok("agents", says),
            }
        }
        None if used => report.fail(
            "agents",
            format!("{name} is not installed, and a backend wants it: its turns will fail"),
            format!("{}; then {}", preset.install, preset.login),
        ),
        None => report.ok(
            "agents",
            format!("{name} is not installed ({})", preset.install),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    fn told(installed: Option<&str>, used: bool) -> (Level, String) {
        let installed = installed.map(|version| Installed {
            program: "/bin/codex-acp".into(),
            version: Some(version.to_owned()),
        });
        let preset = Preset::named("codex").expect("it is known");
        let mut report = Report::default();
        tell(preset, installed, used, &mut report);
        let finding = report.findings.remove(0);
        (
            finding.level,
            finding.says + &finding.next.unwrap_or_default(),
        )
    }

    #[test]
    fn an_agent_that_a_backend_wants_must_be_there() {
        let tried = Preset::named("codex")
            .and_then(|preset| preset.version)
            .expect("it was tried");
        assert_eq!(told(Some(tried), true).0, Level::Ok);
        assert_eq!(told(Some("0.0.1"), true).0, Level::Warn);
        assert_eq!(told(Some("0.0.1"), false).0, Level::Ok);
        assert_eq!(told(None, false).0, Level::Ok);
        let (level, says) = told(None, true);
        assert_eq!(level, Level::Fail);
        assert!(
            says.contains("npm install -g") && says.contains("codex login"),
            "{says}"
        );
    }
}
