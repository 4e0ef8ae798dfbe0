/* SPDX-License-Identifier: GPL-2.0-only */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

bool blob_write(const char *path, const void *data, size_t size, struct error *err)
{
	size_t done = 0, len = strlen(path) + 16;
	char *tmp = malloc(len);
	int fd;

	if (!tmp)
		return error_set(err, "%s: out of memory", path);
	snprintf(tmp, len, "%s.XXXXXX", path);
	fd = mkstemp(tmp);
	if (fd < 0) {
		fail(err, path, "cannot create");
		free(tmp);
		return false;
	}
	while (done < size) {
		ssize_t n = write(fd, (const uint8_t *)data + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto bad;
		done += (size_t)n;
	}
	if (fchmod(fd, 0644) < 0 || close(fd) < 0) {
		fd = -1;
		goto bad;
	}
	fd = -1;
	if (rename(tmp, path) == 0) {
		free(tmp);
		return true;
	}
bad:
	fail(err, path, "cannot write");
	if (fd >= 0)
		close(fd);
	unlink(tmp);
	free(tmp);
	return false;
}

void blob_free(struct blob *b)
{
	free(b->data);
	b->data = NULL;
	b->size = 0;
}
