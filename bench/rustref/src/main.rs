//! The reference implementation, for tests and measurements to compare with.
//!
//!   rustref digest FILE      the digest of a file's header and the SHA-256 of its data
//!   rustref rewrite IN OUT   reads IN and serializes what was read to OUT
//!   rustref judge            reads files from standard input, each after its length as
//!                            a little-endian u32; answers each with one line
//!   rustref bench FILE       decodes FILE's header once for every line of standard
//!                            input; answers "WALL CPU RELEASED": nanoseconds, the
//!                            last of CPU until the decoded header is freed again
//!
//! The digest is that of testdata/conformance: SHA-256 over a line "t NAME DTYPE
//! [DIMS] BEGIN END" per tensor by (begin, end, name), then a line "m KEY VALUE" per
//! metadata pair by key; names, keys and values in hex. A file that is refused
//! prints "reject" and the error.
use safetensors::{SafeTensorError, SafeTensors};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::time::Instant;

fn hex(b: &[u8]) -> String {
    b.iter().fold(String::new(), |mut s, c| {
        let _ = write!(s, "{c:02x}");
        s
    })
}

fn digest(file: &[u8]) -> Result<String, SafeTensorError> {
    let (n, header) = SafeTensors::read_metadata(file)?;
    let tensors = header.tensors();
    let mut rows: Vec<_> = tensors.iter().collect();
    rows.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then(a.as_bytes().cmp(b.as_bytes())));
    let mut text = String::new();
    for (name, t) in rows {
        let dims: Vec<String> = t.shape.iter().map(|d| d.to_string()).collect();
        let (begin, end) = t.data_offsets;
        let _ = writeln!(text, "t {} {} [{}] {begin} {end}", hex(name.as_bytes()), t.dtype, dims.join(","));
    }
    let mut pairs: Vec<_> = header.metadata().iter().flatten().collect();
    pairs.sort();
    for (k, v) in pairs {
        let _ = writeln!(text, "m {} {}", hex(k.as_bytes()), hex(v.as_bytes()));
    }
    Ok(format!("accept {} {}", hex(&Sha256::digest(text)), hex(&Sha256::digest(&file[8 + n..]))))
}

fn verdict(file: &[u8]) -> String {
    digest(file).unwrap_or_else(|e| format!("reject {e}").replace('\n', " "))
}

fn rewrite(input: &str, output: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = std::fs::read(input)?;
    let (_, header) = SafeTensors::read_metadata(&file)?;
    let read = SafeTensors::deserialize(&file)?;
    std::fs::write(output, safetensors::serialize(read.tensors(), header.metadata().clone())?)?;
    Ok(())
}

fn judge() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            r => r?,
        }
        let mut file = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut file)?;
        writeln!(output, "{}", verdict(&file))?;
        output.flush()?;
    }
}

/// Nanoseconds of processor time that this process has taken.
fn cpu() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: t is a timespec to write to.
    assert_eq!(0, unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) });
    t.tv_sec as i64 * 1_000_000_000 + t.tv_nsec as i64
}

fn bench(file: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    for line in io::stdin().lock().lines() {
        line?;
        let (cpu_start, start) = (cpu(), Instant::now());
        let header = SafeTensors::read_metadata(file)?;
        let (wall, cpu_end) = (start.elapsed(), cpu());
        drop(header);
        println!("{} {} {}", wall.as_nanos(), cpu_end - cpu_start, cpu() - cpu_start);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["digest", file] => println!("{}", verdict(&std::fs::read(file)?)),
        ["rewrite", input, output] => rewrite(input, output)?,
        ["judge"] => judge()?,
        ["bench", file] => bench(&std::fs::read(file)?)?,
        _ => return Err("usage: rustref digest FILE | rewrite IN OUT | judge | bench FILE".into()),
    }
    Ok(())
}
