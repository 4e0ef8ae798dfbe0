/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The binding: which privileges this exact code gets, signed by the administrator (Ed25519).
 * A file of fixed layout; its signature covers every byte before it.
 */
#ifndef WRAP_BINDING_H
#define WRAP_BINDING_H

#include "lib/error.h"
#include "lib/file.h"
#include "model/guard.h"

#define BINDING_PUBLIC_BYTES 32u
#define BINDING_SECRET_BYTES 64u

struct binding_key {
	uint8_t public_key[BINDING_PUBLIC_BYTES];
	uint8_t secret_key[BINDING_SECRET_BYTES];
};

/* New random key pair; or, for built-in examples and tests, one made from a 32-byte seed. */
bool binding_keygen(struct binding_key *key, const uint8_t *seed, struct error *err);
bool binding_sign(const struct guard_binding *b, const struct binding_key *key, struct blob *file,
		  struct error *err);
/* Verifies the signature with public_key, then every field's range. path only for messages. */
bool binding_open(const char *path, const struct blob *file, const uint8_t *public_key,
		  struct guard_binding *b, struct error *err);
/* Only to show a file to people: its fields are in range, but nobody vouches for them. */
bool binding_peek(const char *path, const struct blob *file, struct guard_binding *b,
		  struct error *err);

#endif
