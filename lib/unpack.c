// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unpacking in memory. The input is hostile: output, and memory that a decoder may ask for, are
 * bounded, and a file that ends too early or goes on behind its end is refused.
 */
#include "lib/unpack.h"

#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define DECODER_MEMORY (256ull << 20)
#define DECODER_WINDOW_LOG 27 /* 128 MiB: what `zstd` itself accepts without being asked */
#define FIRST_ROOM (1u << 20)

static bool fail(const char *path, size_t at, const char *format, const char *why,
		 struct error *err)
{
	return error_set(err, "%s: offset 0x%zx: %s: %s", path, at, format, why);
}

/* Room for more output; false: that would be too much. */
static bool grow(struct blob *out, size_t *room, size_t max)
{
	size_t more = *room ? *room * 2 : FIRST_ROOM;
	uint8_t *data;

	if (*room >= max)
		return false;
	if (more > max)
		more = max;
	data = realloc(out->data, more);
	if (!data)
		return false;
	out->data = data;
	*room = more;
	return true;
}

static const char *lzma_why(lzma_ret r)
{
	switch (r) {
	case LZMA_MEM_ERROR: return "out of memory";
	case LZMA_MEMLIMIT_ERROR: return "needs more memory than a module could";
	case LZMA_FORMAT_ERROR: return "no xz file";
	case LZMA_OPTIONS_ERROR: return "made with options that are not known";
	case LZMA_DATA_ERROR: return "is damaged";
	case LZMA_BUF_ERROR: return "ends too early";
	default: return "cannot be unpacked";
	}
}

static bool unpack_xz(const struct blob *in, struct blob *out, const char *path, size_t max,
		      struct error *err)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret r = lzma_stream_decoder(&s, DECODER_MEMORY, LZMA_CONCATENATED);
	size_t room = 0;
	bool ok;

	s.next_in = in->data;
	s.avail_in = in->size;
	while (r == LZMA_OK) {
		if (s.avail_out == 0) {
			if (!grow(out, &room, max))
				break;
			s.next_out = out->data + s.total_out;
			s.avail_out = room - (size_t)s.total_out;
		}
		r = lzma_code(&s, LZMA_FINISH);
	}
	out->size = (size_t)s.total_out;
	ok = r == LZMA_STREAM_END;
	if (r == LZMA_OK)
		error_set(err, "%s: unpacks to more than the %zu bytes allowed", path, max);
	else if (!ok)
		fail(path, (size_t)s.total_in, "xz", lzma_why(r), err);
	lzma_end(&s);
	return ok;
}

static bool unpack_zstd(const struct blob *in, struct blob *out, const char *path, size_t max,
			struct error *err)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer from = { in->data, in->size, 0 };
	ZSTD_outBuffer to = { NULL, 0, 0 };
	size_t left = 1;
	bool ok = d &&
		  !ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, DECODER_WINDOW_LOG));

	/* left is 0 at the end of a frame; several may follow each other */
	while (ok && (from.pos < from.size || left)) {
		size_t was = from.pos;

		if (to.pos == to.size) {
			ok = grow(out, &to.size, max) ||
			     error_set(err, "%s: unpacks to more than the %zu bytes allowed", path,
				       max);
			to.dst = out->data;
			if (!ok)
				break;
		}
		left = ZSTD_decompressStream(d, &to, &from);
		if (ZSTD_isError(left))
			ok = fail(path, from.pos, "zstd", ZSTD_getErrorName(left), err);
		else if (left && from.pos == from.size && was == from.pos && to.pos < to.size)
			ok = fail(path, from.pos, "zstd", "ends too early", err);
	}
	if (!d)
		error_set(err, "%s: out of memory", path);
	out->size = to.pos;
	ZSTD_freeDCtx(d);
	return ok;
}

bool blob_unpack(struct blob *b, const char *path, size_t max, struct error *err)
{
	static const uint8_t xz[] = { 0xfd, '7', 'z', 'X', 'Z', 0 };
	static const uint8_t zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	struct blob out = { 0 };
	bool ok;

	if (b->size >= sizeof(xz) && memcmp(b->data, xz, sizeof(xz)) == 0)
		ok = unpack_xz(b, &out, path, max, err);
	else if (b->size >= sizeof(zstd) && memcmp(b->data, zstd, sizeof(zstd)) == 0)
		ok = unpack_zstd(b, &out, path, max, err);
	else
		return true;
	blob_free(b);
	if (ok && !out.data)
		out.data = malloc(1); /* an empty file */
	*b = out;
	if (!ok)
		blob_free(b);
	return ok;
}
