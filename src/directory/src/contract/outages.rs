//! A store that is not there, does not answer, or goes away and comes back.

use super::{Bench, HOMES, Kind, homes, put, run};
use crate::store::{Schema, Store, StoreError, StoreOptions, now_us};
use crate::url::StoreUrl;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

const NATIVE: [Kind; 2] = [Kind::Cassandra(Schema::Native), Kind::MongoDb(Schema::Native)];

/// Connects to a store that cannot be reached, with a password in its URL.
fn unreachable(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url: StoreUrl = url.parse().unwrap();
        let options = StoreOptions { timeout: Duration::from_millis(500), ..StoreOptions::default() };
        let began = Instant::now();
        let Err(error) = Store::connect(&url, &options).await else { panic!("{url} was reached") };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{}", error.told());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let told = format!("{} {error:?}", error.told());
        assert!(told.contains(&url.to_string()), "{told}");
        assert!(!told.contains("sesame"), "{told}");
    });
}

#[test]
fn an_absent_store_is_unavailable() {
    // Bound, and given up: nobody listens there now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    unreachable(&format!("cassandra://user:sesame@127.0.0.1:{port}/k.t"));
    unreachable(&format!("mongodb://user:sesame@127.0.0.1:{port}/d.c"));
}

#[test]
fn a_silent_store_is_unavailable() {
    // The kernel takes the connections, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    unreachable(&format!("cassandra://user:sesame@127.0.0.1:{port}/k.t"));
    unreachable(&format!("mongodb://user:sesame@127.0.0.1:{port}/d.c"));
}

/// What a line between the store and its driver does.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    Flows,
    /// Connections stay, and nothing passes.
    Stands,
    /// Connections end, and new ones end at once.
    IsCut,
}

/// A line to the address `to`: where it begins, and its switch.
async fn line(to: String) -> (SocketAddr, watch::Sender<Line>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (switch, state) = watch::channel(Line::Flows);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, to.clone(), state.clone()));
        }
    });
    (address, switch)
}

async fn carry(client: TcpStream, to: String, mut state: watch::Receiver<Line>) {
    if *state.borrow() == Line::IsCut {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, state.clone()) => {}
        () = copy(from_server, to_client, state.clone()) => {}
        _ = state.wait_for(|line| *line == Line::IsCut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer).await {
        let is_over = state.wait_for(|line| *line == Line::Flows).await.is_err();
        if is_over || length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Asks until there is an answer.
async fn recovered(store: &Store) {
    let began = Instant::now();
    while let Err(error) = store.homes("alice@example.com").await {
        assert!(error.is_passing(), "{}", error.told());
        assert!(began.elapsed() < Duration::from_mins(1), "it does not come back: {}", error.told());
        // Drivers wait before they connect again, and tell nobody when they have.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_store_that_stops_is_unavailable_in_time_and_comes_back_by_itself() {
    for kind in NATIVE {
        run(kind, async |bench: &Bench| {
            drop(bench.store().await);
            let direct = bench.url.to_string();
            let host = direct.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
            let (address, switch) = line(host.to_owned()).await;
            let url: StoreUrl = direct.replacen(host, &address.to_string(), 1).parse().unwrap();
            let timeout = Duration::from_secs(2);
            let store = Store::connect(&url, &StoreOptions { timeout, ..bench.options() }).await.unwrap();
            store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
            for state in [Line::Stands, Line::IsCut] {
                switch.send_replace(state);
                for _ in 0..2 {
                    let began = Instant::now();
                    let error = store.homes("alice@example.com").await.unwrap_err();
                    assert!(error.is_passing(), "{}", error.told());
                    assert!(began.elapsed() < timeout * 2, "{kind:?}: {:?}: {}", began.elapsed(), error.told());
                    let error = store.write(HOMES[1], &[put("alice@example.com")], now_us()).await.unwrap_err();
                    assert!(error.is_passing(), "{}", error.told());
                }
                switch.send_replace(Line::Flows);
                recovered(&store).await;
            }
            store.write(HOMES[1], &[put("alice@example.com")], now_us()).await.unwrap();
            assert_eq!(homes(&store, "alice@example.com").await, [HOMES[0], HOMES[1]]);
        });
    }
}
