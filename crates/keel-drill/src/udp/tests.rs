//! What becomes of datagrams on their way.

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

struct Pair {
    proxy: UdpProxy,
    server: UdpSocket,
    client: UdpSocket,
}

async fn pair() -> Pair {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let target = server.local_addr().expect("bound");
    let proxy = UdpProxy::start(target, 7).await.expect("a port");
    client.connect(proxy.addr()).await.expect("connected");
    Pair {
        proxy,
        server,
        client,
    }
}

async fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 64];
    let read = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await;
    let (length, from) = read.expect("in time").expect("read");
    (buffer[..length].to_vec(), from)
}

#[tokio::test]
async fn datagrams_pass_both_ways_and_one_way_dies_alone() {
    let pair = pair().await;
    pair.client.send(b"\x80one").await.expect("sent");
    let (bytes, seen_as) = next(&pair.server).await;
    assert_eq!(bytes, b"\x80one");
    pair.server
        .send_to(b"\x80two", seen_as)
        .await
        .expect("sent");
    assert_eq!(next(&pair.client).await.0, b"\x80two");
    pair.proxy.set(Toward::Client, Way::DEAD);
    pair.server
        .send_to(b"\x80lost", seen_as)
        .await
        .expect("sent");
    pair.client.send(b"\x80three").await.expect("sent");
    assert_eq!(next(&pair.server).await.0, b"\x80three");
    pair.server
        .send_to(b"\x80lost too", seen_as)
        .await
        .expect("sent");
    while pair.proxy.tally(Toward::Client).lost < 2 {
        tokio::task::yield_now().await;
    }
    pair.proxy.set(Toward::Client, Way::CLEAR);
    pair.server
        .send_to(b"\x80four", seen_as)
        .await
        .expect("sent");
    assert_eq!(next(&pair.client).await.0, b"\x80four");
    assert_eq!(pair.proxy.tally(Toward::Server).passed, 2);
}

#[tokio::test]
async fn a_rebound_client_has_another_address_and_the_old_one_is_dead() {
    let pair = pair().await;
    pair.client.send(b"\x80one").await.expect("sent");
    let (_, before) = next(&pair.server).await;
    pair.proxy.rebind().await;
    // The order was taken when the next one has room; what is sent from now on shows it.
    loop {
        pair.client.send(b"\x80two").await.expect("sent");
        let (_, seen_as) = next(&pair.server).await;
        if seen_as != before {
            let _ = pair.server.send_to(b"\x80old", before).await;
            pair.server
                .send_to(b"\x80new", seen_as)
                .await
                .expect("sent");
            break;
        }
    }
    assert_eq!(next(&pair.client).await.0, b"\x80new");
}

#[tokio::test]
async fn who_is_spared_is_passed_on_while_others_are_cut_off() {
    let pair = pair().await;
    pair.client.send(b"\x80one").await.expect("sent");
    let (_, spared) = next(&pair.server).await;
    pair.proxy.spare().await;
    pair.proxy.rebind().await;
    pair.proxy.set_both(Way::DEAD);
    pair.client.send(b"\x80two").await.expect("sent");
    assert_eq!(next(&pair.server).await, (b"\x80two".to_vec(), spared));
    let late = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    late.send_to(b"\x80three", pair.proxy.addr())
        .await
        .expect("sent");
    while pair.proxy.tally(Toward::Server).lost < 1 {
        tokio::task::yield_now().await;
    }
    pair.client.send(b"\x80four").await.expect("sent");
    assert_eq!(next(&pair.server).await.0, b"\x80four");
}

#[test]
fn each_loss_takes_what_it_names_and_a_seed_repeats_itself() {
    let shared = |seed| Shared {
        lanes: [Toward::Server, Toward::Client].map(|_| Lane {
            way: Way::CLEAR,
            dtls: 0,
            taken: None,
            tally: Tally::default(),
        }),
        rng: fastrand::Rng::with_seed(seed),
        target: SocketAddr::from(([127, 0, 0, 1], 1)),
    };
    let passes = |shared: &mut Shared, loss, bytes: &[u8]| {
        shared.lane(Toward::Server).way.loss = loss;
        let mut bytes = bytes.to_vec();
        shared.fate(Toward::Server, &mut bytes)[0].is_some()
    };
    let mut one = shared(1);
    assert!(!passes(&mut one, Loss::All, b"\x80"));
    assert!(!passes(&mut one, Loss::Larger(2), b"\x80ab"));
    assert!(passes(&mut one, Loss::Larger(3), b"\x80ab"));
    assert!(!passes(&mut one, Loss::Only(Carries::Stun), b"\x00"));
    assert!(passes(&mut one, Loss::Only(Carries::Stun), b"\x16"));
    let mut counted = shared(1);
    let dtls: Vec<bool> = (0..3)
        .map(|_| passes(&mut counted, Loss::NthDtls(2), b"\x16\xfe"))
        .collect();
    assert_eq!(dtls, [true, false, true]);
    let fates = |seed| -> Vec<bool> {
        let mut shared = shared(seed);
        let lost = |_| passes(&mut shared, Loss::PerMille(300), b"\x80");
        (0..1_000).map(lost).collect()
    };
    assert_eq!(fates(3), fates(3));
    let passed = fates(3).iter().filter(|passes| **passes).count();
    assert!((600..800).contains(&passed), "{passed}");
}

#[test]
fn where_few_bits_pass_datagrams_wait_in_line_and_no_longer_than_the_line_is() {
    let mut lane = Lane {
        way: Way {
            bps: 80_000,
            ..Way::CLEAR
        },
        dtls: 0,
        taken: None,
        tally: Tally::default(),
    };
    // 1,000 bytes are a tenth of a second.
    let now = Instant::now();
    let waits = [0; 6].map(|_| lane.queue(now, 1_000).map(|span| span.as_millis()));
    assert_eq!(
        waits,
        [Some(100), Some(200), Some(300), Some(400), None, None]
    );
    let later = now + Duration::from_millis(250);
    let wait = lane.queue(later, 1_000);
    assert_eq!(wait, Some(Duration::from_millis(250)));
}

#[test]
fn what_is_twice_corrupt_or_late_is_so() {
    let lane = || Lane {
        way: Way {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(10),
            twice_per_mille: 1_000,
            corrupt_dtls_per_mille: 1_000,
            ..Way::CLEAR
        },
        dtls: 0,
        taken: None,
        tally: Tally::default(),
    };
    let mut shared = Shared {
        lanes: [lane(), lane()],
        rng: fastrand::Rng::with_seed(1),
        target: SocketAddr::from(([127, 0, 0, 1], 1)),
    };
    let mut bytes = b"\x16\xfe\xfdrecord".to_vec();
    let fates = shared.fate(Toward::Client, &mut bytes);
    assert_ne!(bytes, b"\x16\xfe\xfdrecord");
    for held in fates {
        let held = held.expect("twice");
        assert!((20..=30).contains(&held.as_millis()), "{held:?}");
    }
    let mut media = b"\x80media".to_vec();
    shared.fate(Toward::Client, &mut media);
    assert_eq!(media, b"\x80media");
}
