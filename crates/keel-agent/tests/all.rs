//! The tests of keel-agent, as one binary.

mod all {
    mod harness;
    mod model;

    mod acp;
    mod conformance;
    mod echo;
    mod endpoint;
    mod fallback;
    mod isolation;
    mod litellm;
    mod process;
    mod runner;
}
