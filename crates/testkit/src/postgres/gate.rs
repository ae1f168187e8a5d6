//! A way to a server that can be shut.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};
use url::Url;

/// A proxy on loopback in front of a server: whoever connects through it can be cut off from the
/// server, and nobody else is. Works on threads of its own, so no runtime's clock matters to it.
/// Dropping it ends its connections.
pub struct Gate {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
}

/// What the gate does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// They pass.
    Open,
    /// They wait; nobody is told.
    Silent,
    /// There are no connections; new ones end at once.
    Shut,
    /// The gate is gone.
    Removed,
}

struct Shared {
    server: String,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    position: Position,
    /// Both ends of each connection, by its number.
    connections: HashMap<u64, [TcpStream; 2]>,
    /// The next connection's number.
    next: u64,
}

impl Gate {
    /// A gate before the server of a database's URL, open.
    ///
    /// # Panics
    /// If the URL has no host.
    pub fn before(url: &str) -> Self {
        let mut url = Url::parse(url).expect("a test's database URL is one");
        let host = url.host_str().expect("a test's database URL has a host");
        let server = format!("{host}:{}", url.port().unwrap_or(5432));
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let replaced = url
            .set_host(Some("127.0.0.1"))
            .is_ok_and(|()| url.set_port(Some(address.port())).is_ok());
        assert!(replaced, "a database's URL may have any host and port");
        let shared = Arc::new(Shared {
            server,
            state: Mutex::new(State {
                position: Position::Open,
                connections: HashMap::new(),
                next: 0,
            }),
            moved: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self {
            address,
            url: url.into(),
            shared,
        }
    }

    /// The database's URL, through the gate.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection, and each new one at once, until it is opened: as if the server had
    /// gone.
    pub fn shut(&self) {
        self.shared.move_to(Position::Shut);
    }

    /// Nothing passes any more, and nobody is told; connections stay, new ones come about but
    /// get no answer: as if a cable had been pulled. Once opened, what waited passes.
    pub fn silence(&self) {
        self.shared.move_to(Position::Silent);
    }

    /// Lets everything pass again.
    pub fn open(&self) {
        self.shared.move_to(Position::Open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.move_to(Position::Removed);
        // Wakes the thread that accepts, which sees that it is no longer needed.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn move_to(&self, position: Position) {
        let mut state = self.state.lock();
        state.position = position;
        if matches!(position, Position::Shut | Position::Removed) {
            for (_, ends) in state.connections.drain() {
                end(&ends);
            }
        }
        self.moved.notify_all();
    }

    /// Waits until bytes may pass; `false` if they never will.
    fn may_pass(&self) -> bool {
        let mut state = self.state.lock();
        while state.position == Position::Silent {
            self.moved.wait(&mut state);
        }
        state.position == Position::Open
    }

    /// Registers a connection's two ends; `None` if there is to be none.
    fn register(&self, near: &TcpStream, far: &TcpStream) -> io::Result<Option<u64>> {
        let ends = [near.try_clone()?, far.try_clone()?];
        let mut state = self.state.lock();
        if matches!(state.position, Position::Shut | Position::Removed) {
            return Ok(None);
        }
        let number = state.next;
        state.next += 1;
        state.connections.insert(number, ends);
        Ok(Some(number))
    }

    /// Ends a connection, whatever of it is left.
    fn remove(&self, number: u64) {
        if let Some(ends) = self.state.lock().connections.remove(&number) {
            end(&ends);
        }
    }

    fn is_removed(&self) -> bool {
        self.state.lock().position == Position::Removed
    }
}

fn end(ends: &[TcpStream]) {
    for stream in ends {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_removed() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let _ = forward(&stream, &shared);
            end(&[stream]);
        });
    }
}

/// Carries a connection to the server and back until one side ends it.
fn forward(near: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    if !shared.may_pass() {
        return Ok(());
    }
    let far = TcpStream::connect(&shared.server)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let Some(number) = shared.register(near, &far)? else {
        return Ok(());
    };
    let back = {
        let (near, far, shared) = (near.try_clone()?, far.try_clone()?, Arc::clone(shared));
        thread::spawn(move || carry(&far, &near, &shared))
    };
    carry(near, &far, shared);
    let _ = back.join();
    shared.remove(number);
    Ok(())
}

/// Carries bytes one way.
fn carry(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !shared.may_pass() || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // An end passes like bytes do.
    if shared.may_pass() {
        let _ = to.shutdown(Shutdown::Write);
    }
}
