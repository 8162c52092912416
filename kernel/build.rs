//! Tells the linker where everything goes. Only the kernel binary for its own target gets these arguments: checks
//! of the same code for the host link nothing.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    let bare = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    let Ok(directory) = std::env::var("CARGO_MANIFEST_DIR") else { return };
    if bare {
        for argument in ["--no-pie", "-zmax-page-size=0x1000", "--build-id=none"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
        println!("cargo:rustc-link-arg-bins=-T{directory}/link.ld");
    }
}
