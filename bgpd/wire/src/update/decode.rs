use viaduct_net::Family;

use super::{Announcement, BgpNextHop, Update};
use crate::{
    AttributeError, AttributeSet, Consequence, Nlri, Notification, NotificationCode,
    SessionParameters,
    attributes::{Attributes, MpUnreach, Quick},
    nlri,
    reader::Reader,
};

impl Update {
    /// Reads what follows the header. An error is the NOTIFICATION with which to end the session.
    pub(crate) fn decode(body: &[u8], session: &SessionParameters) -> Result<Self, Notification> {
        // RFC 7606 §3 b: lengths that contradict each other leave nothing to go by.
        let lengths = || Notification::new(NotificationCode::MalformedAttributeList);
        let mut reader = Reader::new(body);
        let withdrawn_field = counted_field(&mut reader).ok_or_else(lengths)?;
        let attribute_field = counted_field(&mut reader).ok_or_else(lengths)?;
        let network = |_| Notification::new(NotificationCode::InvalidNetworkField);
        let ids = session.add_path_receive.contains(Family::V4);
        let mut withdrawn = nlri::decode(withdrawn_field, Family::V4, ids).map_err(network)?;
        let mut classic = nlri::decode(reader.rest(), Family::V4, ids).map_err(network)?;
        let nothing_classic = withdrawn.is_empty() && classic.is_empty();
        let has_classic_nlri = !classic.is_empty();
        if !session.families.contains(Family::V4) {
            withdrawn.clear();
            classic.clear();
        }

        if let Some(quick) = Quick::decode(attribute_field, session, !classic.is_empty()) {
            return Ok(Self::from_quick(quick, withdrawn, classic, nothing_classic));
        }
        let mut attributes = Attributes::decode(attribute_field, session)?;
        if !classic.is_empty() || attributes.mp_reach.is_some() {
            attributes.require_mandatory(!classic.is_empty());
        }
        if !has_classic_nlri && !attributes.has_mp_reach_nlri() {
            refuse_without_nlri(&attributes)?;
        }
        let end_of_rib = match attributes.malformed.is_empty() {
            true => end_of_rib(nothing_classic, attributes.mp_unreach.as_ref(), attributes.count),
            false => None,
        };

        let mut update = Self { withdrawn, end_of_rib, ..Self::default() };
        update.withdrawn.extend(attributes.mp_unreach.into_iter().flat_map(|mp| mp.prefixes));
        update.malformed = attributes.malformed;
        let withdraw_all = update.is_treated_as_withdraw();
        let said = update.withdrawn.len();

        let classic_next_hop = attributes.next_hop.map(BgpNextHop::V4);
        let mp = attributes.mp_reach.map(|mp| (mp.next_hop, mp.prefixes));
        for (next_hop, prefixes) in std::iter::once((classic_next_hop, classic)).chain(mp) {
            match next_hop {
                _ if prefixes.is_empty() => {}
                Some(next_hop) if !withdraw_all => {
                    update.announced.push(Announcement { next_hop, prefixes });
                }
                _ => update.withdrawn.extend(prefixes),
            }
        }
        update.treated_as_withdraw = update.withdrawn.len() - said;
        if !update.announced.is_empty() {
            update.attributes = AttributeSet::from(attributes.path);
        }
        Ok(update)
    }
}

impl Update {
    fn from_quick(
        quick: Quick,
        mut withdrawn: Vec<Nlri>,
        classic: Vec<Nlri>,
        nothing_classic: bool,
    ) -> Self {
        let end_of_rib = end_of_rib(nothing_classic, quick.mp_unreach.as_ref(), quick.count);
        withdrawn.extend(quick.mp_unreach.into_iter().flat_map(|mp| mp.prefixes));
        let classic = quick.next_hop.map(|next_hop| (BgpNextHop::V4(next_hop), classic));
        let mp = quick.mp_reach.and_then(|mp| Some((mp.next_hop?, mp.prefixes)));
        let announced = classic.into_iter().chain(mp);
        let announced = announced
            .filter(|(_, prefixes)| !prefixes.is_empty())
            .map(|(next_hop, prefixes)| Announcement { next_hop, prefixes });
        let announced: Vec<_> = announced.collect();
        let attributes = if announced.is_empty() { AttributeSet::default() } else { quick.set };
        Self { withdrawn, attributes, announced, end_of_rib, ..Self::default() }
    }
}

/// A field behind a length of two octets.
fn counted_field<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u16()?;
    reader.take(len.into())
}

/// RFC 7606 §5.2: attributes that announce nothing and are malformed leave a doubt whether the
/// prefixes have been found at all, so no fault may be treated as a withdrawal.
fn refuse_without_nlri(attributes: &Attributes) -> Result<(), Notification> {
    let severe = |error: &&AttributeError| error.consequence > Consequence::AttributeDiscard;
    match attributes.malformed.iter().find(severe) {
        Some(error) => Err(error.notification(&[])),
        None => Ok(()),
    }
}

/// RFC 4724 §2: an empty UPDATE for IPv4 unicast, a lone and empty MP_UNREACH_NLRI for others. `count`
/// is that of the attributes.
fn end_of_rib(
    nothing_classic: bool,
    mp_unreach: Option<&MpUnreach>,
    count: usize,
) -> Option<Family> {
    match (mp_unreach, count) {
        _ if !nothing_classic => None,
        (None, 0) => Some(Family::V4),
        (Some(mp), 1) if mp.prefixes.is_empty() => Some(mp.family),
        _ => None,
    }
}
