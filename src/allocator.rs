//! Keeps glibc's allocator from spreading over several heaps.

/// From now on all threads allocate from one heap. Of its own accord glibc gives each thread one: the exposition is written now by
/// this thread, now by that one, and each heap keeps what the largest writing once needed. Measured at 10,000 pipelines
/// (`benches/process.rs`): with one heap memory is soon flat, with glibc's own choice it was still growing after a minute and a half.
/// To be called before the first thread is started; without effect where there is another C library.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no other door")]
    // SAFETY: it takes two numbers and sets a number, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
