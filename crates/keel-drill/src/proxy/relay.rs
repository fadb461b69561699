//! One connection through the proxy: two pumps, one a direction, and what is done to them.
//!
//! The directions know nothing of each other: one that is slow, held or stopped does not hold the other.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Cut, Link,
    frames::{Frames, close_frame},
    reset,
};

/// A direction that is paced passes something so often.
const PACED_EVERY: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_secs(3_600);

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Passes,
    /// Nothing is read any more, or not for now.
    Stops,
    /// Half of what comes next passes, and that is the end.
    HalfThenReset,
    /// A close frame goes out between two frames, and that is the end.
    Closes(u16),
    /// So many bytes a second.
    Paced(u32),
}

/// How a connection through the proxy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides have said all that they had to say.
    Over,
    /// Both sides are reset.
    Reset,
    /// Both sides' streams end.
    Fin,
    /// The client's stream ends, and the rest is forgotten.
    Closed,
}

pub(super) async fn relay(
    client: TcpStream,
    server: TcpStream,
    link: Link,
    cuts: watch::Receiver<Option<Cut>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let first = if link == Link::Deaf {
        Flow::Stops
    } else {
        Flow::Passes
    };
    let (set_up, up) = watch::channel(Flow::Passes);
    let (set_down, down) = watch::channel(first);
    let (passed_at, _) = watch::channel(Instant::now());
    let end = {
        let up = Pump {
            flow: up,
            frames: None,
            link: Link::Up,
            passed_at: &passed_at,
        };
        let down = Pump {
            flow: down,
            frames: Some(Frames::default()),
            link,
            passed_at: &passed_at,
        };
        let pumps = async {
            let up = up.run(&mut from_client, &mut to_server);
            let down = down.run(&mut from_server, &mut to_client);
            tokio::pin!(up, down);
            let (mut up_open, mut down_open) = (true, true);
            loop {
                tokio::select! {
                    end = &mut up, if up_open => match end {
                        None => up_open = false,
                        Some(end) => return end,
                    },
                    end = &mut down, if down_open => match end {
                        None => down_open = false,
                        Some(end) => return end,
                    },
                    else => return End::Over,
                }
            }
        };
        let patience = if let Link::Impatient(span) = link {
            span
        } else {
            NEVER
        };
        tokio::select! {
            end = pumps => end,
            end = obey(cuts, &set_up, &set_down) => end,
            () = silent(&passed_at, patience) => End::Fin,
        }
    };
    match end {
        End::Over => {}
        End::Reset => {
            for (read, write) in [(from_client, to_client), (from_server, to_server)] {
                if let Ok(stream) = read.reunite(write) {
                    reset(stream);
                }
            }
        }
        End::Fin => {
            let _ = to_client.shutdown().await;
            let _ = to_server.shutdown().await;
        }
        End::Closed => {
            let _ = to_client.shutdown().await;
        }
    }
}

/// Does what whoever drills says, until that ends the connection.
async fn obey(
    mut cuts: watch::Receiver<Option<Cut>>,
    up: &watch::Sender<Flow>,
    down: &watch::Sender<Flow>,
) -> End {
    loop {
        if cuts.changed().await.is_err() {
            return End::Over;
        }
        let cut = *cuts.borrow_and_update();
        match cut {
            None => {}
            Some(Cut::Reset) => return End::Reset,
            Some(Cut::Fin) => return End::Fin,
            Some(Cut::Close(code)) => set(down, Flow::Closes(code)),
            Some(Cut::BlackHole) => {
                set(up, Flow::Stops);
                set(down, Flow::Stops);
            }
            Some(Cut::DeafServer) => set(up, Flow::Stops),
            Some(Cut::DeafClient) => set(down, Flow::Stops),
            Some(Cut::Hold(span)) => {
                let before = (*up.borrow(), *down.borrow());
                set(up, Flow::Stops);
                set(down, Flow::Stops);
                tokio::select! {
                    () = sleep(span) => {}
                    _ = cuts.changed() => cuts.mark_changed(),
                }
                set(up, before.0);
                set(down, before.1);
            }
            Some(Cut::HalfFrame) => set(down, Flow::HalfThenReset),
            Some(Cut::Trickle(per_s)) => {
                set(up, Flow::Paced(per_s));
                set(down, Flow::Paced(per_s));
            }
        }
    }
}

