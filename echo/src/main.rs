//! The example program of a Viaduct cluster: it says which pod answered and which client it saw.
//!
//! One static binary without dependencies, so that an image of it is one file. As a server it
//! answers HTTP and UDP on the same port, and asks the services of `CALLS` first, so that several of
//! it are an application; as a client (`get`, `udp`) it asks such a server and prints one JSON line
//! for each answer, which is what the tests of the cluster read.

mod calls;
mod client;
mod failure;
mod http;
mod json;
mod listen;
mod resolve;
mod server;
mod signal;
mod url;

use std::process::ExitCode;

const USAGE: &str = "\
usage: viaduct-echo [serve] [--port 8080]
       viaduct-echo get URL       [-n N] [--interval-ms MS] [--in-flight N] [--timeout-ms MS]
                                  [-4|-6] [--keepalive] [--resolv-conf FILE]
       viaduct-echo udp HOST:PORT [-n N] [--interval-ms MS] [--in-flight N] [--timeout-ms MS]
                                  [--unconnected]
       viaduct-echo resolve NAME  [--timeout-ms MS] [--resolv-conf FILE]

serve   GET /            one JSON line: pod, node, namespace, client, host, and under `calls`
                         what the services of CALLS answered; 502 where one of them failed
        GET /healthz     200 while ready, 503 while not
        GET /livez       200
        GET /ready?off   become unready; /ready?on: ready again
        GET /resolve?NAME  the addresses of a name, as this program finds them
        GET /slow?MS     a line every 100 ms for MS milliseconds (5000 unless told), then the JSON
        GET /exit?CODE   exit with this code
        UDP, same port   the same JSON
get     URL is http://HOST:PORT/PATH, with a name or an address; a connection for each request
        unless --keepalive; -n 0 goes on until SIGTERM
udp     one datagram per request; --unconnected sends without connect(2) and
        fails an answer that comes from another address
resolve look a name up

With --interval-ms a request is sent when its time has come, whether the one before it is answered
or not, while fewer than --in-flight (256) are under way; its latency counts from that time.

PORT and SERVICE, VERSION, POD_NAME, NODE_NAME, POD_NAMESPACE are taken from the environment.
CALLS=\"http://a/ http://b:81/\" are asked before a request is answered, all at once, each for at
most CALL_TIMEOUT_MS (2000). EXIT=graceful answers what is under way before SIGTERM ends it.
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
        Some("resolve") => client::resolve(&client::Options::parse(&arguments[1..])?),
        Some("-h" | "--help" | "help") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some("serve") => server::serve(server::port(&arguments[1..])?),
        _ => server::serve(server::port(arguments)?),
    }
}
