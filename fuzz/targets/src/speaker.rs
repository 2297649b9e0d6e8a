//! A speaker to which anything happens in any order.

mod peers;
mod shell;
mod successor;
mod words;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bgp_speaker::Stop;
use viaduct_net::{OriginSource, Origination};

use crate::input::Input;
use peers::{base_config, filter};
use shell::Shell;

/// More says nothing new, and takes long.
const MAX_STEPS: usize = 400;

/// Events of connections, octets, messages, timers and changes as the input has them; the speaker must
/// keep every promise that its shell relies on.
pub fn speaker(data: &[u8]) {
    let mut input = Input(data);
    let mut shell = Shell::new(input.octet());
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut shell, &mut input);
        shell.settle();
    }
    shell.finish();
}

fn step(shell: &mut Shell, input: &mut Input<'_>) {
    match input.below(16) {
        0 => shell.connect_done(input.octet()),
        1 => shell.connect_failed(input.octet()),
        2 => shell.incoming(input.octet()),
        3 => shell.lose(input.octet()),
        4 => {
            let which = input.octet();
            shell.receive(which, input.some());
        }
        5 => {
            let (which, bits) = (input.octet(), input.octet());
            let open = words::open(shell.peer_of(which), bits, input);
            shell.receive(which, &open);
        }
        6 => shell.receive(input.octet(), &words::keepalive()),
        7 => {
            let which = input.octet();
            let body = words::framed(2, input.some());
            shell.receive(which, &body);
        }
        8 => {
            let which = input.octet();
            let update = words::announcement(shell.peer_of(which), input);
            shell.receive(which, &update);
        }
        9 => {
            let which = input.octet();
            shell.receive(which, &words::withdrawal(input));
        }
        10 => {
            let which = input.octet();
            shell.receive(which, &words::refresh(input));
        }
        11 => {
            let which = input.octet();
            let code = [input.octet(), input.octet()];
            shell.receive(which, &words::framed(3, &code));
        }
        12 => match input.below(8) {
            0 => shell.pass(Duration::from_millis(input.u16().into())),
            steps => (0..steps).for_each(|_| shell.pass_to_deadline()),
        },
        13 => shell.written(input.octet(), input.octet()),
        14 => {
            let config = changed_config(shell, input);
            shell.configure(config);
        }
        _ => change_surroundings(shell, input),
    }
}

fn changed_config(shell: &Shell, input: &mut Input<'_>) -> bgp_speaker::Config {
    let mut config = base_config(shell.features);
    let addresses: Vec<_> = config.peers.keys().copied().collect();
    for address in addresses {
        let bits = input.octet();
        let is_set = |bit: u8| bits & 1 << bit != 0;
        if is_set(0) {
            config.peers.remove(&address);
            continue;
        }
        let Some(peer) = config.peers.get_mut(&address) else { continue };
        peer.shutdown = is_set(1);
        peer.passive ^= is_set(2);
        peer.families.v6 = !is_set(3);
        if is_set(4) {
            peer.import = bgp_rib::Policy::reject_all();
        }
        if is_set(5) {
            // Where others have them all the same, they come anew.
            peer.export = if is_set(4) { filter() } else { bgp_rib::Policy::reject_all() };
        }
        peer.reflector_client ^= is_set(6) && peer.asn == config.asn;
        peer.next_hop_self = !is_set(7);
    }
    config
}

fn change_surroundings(shell: &mut Shell, input: &mut Input<'_>) {
    match input.below(8) {
        0 => shell.stop(&Stop::Restart),
        1 => shell.stop(&Stop::Administrative("fuzz".to_owned())),
        2 => shell.set_underlay(false),
        3 => shell.set_underlay(true),
        4 => shell.replace(input),
        5 => {
            let (which, bits) = (input.octet(), input.octet());
            let open = words::rich_open(shell.peer_of(which), bits, input);
            shell.receive(which, &open);
        }
        6 => {
            let which = input.octet();
            let words = match input.below(8) {
                0 => words::rich_withdrawal(input),
                _ => words::rich_announcement(shell.peer_of(which), input),
            };
            shell.receive(which, &words);
        }
        _ => {
            let bits = input.octet();
            let prefixes = (0..8).filter(|bit| bits & 1 << bit != 0).map(words::prefix);
            let of = |prefix| Origination { prefix, source: OriginSource::Block };
            shell.originate(&prefixes.map(of).collect::<BTreeSet<_>>());
        }
    }
}

impl Shell {
    fn configure(&mut self, config: bgp_speaker::Config) {
        let now = self.now;
        self.speaker.handle_config(Arc::new(config), now);
    }
}
