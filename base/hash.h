/*
 * base/hash.h - keyed hashing for tables whose keys strangers choose
 *
 * SipHash-2-4 under a key drawn once a process, so that nobody outside can aim for collisions.
 * Include this header before <uthash.h> is used: it sets uthash's hash and out-of-memory hooks.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bug.h"

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t n);

/* The same under a secret of the caller's own. */
uint64_t hash_keyed(const void *bytes, size_t n, const uint64_t key[2]);

/* For values that must be the same in every process (greylist identities on disk): no secret key. */
uint64_t hash_stable(const void *bytes, size_t n, uint64_t seed);

#define HASH_FUNCTION(key, length, value) ((value) = (unsigned)hash_bytes((key), (length)))
#define uthash_fatal(message)             out_of_memory()
#include <uthash.h>

#endif
