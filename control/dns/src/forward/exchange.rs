//! One question to one name server.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use domain::base::{Message, MessageBuilder, iana::Class};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use super::cache::Question;
use crate::message::PAYLOAD_MAX;

/// Asks over UDP, and over TCP what did not fit there. Waits for as long as the caller does.
pub(super) async fn ask(upstream: SocketAddr, question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let request = encode(question, id)?;
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A socket of its own for each question: the port is as hard to guess as the id. Connected, it
    // takes datagrams of the name server alone.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(&request).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD_MAX)];
    loop {
        let len = socket.recv(&mut buffer).await?;
        match answers(&buffer[..len], &request) {
            Some(true) => return ask_tcp(upstream, &request).await,
            Some(false) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            None => {}
        }
    }
}

async fn ask_tcp(upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let mut framed = Vec::with_capacity(request.len() + 2);
    framed.extend((request.len() as u16).to_be_bytes());
    framed.extend(request);
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; len.into()];
    stream.read_exact(&mut answer).await?;
    match answers(&answer, request) {
        Some(_) => Ok(answer),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to something else")),
    }
}

fn encode(question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let build = || {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(id);
        header.set_rd(true);
        header.set_cd(question.checking_disabled);
        let mut builder = builder.question();
        builder.push((&question.name, question.rtype, Class::IN))?;
        let mut builder = builder.additional();
        builder.opt(|opt| {
            opt.set_udp_payload_size(PAYLOAD_MAX);
            opt.set_dnssec_ok(question.dnssec_ok);
            Ok(())
        })?;
        Ok::<_, domain::base::message_builder::PushError>(builder.finish())
    };
    build().map_err(io::Error::other)
}

/// Whether a message answers the request, and then whether it was cut.
fn answers(message: &[u8], request: &[u8]) -> Option<bool> {
    let message = Message::from_octets(message).ok()?;
    let request = Message::from_octets(request).ok()?;
    message.is_answer(&request).then(|| message.header().tc())
}

#[cfg(test)]
mod tests {
    use domain::base::{Name, Rtype};

    use super::*;

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let question = |name: &str| Question {
            name: Name::vec_from_str(name).unwrap(),
            rtype: Rtype::A,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let request = encode(&question("a.example"), 7).unwrap();
        let mut reply = request.clone();
        assert_eq!(answers(&reply, &request), None, "a question is no answer");
        reply[2] |= 0x80;
        assert_eq!(answers(&reply, &request), Some(false));
        reply[2] |= 0x02;
        assert_eq!(answers(&reply, &request), Some(true));
        reply[0] ^= 1;
        assert_eq!(answers(&reply, &request), None, "another id");
        let other = encode(&question("b.example"), 7).unwrap();
        assert_eq!(answers(&other, &request), None);
        assert_eq!(answers(&[], &request), None);
    }
}
