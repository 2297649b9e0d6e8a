mod golden;
mod properties;

use bgp_wire::{Capability, HoldTime, Open};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, RouterId};

use crate::Message;

fn encoded(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out
}

fn open(asn: u32) -> Bytes {
    let mut out = BytesMut::new();
    let asn = Asn::new(asn);
    Open {
        asn,
        hold_time: HoldTime::INFINITE,
        router_id: RouterId::from_u32(1).unwrap(),
        capabilities: vec![Capability::FourOctetAs(asn)],
    }
    .encode(&mut out);
    out.freeze()
}
