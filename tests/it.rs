//! Whole-program tests against real Docker, real sockets and a real kernel.

mod it {
    mod agent;
    mod agent_connections;
    mod agent_lab;
    mod agent_paths;
    mod catalogue;
    mod dns;
    mod docker;
    mod docker_errors;
    mod hardened;
    mod hostile_daemon;
    mod http;
    mod impair;
    mod indicators;
    mod inside;
    mod lab;
    mod layering;
    mod load;
    mod load_cli;
    mod load_protocols;
    mod load_requests;
    mod netem;
    mod netem_chance;
    mod probe_servers;
    mod probes;
    mod report;
    mod run;
    mod safety;
    mod shell;
    mod spec;
    mod target;
    mod tasks;
    mod torture;
    mod verdict;
}
