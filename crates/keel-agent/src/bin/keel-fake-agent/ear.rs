//! What an agent hears: its stdin, line by line, beside everything else that it does.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
};

use serde_json::Value;

/// An agent's hearing.
pub(crate) struct Ear {
    /// What was told; the end of it is the end of stdin.
    pub(crate) heard: Receiver<Value>,
    deaf: Arc<AtomicBool>,
}

impl Ear {
    /// Listens from now on.
    pub(crate) fn open() -> Self {
        let (told, heard) = mpsc::channel();
        let deaf = Arc::new(AtomicBool::new(false));
        let stdin = Stdin(Arc::clone(&deaf));
        thread::spawn(move || {
            for line in BufReader::new(stdin).lines() {
                let Ok(line) = line else { return };
                let message = serde_json::from_str(&line).unwrap_or(Value::Null);
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        Self { heard, deaf }
    }

    /// Reads no more, once what was being read is.
    pub(crate) fn stop(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }
}

/// Stdin, until its reader is deaf.
struct Stdin(Arc<AtomicBool>);

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = io::stdin().lock().read(buffer)?;
        while self.0.load(Ordering::SeqCst) {
            thread::park();
        }
        Ok(read)
    }
}