fn set(flow: &watch::Sender<Flow>, to: Flow) {
    flow.send_replace(to);
}

/// Resolves when nothing has passed either way for so long.
async fn silent(passed_at: &watch::Sender<Instant>, patience: Duration) {
    loop {
        let due = *passed_at.borrow() + patience;
        if due <= Instant::now() {
            return;
        }
        sleep_until(due).await;
    }
}

/// One direction.
struct Pump<'a> {
    flow: watch::Receiver<Flow>,
    /// Of the server's direction.
    frames: Option<Frames>,
    link: Link,
    passed_at: &'a watch::Sender<Instant>,
}

impl Pump<'_> {
    /// Passes bytes on; `None` when this direction has ended and the other may go on.
    async fn run(mut self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> Option<End> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let flow = self.now();
            if let Flow::Closes(code) = flow
                && self.frames.as_ref().is_some_and(Frames::at_border)
            {
                let _ = to.write_all(&close_frame(code)).await;
                return Some(End::Closed);
            }
            let most = match flow {
                Flow::Paced(per_s) => share(per_s),
                Flow::Passes | Flow::Stops | Flow::HalfThenReset | Flow::Closes(_) => buffer.len(),
            };
            let read = tokio::select! {
                changed = self.flow.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Some(End::Over),
                },
                read = from.read(&mut buffer[..most]), if flow != Flow::Stops => read,
            };
            let n = match read {
                Ok(n @ 1..) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => {
                    let _ = to.shutdown().await;
                    return None;
                }
            };
            self.passed_at.send_replace(Instant::now());
            if flow == Flow::HalfThenReset {
                let _ = to.write_all(&buffer[..n.div_ceil(2)]).await;
                return Some(End::Reset);
            }
            if let Some(frames) = &mut self.frames {
                frames.passed(&buffer[..n]);
            }
            if to.write_all(&buffer[..n]).await.is_err() {
                return None;
            }
            if let Flow::Paced(per_s) = flow {
                let rest = Duration::from_secs(1) * u32::try_from(n).unwrap_or(1) / per_s.max(1);
                tokio::select! {
                    () = sleep(rest) => {}
                    _ = self.flow.changed() => self.flow.mark_changed(),
                }
            }
        }
    }

    /// How bytes pass now: as whoever drills says, or as the link does once it is upgraded.
    fn now(&self) -> Flow {
        let flow = *self.flow.borrow();
        let upgraded = self.frames.as_ref().is_some_and(|frames| frames.upgraded);
        if upgraded && self.link == Link::Mute {
            Flow::Stops
        } else if upgraded && self.link == Link::HalfWelcome {
            Flow::HalfThenReset
        } else {
            flow
        }
    }
}

/// What a paced direction passes at once.
fn share(per_s: u32) -> usize {
    let share = u128::from(per_s) * PACED_EVERY.as_millis() / 1_000;
    usize::try_from(share).unwrap_or(1).clamp(1, 16 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(addr), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// A slow direction must not hold the other, or what is measured is the proxy.
    #[tokio::test]
    async fn a_paced_direction_does_not_hold_the_other_n09() {
        let (mut client, near) = pair().await;
        let (far, mut server) = pair().await;
        let (cut, cuts) = watch::channel(None);
        let relayed = tokio::spawn(relay(near, far, Link::Up, cuts));
        cut.send_replace(Some(Cut::Trickle(100)));
        sleep(Duration::from_millis(50)).await;

        let began = Instant::now();
        server.write_all(&[b'd'; 200]).await.unwrap();
        client.write_all(&[b'u'; 10]).await.unwrap();
        let mut up = [0; 10];
        server.read_exact(&mut up).await.unwrap();
        let up_after = began.elapsed();
        let mut down = [0; 200];
        client.read_exact(&mut down).await.unwrap();
        let down_after = began.elapsed();

        assert!(up_after < Duration::from_millis(700), "{up_after:?}");
        assert!(down_after > Duration::from_millis(1_500), "{down_after:?}");
        cut.send_replace(Some(Cut::Reset));
        relayed.await.unwrap();
    }
}
