//! The example program of a Viaduct cluster: it says which pod answered and which client it saw.
//!
//! One static binary without dependencies, so that an image of it is one file. As a server it
//! answers HTTP and UDP on the same port; as a client (`get`, `udp`) it asks such a server and
//! prints one JSON line for each answer, which is what the tests of the cluster read.

mod client;
mod json;
mod server;
mod signal;
mod url;

use std::process::ExitCode;

const USAGE: &str = "\
usage: viaduct-echo [serve] [--port 8080]
       viaduct-echo get URL     [-n N] [--interval-ms MS] [--timeout-ms MS] [--keepalive]
       viaduct-echo udp HOST:PORT [-n N] [--interval-ms MS] [--timeout-ms MS] [--unconnected]

serve   GET /            one JSON line: pod, node, namespace, client, host
        GET /healthz     200 while ready, 503 while not
        GET /ready?off   become unready; /ready?on: ready again
        GET /slow?MS     a line every 100 ms for MS milliseconds (5000 unless told), then the JSON
        GET /exit?CODE   exit with this code
        UDP, same port   the same JSON
get     URL is http://ADDRESS:PORT/PATH; -n 0 goes on until SIGTERM
udp     one datagram per request; --unconnected sends without connect(2) and
        fails an answer that comes from another address

PORT and SERVICE, POD_NAME, NODE_NAME, POD_NAMESPACE are taken from the environment.
The client exits with 1 when any request failed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("viaduct-echo: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, String> {
    match arguments.first().map(String::as_str) {
        Some("get") => client::get(&client::Options::parse(&arguments[1..])?),
        Some("udp") => client::udp(&client::Options::parse(&arguments[1..])?),
        Some("-h" | "--help" | "help") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some("serve") => server::serve(server::port(&arguments[1..])?),
        _ => server::serve(server::port(arguments)?),
    }
}
