//! The descriptions of WHIP and WHEP: what an offer asks for, and the fragments in which ICE goes on
//! after it (RFC 8840). No more of SDP is read than that; the media plane reads the rest.

use keel_wire::{MediaLine, TrackKind, TrackName};

use super::Way;

/// Bytes of an ICE user name fragment or password at most (RFC 8839 §5.4).
const ICE_NAME_BYTES_MAX: usize = 256;
/// Candidates of one fragment that are passed on; the plane takes no more over a transport's life.
const CANDIDATES_MAX: usize = 20;

/// What is wrong with a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// It does not begin as SDP does, or has a line that is none.
    #[error("that is no session description")]
    NoSdp,
    /// It asks for nothing.
    #[error("the offer has no line of audio or video")]
    NoMedia,
    /// A line has no name.
    #[error("an m-line has no `a=mid`: the offer has to be bundled")]
    NoMid,
    /// WHIP sends, WHEP receives.
    #[error("an m-line goes the wrong way: WHIP offers are sendonly, WHEP offers recvonly")]
    Direction,
    /// A fragment without ICE.
    #[error("the fragment has neither candidates nor credentials")]
    NoIce,
    /// Credentials that RFC 8839 does not allow.
    #[error(
        "`ice-ufrag` wants 4 to 256 characters, `ice-pwd` 22 to 256, of letters, digits, + and /"
    )]
    Credentials,
}

/// An offer, and what is on its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Its text, each line ended by CR LF, with one way on every line.
    pub(crate) sdp: String,
    /// What its maker sends.
    pub(crate) lines: Vec<MediaLine>,
    /// What each of them carries.
    pub(crate) kinds: Vec<TrackKind>,
    /// The user name fragment of its ICE.
    pub(crate) ufrag: String,
}

const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

impl Offer {
    /// Reads an offer to publish or to play.
    pub(crate) fn read(text: &str, way: Way) -> Result<Self, Wrong> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty())
            .collect();
        if lines.first() != Some(&"v=0") || !lines.iter().all(|line| is_line(line)) {
            return Err(Wrong::NoSdp);
        }
        let wanted = match way {
            Way::Publish => "a=sendonly",
            Way::Play => "a=recvonly",
        };
        let begins: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].starts_with("m="))
            .collect();
        let head = begins.first().copied().unwrap_or(lines.len());
        let mut offer = Self {
            sdp: String::with_capacity(text.len() + 64),
            lines: Vec::new(),
            kinds: Vec::new(),
            ufrag: value(&lines, "a=ice-ufrag:").unwrap_or_default().to_owned(),
        };
        offer.put(&lines[..head]);
        let mut media = 0;
        let default = direction(&lines[..head]);
        for (nth, begin) in begins.iter().enumerate() {
            let end = begins.get(nth + 1).copied().unwrap_or(lines.len());
            let section = &lines[*begin..end];
            let kind = match section[0].split([' ', '=']).nth(1) {
                Some("audio") => TrackKind::Audio,
                Some("video") => TrackKind::Video,
                _ => {
                    offer.put(section);
                    continue;
                }
            };
            media += 1;
            let mid = value(section, "a=mid:").ok_or(Wrong::NoMid)?;
            let said = direction(section).or(default).unwrap_or("a=sendrecv");
            if said != wanted && said != "a=sendrecv" {
                return Err(Wrong::Direction);
            }
            let kept: Vec<&str> = section
                .iter()
                .copied()
                .filter(|l| !DIRECTIONS.contains(l))
                .collect();
            offer.put(&kept);
            offer.put(&[wanted]);
            if way == Way::Publish {
                let track = offer.name(kind);
                offer.kinds.push(kind);
                offer.lines.push(MediaLine {
                    mid: mid.to_owned(),
                    participant: None,
                    track,
                });
            }
        }
        if media == 0 {
            return Err(Wrong::NoMedia);
        }
        Ok(offer)
    }

    fn put(&mut self, lines: &[&str]) {
        for line in lines {
            self.sdp.push_str(line);
            self.sdp.push_str("\r\n");
        }
    }

    /// `video`, then `video-2` and so on.
    fn name(&self, kind: TrackKind) -> TrackName {
        let word = match kind {
            TrackKind::Audio => "audio",
            TrackKind::Video => "video",
        };
        let name = match self.kinds.iter().filter(|of| **of == kind).count() {
            0 => word.to_owned(),
            others => format!("{word}-{}", others + 1),
        };
        name.parse().expect("a word and a number are a name")
    }

    /// The same offer with other credentials of ICE, as it is made to restart it.
    pub(crate) fn restarted(&self, ice: &Credentials) -> Self {
        let mut offer = Self {
            sdp: String::with_capacity(self.sdp.len()),
            ..self.clone()
        };
        offer.ufrag.clone_from(&ice.ufrag);
        for line in self.sdp.lines() {
            let line = match line.split_once(':') {
                Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}", ice.ufrag),
                Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}", ice.pwd),
                Some(("a=candidate", _)) => continue,
                Some(_) | None if line == "a=end-of-candidates" => continue,
                Some(_) | None => next_version(line).unwrap_or_else(|| line.to_owned()),
            };
            offer.put(&[&line]);
        }
        offer
    }
}

