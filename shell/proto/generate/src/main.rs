//! Writes the Rust code of `aqueduct/v1/publisher.proto`, by tonic-prost-build, without `protoc`:
//! the server's half for the program, and the client's for its tests.
//!
//!     cargo run --manifest-path shell/proto/generate/Cargo.toml

use std::error::Error;
use std::path::Path;

const PROTO: &str = "aqueduct/v1/publisher.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let shell = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let made = shell.join("proto/generate/target/made");
    std::fs::create_dir_all(&made)?;
    for (is_server, file) in
        [(true, "src/ingress/http2/grpc/generated.rs"), (false, "tests/common/publisher.rs")]
    {
        tonic_prost_build::configure()
            .build_client(!is_server)
            .build_server(is_server)
            .build_transport(false)
            .bytes(".aqueduct.v1.PublishRequest.payload")
            .out_dir(&made)
            .compile_fds(protox::compile([PROTO], [shell.join("proto")])?)?;
        let code = std::fs::read_to_string(made.join("aqueduct.v1.rs"))?;
        // Wider than a comment may be here.
        let wide = "Generated trait containing gRPC methods that should be implemented for use with \
                    PublisherServer.";
        let code = code.replace(wide, "What the server does.");
        // A test of the program compares it with the file's.
        let crc = crc32fast::hash(&std::fs::read(shell.join("proto").join(PROTO))?);
        let head = format!(
            "// Made of shell/proto/{PROTO} (CRC-32 {crc:08x}) by shell/proto/generate.\n"
        );
        std::fs::write(shell.join(file), head + &code)?;
    }
    std::fs::remove_dir_all(&made)?;
    Ok(())
}
