/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE /* asprintf, mkostemp */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
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

/* A file that stands beside its destination until it is renamed, linked or removed. */
struct beside {
	char *path; /* NULL: none */
	int fd;	    /* -1: closed */
	sigset_t mask;
};

/* From here to beside_end() no signal ends the process: it would leave the file behind. */
static bool beside_create(struct beside *b, const char *path)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGTERM, SIGALRM };
	sigset_t held;
	size_t i;

	b->fd = -1;
	if (asprintf(&b->path, "%s.XXXXXX", path) < 0) {
		b->path = NULL;
		return false;
	}
	sigemptyset(&held);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaddset(&held, ends[i]);
	pthread_sigmask(SIG_BLOCK, &held, &b->mask);
	b->fd = mkostemp(b->path, O_CLOEXEC);
	if (b->fd >= 0)
		return true;
	pthread_sigmask(SIG_SETMASK, &b->mask, NULL);
	free(b->path);
	b->path = NULL;
	return false;
}

/* What has not been renamed goes. */
static void beside_end(struct beside *b, bool renamed)
{
	if (!b->path)
		return;
	if (b->fd >= 0)
		close(b->fd);
	if (!renamed)
		unlink(b->path);
	free(b->path);
	b->path = NULL;
	pthread_sigmask(SIG_SETMASK, &b->mask, NULL);
}

/* What an output is written to. */
struct sink {
	char *path;	   /* behind all symlinks */
	struct beside tmp; /* to be renamed; none: written in place, as it is no regular file */
	struct stat old;
	bool exists;
};

static void sink_close(struct sink *s, bool renamed)
{
	beside_end(&s->tmp, renamed);
	free(s->path);
}

static bool sink_open(struct sink *s, const char *path, struct error *err)
{
	memset(s, 0, sizeof(*s));
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
	if (!beside_create(&s->tmp, s->path)) {
		fail(err, path, "cannot create");
		sink_close(s, false);
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
	} else if (fchown(s->tmp.fd, s->old.st_uid, s->old.st_gid) < 0 && errno != EPERM) {
		return false;
	}
	return fchmod(s->tmp.fd, mode) == 0;
}

static bool close_now(int *fd)
{
	int r = close(*fd);

	*fd = -1;
	return r == 0;
}

/* A device or a pipe is no file to be renamed. */
static bool write_in_place(const struct sink *s, const uint8_t *data, size_t size)
{
	int fd = open(s->path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
	bool ok = fd >= 0 && write_whole(fd, data, size);

	return (fd < 0 || close_now(&fd)) && ok;
}

static bool write_beside(struct sink *s, const uint8_t *data, size_t size)
{
	bool ok = write_whole(s->tmp.fd, data, size) && keep_mode(s);

	return close_now(&s->tmp.fd) && ok && rename(s->tmp.path, s->path) == 0;
}

bool blob_write(const char *path, const void *data, size_t size, struct error *err)
{
	struct sink s;
	bool ok;

	if (!sink_open(&s, path, err))
		return false;
	ok = s.tmp.path ? write_beside(&s, data, size) : write_in_place(&s, data, size);
	if (!ok)
		fail(err, path, "cannot write");
	sink_close(&s, ok);
	return ok;
}

bool blob_create(const char *path, const void *data, size_t size, mode_t mode, struct error *err)
{
	mode_t mask = umask(077);
	struct beside b;
	bool ok;

	umask(mask);
	if (!beside_create(&b, path))
		return fail(err, path, "cannot create");
	ok = write_whole(b.fd, data, size) && fchmod(b.fd, mode & ~mask) == 0 && fsync(b.fd) == 0;
	if (!close_now(&b.fd))
		ok = false;
	if (!ok)
		fail(err, path, "cannot write");
	/* Unlike rename() this never takes the place of a file, nor follows a symlink. */
	else if (link(b.path, path) < 0)
		ok = fail(err, path, "cannot create");
	beside_end(&b, false);
	return ok;
}

bool blob_writable(const char *path, struct error *err)
{
	struct sink s;

	if (!sink_open(&s, path, err))
		return false;
	sink_close(&s, false);
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
