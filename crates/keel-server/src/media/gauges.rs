//! Questions to the planes: how transports are doing.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use keel_core::node::media::PeerId;
use keel_media::PeerStats;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Questions that wait for a plane.
const QUESTIONS_MAX: usize = 64;
/// A plane that is not behind answers between two packets.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// A plane is behind, or gone with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind;

/// What one plane is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// About these; those that are not its own are passed over.
    pub(super) peers: Vec<PeerId>,
    /// Takes the answer.
    pub(super) reply: oneshot::Sender<Vec<PeerStats>>,
}

/// Asks every plane. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauges {
    planes: Arc<[mpsc::Sender<Question>]>,
}

/// A plane's questions, and who asks them.
pub(super) fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(QUESTIONS_MAX)
}

impl Gauges {
    pub(super) fn new(planes: Vec<mpsc::Sender<Question>>) -> Self {
        Self {
            planes: planes.into(),
        }
    }

    /// How those of a session's transports are doing that are there. They are on one plane: what others do is
    /// of no matter.
    ///
    /// # Errors
    /// When that plane does not answer within a second. Nothing is lost when the call is dropped.
    pub(crate) async fn ask(&self, peers: &[PeerId]) -> Result<Vec<PeerStats>, Behind> {
        let asked = self.planes.iter().map(async |plane| {
            let (reply, answer) = oneshot::channel();
            let peers = peers.to_vec();
            let question = Question { peers, reply };
            plane.try_send(question).map_err(|_| Behind)?;
            let answer = timeout(ANSWERED_WITHIN, answer).await;
            answer.map_err(|_| Behind)?.map_err(|_| Behind)
        });
        let answers: Vec<Result<Vec<PeerStats>, Behind>> = join_all(asked).await;
        let is_behind = answers.iter().any(Result::is_err);
        let stats = answers.into_iter().flatten().flatten();
        let stats: Vec<PeerStats> = stats.collect();
        match stats.is_empty() && is_behind {
            true => Err(Behind),
            false => Ok(stats),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plane_that_does_not_answer_holds_nobody_up() {
        let (first, mut asked) = questions();
        let (second, mut deaf) = questions();
        let full = second.clone();
        let gauges = Gauges::new(vec![first, second]);
        let answers = tokio::spawn(async move {
            while let Some(Question { reply, .. }) = asked.recv().await {
                let _ = reply.send(Vec::new());
            }
        });
        assert_eq!(gauges.ask(&[PeerId(1)]).await, Err(Behind));
        // Where nobody takes questions any more they are refused at once.
        let unheard = || Question {
            peers: Vec::new(),
            reply: oneshot::channel().0,
        };
        while full.try_send(unheard()).is_ok() {}
        assert_eq!(gauges.ask(&[PeerId(1)]).await, Err(Behind));
        deaf.close();
        assert_eq!(gauges.ask(&[PeerId(1)]).await, Err(Behind));
        assert_eq!(Gauges::default().ask(&[PeerId(1)]).await, Ok(Vec::new()));
        drop(gauges);
        answers.await.expect("it ends");
    }
}
