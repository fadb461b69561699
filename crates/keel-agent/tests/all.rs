//! The tests of keel-agent, as one binary.

mod all {
    mod harness;

    mod acp;
    mod conformance;
    mod echo;
    mod isolation;
    mod process;
    mod runner;
}
