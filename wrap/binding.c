// SPDX-License-Identifier: GPL-2.0-only
/*
 * The binding's file: one fixed layout, little endian, its last 64 bytes an Ed25519 signature of
 * all bytes before. What a reader takes from it was signed; what is out of range is refused even
 * if signed, so that a slip of the administrator's hand does not reach the guard.
 */
#include "wrap/binding.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BINDING_MAGIC "GHBIND01"
#define BINDING_VERSION 1u

struct binding_file {
	uint8_t magic[8];
	uint32_t version;
	uint32_t total;
	uint8_t digest[32];
	uint64_t bound;
	uint64_t required;
	uint8_t stack, registers, mapping, refusal;
	uint32_t chains;
	struct {
		uint64_t base, length;
	} resource[GM_MAX_PRIVILEGES];
	uint8_t signature[64];
};
_Static_assert(sizeof(struct binding_file) == 392, "layout of the binding's file");
_Static_assert(crypto_sign_PUBLICKEYBYTES == BINDING_PUBLIC_BYTES, "Ed25519 public key");
_Static_assert(crypto_sign_SECRETKEYBYTES == BINDING_SECRET_BYTES, "Ed25519 secret key");
_Static_assert(crypto_sign_BYTES == 64 && crypto_sign_SEEDBYTES == 32, "Ed25519");

static bool ready(struct error *err)
{
	return sodium_init() >= 0 || error_set(err, "libsodium does not start");
}

bool binding_keygen(struct binding_key *key, const uint8_t *seed, struct error *err)
{
	if (!ready(err))
		return false;
	if (seed)
		crypto_sign_seed_keypair(key->public_key, key->secret_key, seed);
	else
		crypto_sign_keypair(key->public_key, key->secret_key);
	return true;
}

/* Bounds of every field (model/guard.h); `at` is the offset of the one that is wrong. */
static const char *out_of_range(const struct binding_file *f, size_t *at)
{
	*at = offsetof(struct binding_file, bound);
	if (f->bound >> GM_MAX_PRIVILEGES)
		return "binds privileges that no manifest can have";
	*at = offsetof(struct binding_file, required);
	if (f->required & ~f->bound)
		return "requires a privilege that it does not bind";
	*at = offsetof(struct binding_file, stack);
	if (f->stack > GUARD_STACK_NONE)
		return "unknown stack policy";
	*at = offsetof(struct binding_file, registers);
	if (f->registers > GUARD_REGS_SCRUB)
		return "unknown registers policy";
	*at = offsetof(struct binding_file, mapping);
	if (f->mapping > GUARD_MAPPING_LOCKED)
		return "unknown mapping policy";
	*at = offsetof(struct binding_file, refusal);
	if (f->refusal > GUARD_REFUSE_STOP)
		return "unknown refusal policy";
	*at = offsetof(struct binding_file, chains);
	if (f->chains < 1 || f->chains > GUARD_MAX_CHAINS)
		return "number of chains out of range";
	for (unsigned i = 0; i < GM_MAX_PRIVILEGES; i++) {
		uint64_t base = f->resource[i].base, length = f->resource[i].length;

		*at = offsetof(struct binding_file, resource) + i * sizeof(f->resource[0]);
		if (base % GM_PAGE || length % GM_PAGE)
			return "a resource is not page aligned";
		if (base + length < base || (base + length) >> 52)
			return "a resource reaches behind physical addresses";
		if (length && !(f->bound & 1ull << i))
			return "a resource for a privilege that is not bound";
	}
	return NULL;
}

bool binding_sign(const struct guard_binding *b, const struct binding_key *key, struct blob *file,
		  struct error *err)
{
	struct binding_file f = {
		.version = BINDING_VERSION,
		.total = sizeof(f),
		.bound = b->bound,
		.required = b->policy.required,
		.stack = b->policy.stack,
		.registers = b->policy.registers,
		.mapping = b->policy.mapping,
		.refusal = b->policy.refusal,
		.chains = b->policy.chains,
	};
	const char *wrong;
	size_t at;

	*file = (struct blob){ 0 };
	if (!ready(err))
		return false;
	memcpy(f.magic, BINDING_MAGIC, sizeof(f.magic));
	memcpy(f.digest, b->digest, sizeof(f.digest));
	for (unsigned i = 0; i < GM_MAX_PRIVILEGES; i++) {
		f.resource[i].base = b->resource[i].base;
		f.resource[i].length = b->resource[i].length;
	}
	wrong = out_of_range(&f, &at);
	if (wrong)
		return error_set(err, "binding: offset 0x%zx: %s", at, wrong);
	crypto_sign_detached(f.signature, NULL, (const uint8_t *)&f,
			     offsetof(struct binding_file, signature), key->secret_key);
	file->size = sizeof(f);
	file->data = malloc(file->size);
	if (!file->data)
		return error_set(err, "binding: out of memory");
	memcpy(file->data, &f, sizeof(f));
	return true;
}

static bool read_file(const char *path, const struct blob *file, const uint8_t *public_key,
		      struct guard_binding *b, struct error *err)
{
	struct binding_file f;
	const char *wrong;
	size_t at;

	if (!ready(err))
		return false;
	if (file->size != sizeof(f))
		return error_set(err, "%s: offset 0x%zx: a binding has %zu bytes, this file %zu",
				 path, file->size < sizeof(f) ? file->size : sizeof(f), sizeof(f),
				 file->size);
	memcpy(&f, file->data, sizeof(f));
	if (memcmp(f.magic, BINDING_MAGIC, sizeof(f.magic)) != 0)
		return error_set(err, "%s: offset 0x0: not a binding: no %s", path, BINDING_MAGIC);
	if (f.version != BINDING_VERSION || f.total != sizeof(f))
		return error_set(err, "%s: offset 0x%zx: version %u of %u bytes is not known", path,
				 offsetof(struct binding_file, version), f.version, f.total);
	if (public_key &&
	    crypto_sign_verify_detached(f.signature, file->data,
					offsetof(struct binding_file, signature), public_key))
		return error_set(err, "%s: offset 0x%zx: the signature is not by this key", path,
				 offsetof(struct binding_file, signature));
	wrong = out_of_range(&f, &at);
	if (wrong)
		return error_set(err, "%s: offset 0x%zx: %s", path, at, wrong);
	*b = (struct guard_binding){ .bound = f.bound };
	memcpy(b->digest, f.digest, sizeof(b->digest));
	for (unsigned i = 0; i < GM_MAX_PRIVILEGES; i++) {
		b->resource[i].base = f.resource[i].base;
		b->resource[i].length = f.resource[i].length;
	}
	b->policy.stack = f.stack;
	b->policy.registers = f.registers;
	b->policy.mapping = f.mapping;
	b->policy.refusal = f.refusal;
	b->policy.chains = f.chains;
	b->policy.required = f.required;
	return true;
}

bool binding_open(const char *path, const struct blob *file, const uint8_t *public_key,
		  struct guard_binding *b, struct error *err)
{
	if (!public_key)
		return error_set(err, "%s: offset 0x0: no key to verify it with", path);
	return read_file(path, file, public_key, b, err);
}

bool binding_peek(const char *path, const struct blob *file, struct guard_binding *b,
		  struct error *err)
{
	return read_file(path, file, NULL, b, err);
}
