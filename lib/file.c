/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE /* asprintf, mkostemp */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINKS 40u
#define PROC "/proc/"

static bool fail(struct error *err, const char *path, const char *what)
{
	return error_set(err, "%s: %s: %s", path, what, strerror(errno));
}

bool blob_read(struct blob *b, const char *path, size_t max, struct error *err)
{
	struct stat st;
	size_t got = 0;
	int fd;

	b->data = NULL;
	b->size = 0;
	/* O_NONBLOCK: a FIFO must not hang the open; it is refused right below. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(err, path, "cannot open");
	if (fstat(fd, &st) < 0) {
		fail(err, path, "cannot stat");
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, "%s: not a regular file", path);
		goto out;
	}
	if ((uint64_t)st.st_size > max) {
		error_set(err, "%s: offset 0x%zx: file is longer than the %zu bytes allowed", path,
			  max, max);
		goto out;
	}
	b->size = (size_t)st.st_size;
	b->data = malloc(b->size ? b->size : 1);
	if (!b->data) {
		error_set(err, "%s: out of memory for %zu bytes", path, b->size);
		goto out;
	}
	while (got < b->size) {
		ssize_t n = read(fd, b->data + got, b->size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				error_set(err, "%s: offset 0x%zx: file became shorter", path, got);
			else
				fail(err, path, "cannot read");
			blob_free(b);
			goto out;
		}
		got += (size_t)n;
	}
out:
	close(fd);
	return b->data != NULL;
}

/*
 * Where a path leads: its symlinks followed, the last one's target need not exist. malloc'ed; NULL:
 * the folder does not exist, or the links go in circles. Ends at /proc, whose links (/dev/stdout
 * leads to one) stand for open files and not for paths.
 */
static char *destination(const char *path)
{
	char link[PATH_MAX], step[PATH_MAX], folder[PATH_MAX];

	if (snprintf(step, sizeof(step), "%s", path) >= (int)sizeof(step)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	for (unsigned i = 0; i < MAX_LINKS; i++) {
		char *slash = strrchr(step, '/'), *name = slash ? slash + 1 : step;
		char *whole = NULL;
		ssize_t n;

		if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
			return realpath(step, NULL);
		snprintf(link, sizeof(link), "%.*s", slash ? (int)(name - step) : 1,
			 slash ? step : ".");
		if (!realpath(link, folder))
			return NULL;
		if (asprintf(&whole, "%s/%s", strcmp(folder, "/") ? folder : "", name) < 0)
			return NULL;
		n = readlink(whole, link, sizeof(link) - 1);
		if (n < 0 || !strncmp(whole, PROC, strlen(PROC)))
			return whole;
		free(whole);
		link[n] = '\0';
		n = link[0] == '/' ? snprintf(step, sizeof(step), "%s", link)
				   : snprintf(step, sizeof(step), "%s/%s", folder, link);
		if (n >= (ssize_t)sizeof(step)) {
			errno = ENAMETOOLONG;
			return NULL;
		}
	}
	errno = ELOOP;
	return NULL;
}

/* What an output is written to. */
struct sink {
	char *path; /* behind all symlinks */
	char *tmp;  /* beside it, to be renamed; NULL: written in place, as it is no regular file */
	int fd;	    /* tmp's, -1: none */
	struct stat old;
	bool exists;
};

static void sink_close(struct sink *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->tmp)
		unlink(s->tmp);
	free(s->tmp);
	free(s->path);
}

static bool sink_open(struct sink *s, const char *path, struct error *err)
{
	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->exists = stat(path, &s->old) == 0;
	if (s->exists && S_ISDIR(s->old.st_mode))
		return error_set(err, "%s: cannot write: it is a folder", path);
	if (s->exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
		return fail(err, path, "cannot write");
	s->path = destination(path);
	if (!s->path)
		return fail(err, path, "cannot create");
	if (s->exists && (!S_ISREG(s->old.st_mode) || !strncmp(s->path, PROC, strlen(PROC))))
		return true;
	if (asprintf(&s->tmp, "%s.XXXXXX", s->path) < 0) {
		s->tmp = NULL;
		sink_close(s);
		error_set(err, "%s: out of memory", path);
		return false;
	}
	s->fd = mkostemp(s->tmp, O_CLOEXEC);
	if (s->fd < 0) {
		fail(err, path, "cannot create");
		free(s->tmp);
		s->tmp = NULL;
		sink_close(s);
		return false;
	}
	return true;
}

static bool write_whole(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

/* The file's mode and owner stay; a new one is made as open() would. */
static bool keep_mode(const struct sink *s)
{
	mode_t mode = s->old.st_mode & 0777;

	if (!s->exists) {
		mode_t mask = umask(077);

		umask(mask);
		mode = 0666 & ~mask;
	} else if (fchown(s->fd, s->old.st_uid, s->old.st_gid) < 0 && errno != EPERM) {
		return false;
	}
	return fchmod(s->fd, mode) == 0;
}

bool blob_write(const char *path, const void *data, size_t size, struct error *err)
{
	struct sink s;
	bool ok;

	if (!sink_open(&s, path, err))
		return false;
	if (!s.tmp)
		s.fd = open(s.path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
	ok = s.fd >= 0 && write_whole(s.fd, data, size) && (!s.tmp || keep_mode(&s));
	if (s.fd >= 0 && close(s.fd) < 0)
		ok = false;
	s.fd = -1;
	if (ok && s.tmp && rename(s.tmp, s.path) < 0)
		ok = false;
	if (!ok)
		fail(err, path, "cannot write");
	if (ok) {
		free(s.tmp);
		s.tmp = NULL;
	}
	sink_close(&s);
	return ok;
}

bool blob_create(const char *path, const void *data, size_t size, mode_t mode, struct error *err)
{
	mode_t mask = umask(077);
	char *tmp;
	bool ok;
	int fd;

	umask(mask);
	if (asprintf(&tmp, "%s.XXXXXX", path) < 0)
		return error_set(err, "%s: out of memory", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		free(tmp);
		return fail(err, path, "cannot create");
	}
	ok = write_whole(fd, data, size) && fchmod(fd, mode & ~mask) == 0 && fsync(fd) == 0;
	if (close(fd) < 0)
		ok = false;
	if (!ok)
		fail(err, path, "cannot write");
	/* Unlike rename() this never takes the place of a file, nor follows a symlink. */
	else if (link(tmp, path) < 0)
		ok = fail(err, path, "cannot create");
	unlink(tmp);
	free(tmp);
	return ok;
}

bool blob_writable(const char *path, struct error *err)
{
	struct sink s;

	if (!sink_open(&s, path, err))
		return false;
	sink_close(&s);
	return true;
}

bool path_same(const char *a, const char *b)
{
	struct stat x, y;
	char *p, *q;
	bool same;

	if (stat(a, &x) == 0 && stat(b, &y) == 0)
		return x.st_dev == y.st_dev && x.st_ino == y.st_ino && S_ISREG(x.st_mode);
	p = destination(a);
	q = destination(b);
	same = p && q && !strcmp(p, q);
	free(p);
	free(q);
	return same;
}

void blob_free(struct blob *b)
{
	free(b->data);
	b->data = NULL;
	b->size = 0;
}
