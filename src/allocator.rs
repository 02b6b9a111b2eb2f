//! Keeps glibc's allocator from using several heaps.

/// Makes all threads allocate from one heap. By default, glibc gives threads separate ones. Changing threads render the
/// exposition, and each heap would keep the memory of its largest rendering. Measured at 10,000 pipelines
/// (`benches/process.rs`): with one heap, memory is soon flat; with glibc's default it still grew after a minute and a
/// half. Call it before the first thread starts; it has no effect with another C library.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no other door")]
    // SAFETY: it expects two numbers and sets a number, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