/// `o=` with the next version of the description (RFC 8866 §5.2).
fn next_version(line: &str) -> Option<String> {
    let mut words: Vec<String> = line
        .strip_prefix("o=")?
        .split(' ')
        .map(str::to_owned)
        .collect();
    let version = words.get_mut(2)?;
    *version = version.parse::<u64>().ok()?.wrapping_add(1).to_string();
    Some(format!("o={}", words.join(" ")))
}

fn is_line(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.len() >= 2 && bytes[0].is_ascii_lowercase() && bytes[1] == b'='
}

fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn direction(lines: &[&str]) -> Option<&'static str> {
    lines
        .iter()
        .find_map(|line| DIRECTIONS.iter().find(|known| *known == line))
        .copied()
}

/// Credentials of ICE.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// A fragment that a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Its credentials, where it names any.
    pub(crate) ice: Option<Credentials>,
    /// Candidates, without `a=`; the last is empty where there are no more.
    pub(crate) candidates: Vec<String>,
}

impl Fragment {
    /// Reads a body of `application/trickle-ice-sdpfrag`.
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty())
            .collect();
        if lines.is_empty() || !lines.iter().all(|line| is_line(line)) {
            return Err(Wrong::NoSdp);
        }
        let ice = match (value(&lines, "a=ice-ufrag:"), value(&lines, "a=ice-pwd:")) {
            (None, None) => None,
            (Some(ufrag), Some(pwd)) => Some(Credentials::new(ufrag, pwd)?),
            (Some(_), None) | (None, Some(_)) => return Err(Wrong::Credentials),
        };
        let candidates = lines.iter().filter(|line| line.starts_with("a=candidate:"));
        let candidates = candidates
            .take(CANDIDATES_MAX)
            .map(|line| line[2..].to_owned());
        let mut candidates: Vec<String> = candidates.collect();
        if lines.contains(&"a=end-of-candidates") {
            candidates.push(String::new());
        }
        if ice.is_none() && candidates.is_empty() {
            return Err(Wrong::NoIce);
        }
        Ok(Self { ice, candidates })
    }

    /// The fragment that answers a restart: the ICE of an answer's first line.
    pub(crate) fn of_answer(sdp: &str) -> String {
        let mut fragment = String::new();
        let (mut in_media, mut sections) = (false, 0);
        for line in sdp.lines().map(str::trim_end) {
            if line.starts_with("m=") {
                (in_media, sections) = (true, sections + 1);
            }
            if sections > 1 {
                break;
            }
            let of_session = ["a=ice-lite", "a=ice-options:", "a=group:"];
            let of_media = ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"];
            let is_of = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
            if is_of(&of_session) || is_of(&of_media) && (in_media || line.starts_with("a=ice-")) {
                fragment.push_str(line);
                fragment.push_str("\r\n");
            }
        }
        fragment.push_str("a=end-of-candidates\r\n");
        fragment
    }
}

