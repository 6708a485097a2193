//! Marks that ask a rule for a copy of a packet.
//!
//! A queue can let a packet go on, but not send it twice; nftables' `dup` can, but knows nothing of our choices.
//! So the queue marks the packets it chose, and a rule copies what is marked and takes the mark off again. It
//! needs no raw socket and so no further privilege. The mark's upper half is ours for that moment: its first
//! byte is a number that nobody else is likely to use, its second says which step it is about. The lower half
//! stays as it was.
//!
//! A copy that leaves passes all the rules once more, and must skip those that its packet has passed. So it has
//! a mark too, which goes with it.

use super::server::Packet;

/// Our byte.
const OURS: u32 = 0xc5;

/// The marks of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The step's place among the agent's steps.
    place: u8,
    /// Longer packets are not copied: the kernel forbids to cut a copy, so that it would not fit.
    mtu: u16,
}

/// The bits of a mark that are ours.
pub const MASK: u32 = 0xffff_0000;
/// The bits that say that it is ours.
pub const OURS_MASK: u32 = 0xff00_0000;
/// The bits that say which step it is about.
pub const STEP_MASK: u32 = 0x00ff_0000;
/// Our byte in its place.
pub const OURS_BITS: u32 = OURS << 24;

impl Marks {
    /// The marks of the step at `place`, in a namespace whose interfaces all take packets of `mtu` bytes.
    pub const fn new(place: u32, mtu: u16) -> Self {
        // There are fewer places than half of a byte's values.
        Self { place: place as u8, mtu }
    }

    /// On a packet that is to be copied.
    pub const fn requested(place: u32) -> u32 {
        OURS_BITS | (2 * place) << 16
    }

    /// On a copy that this step made, and on those of later steps: at least this.
    pub const fn copied(place: u32) -> u32 {
        OURS_BITS | (2 * place + 1) << 16
    }

    /// What asks for a copy of `packet`: the verdict and the mark. Nothing if it can't be had.
    pub(super) fn request(self, packet: &Packet<'_>) -> Option<(i32, u32)> {
        let free = packet.mark & MASK == 0 || is_of_a_copy(packet.mark);
        if !free || packet.bytes > u32::from(self.mtu) {
            return None;
        }
        // A leaving packet passes its own rules again, which now copy it; an entering one finds its rule later on
        // its way, when address translation has seen it.
        let verdict =
            if packet.hook == libc::NF_INET_POST_ROUTING { libc::NF_REPEAT } else { libc::NF_ACCEPT };
        Some((verdict, packet.mark & !MASK | Self::requested(u32::from(self.place))))
    }
}

/// True if a packet with this mark is a copy that an earlier step made, for which the mark has done its service.
const fn is_of_a_copy(mark: u32) -> bool {
    mark & OURS_MASK == OURS_BITS && (mark & STEP_MASK) >> 16 & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_skip_the_steps_that_their_packets_have_passed() {
        for place in 0..64 {
            assert!(Marks::requested(place) < Marks::copied(place));
            assert!(Marks::copied(place) < Marks::requested(place + 1));
            assert_eq!(Marks::copied(place) & OURS_MASK, OURS_BITS);
        }
    }

    #[test]
    fn the_lower_half_of_a_mark_stays() {
        let packet = |mark, bytes, hook| Packet { id: 1, bytes, hook, mark, payload: &[] };
        let marks = Marks::new(3, 1_500);
        let leaving = libc::NF_INET_POST_ROUTING;
        let requested = Marks::requested(3);
        assert_eq!(marks.request(&packet(0, 100, leaving)), Some((libc::NF_REPEAT, requested)));
        assert_eq!(
            marks.request(&packet(0x1234, 1_500, libc::NF_INET_PRE_ROUTING)),
            Some((libc::NF_ACCEPT, requested | 0x1234))
        );
        assert_eq!(
            marks.request(&packet(Marks::copied(2) | 7, 100, leaving)),
            Some((libc::NF_REPEAT, requested | 7)),
            "a copy is a packet like any other"
        );
        assert_eq!(
            marks.request(&packet(Marks::requested(2), 100, leaving)),
            None,
            "it is asked for already"
        );
        assert_eq!(marks.request(&packet(0x10_0000, 100, leaving)), None, "somebody else's mark");
        assert_eq!(marks.request(&packet(0, 1_501, leaving)), None, "too long for a copy");
    }
}
