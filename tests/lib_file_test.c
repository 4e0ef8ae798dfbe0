/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files beside their destination: a signal that ends the process, at whatever moment, leaves none of
 * them behind, and what has the final name is whole.
 */
#define _GNU_SOURCE /* asprintf */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/file.h"

#define ROUNDS 200u
#define SIZE 20000u

static char folder[] = "/tmp/lib_file.XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static char *in_folder(const char *name)
{
	char *path;

	assert_return_code(asprintf(&path, "%s/%s", folder, name), 0);
	return path;
}

/* Calls visit for every file; returns how many there were. */
static unsigned for_files(void (*visit)(const char *path))
{
	DIR *d = opendir(folder);
	struct dirent *f;
	unsigned n = 0;

	assert_non_null(d);
	while ((f = readdir(d))) {
		char *path;

		if (f->d_name[0] == '.')
			continue;
		path = in_folder(f->d_name);
		visit(path);
		free(path);
		n++;
	}
	closedir(d);
	return n;
}

static void remove_file(const char *path)
{
	unlink(path);
}

static int remove_folder(void **state)
{
	(void)state;
	for_files(remove_file);
	return rmdir(folder);
}

/* Never returns. */
static void write_for_ever(const char *probed, const char *written, const char *created)
{
	static uint8_t data[SIZE];
	struct error err;

	for (;;) {
		blob_writable(probed, &err);
		blob_write(written, data, sizeof(data), &err);
		unlink(created);
		blob_create(created, data, sizeof(data), 0600, &err);
	}
}

static void whole_or_left(const char *path)
{
	struct error err;
	struct blob b;

	if (strchr(strrchr(path, '/'), '.'))
		fail_msg("%s was left behind", path);
	assert_true(blob_read(&b, path, SIZE, &err));
	assert_int_equal(b.size, SIZE);
	blob_free(&b);
}

static void test_signals(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	char *probed = in_folder("probed"), *written = in_folder("written");
	char *created = in_folder("created");
	unsigned i, n, most = 0;

	(void)state;
	for (i = 0; i < ROUNDS; i++) {
		struct timespec pause = { 0, 500000 + (long)i * 7919 % 1500000 };
		int sig = signals[i % 3], status;
		pid_t child = fork();

		assert_return_code(child, 0);
		if (child == 0)
			write_for_ever(probed, written, created);
		nanosleep(&pause, NULL);
		assert_return_code(kill(child, sig), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sig);
		n = for_files(whole_or_left);
		most = n > most ? n : most;
	}
	/* Or nothing has been tried. (The one that is created is removed each time.) */
	assert_int_equal(most, 2);
	free(probed);
	free(written);
	free(created);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signals),
	};

	return cmocka_run_group_tests_name("lib_file", tests, make_folder, remove_folder);
}