impl Credentials {
    fn new(ufrag: &str, pwd: &str) -> Result<Self, Wrong> {
        let good = |text: &str, least: usize| {
            (least..=ICE_NAME_BYTES_MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        };
        if good(ufrag, 4) && good(pwd, 22) {
            Ok(Self {
                ufrag: ufrag.to_owned(),
                pwd: pwd.to_owned(),
            })
        } else {
            Err(Wrong::Credentials)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:p\r\na=sendrecv\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:1\na=sendonly\n";

    #[test]
    fn an_offer_to_publish_names_its_tracks_and_goes_one_way() {
        let offer = Offer::read(OFFER, Way::Publish).expect("an offer");
        let named: Vec<_> = offer
            .lines
            .iter()
            .map(|l| (l.mid.as_str(), l.track.as_str()))
            .collect();
        assert_eq!(named, [("0", "audio"), ("1", "video")]);
        assert_eq!(offer.ufrag, "abcd");
        assert!(
            !offer.sdp.contains("sendrecv") && offer.sdp.matches("a=sendonly\r\n").count() == 2
        );
        assert_eq!(Offer::read(OFFER, Way::Play), Err(Wrong::Direction));
    }

    #[test]
    fn offers_that_make_no_sense_are_named_a52() {
        for (text, wrong) in [
            ("", Wrong::NoSdp),
            ("hello", Wrong::NoSdp),
            ("v=0\r\nGET / HTTP/1.1\r\n", Wrong::NoSdp),
            ("v=0\r\ns=-\r\n", Wrong::NoMedia),
            ("v=0\r\nm=video 9 X 96\r\n", Wrong::NoMid),
            (
                "v=0\r\nm=video 9 X 96\r\na=mid:0\r\na=inactive\r\n",
                Wrong::Direction,
            ),
        ] {
            assert_eq!(Offer::read(text, Way::Publish), Err(wrong), "{text:?}");
        }
    }

    #[test]
    fn a_restart_is_the_same_offer_with_other_credentials() {
        let offer = Offer::read(OFFER, Way::Publish).expect("an offer");
        let ice = Credentials::new("wxyz", "abcdefghijklmnopqrstuv").expect("credentials");
        let again = offer.restarted(&ice);
        assert!(again.sdp.contains("o=- 7 2 IN"), "{}", again.sdp);
        assert!(
            again
                .sdp
                .contains("a=ice-ufrag:wxyz\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n")
        );
        assert!(!again.sdp.contains("candidate"), "{}", again.sdp);
        assert_eq!(again.lines, offer.lines);
    }

    #[test]
    fn fragments_are_read_and_bounded_a47() {
        let many = "a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n".repeat(100_000);
        let read = Fragment::read(&many).expect("a fragment");
        assert_eq!(read.candidates.len(), CANDIDATES_MAX);
        for (text, wrong) in [
            ("", Wrong::NoSdp),
            ("\u{0}", Wrong::NoSdp),
            ("a=mid:0\r\n", Wrong::NoIce),
            ("a=ice-ufrag:abcd\r\n", Wrong::Credentials),
            (
                "a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n",
                Wrong::Credentials,
            ),
            (
                "a=ice-ufrag:a b<\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n",
                Wrong::Credentials,
            ),
        ] {
            assert_eq!(Fragment::read(text), Err(wrong), "{text:?}");
        }
        let last = Fragment::read("a=end-of-candidates\r\n").expect("a fragment");
        assert_eq!(last.candidates, [""]);
    }

    #[test]
    fn a_restart_is_answered_with_the_ice_of_the_first_line() {
        let answer = "v=0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 X 1\r\na=mid:0\r\na=ice-ufrag:u\r\n\
            a=ice-pwd:p\r\na=candidate:1\r\na=rtpmap:1 opus\r\nm=video 9 X 2\r\na=mid:1\r\na=ice-ufrag:u\r\n";
        assert_eq!(
            Fragment::of_answer(answer),
            "a=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 X 1\r\na=mid:0\r\na=ice-ufrag:u\r\n\
             a=ice-pwd:p\r\na=candidate:1\r\na=end-of-candidates\r\n"
        );
    }
}
