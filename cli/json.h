/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON of values that jansson would refuse or turn over. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <jansson.h>
#include <stdint.h>

/* A text of any bytes, such as a path: what is no UTF-8 becomes '?'. NULL: out of memory. */
json_t *text_json(const char *text);
/* A number; a string of digits beyond 2^63 - 1, the most that a JSON integer holds here. */
json_t *number_json(uint64_t n);

#endif
