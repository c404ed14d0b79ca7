/*
 * tests/t.h - what every unit test stands on: cmocka, and rows that say what must hold
 *
 * A table test calls t_case() for each row; when a check fails, the row's sentence and its RFC section
 * are part of the message. Checks are macros so that they know their line.
 */
#ifndef TESTS_T_H
#define TESTS_T_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

/* What the checks that follow are about: "listed ip4 network passes", "7208 5.6". */
void t_case(const char *name, const char *rfc);

#define t_true(condition)       t_true_at((condition), #condition, __FILE__, __LINE__)
#define t_same_int(got, want)   t_same_int_at((long long)(got), (long long)(want), #got, __FILE__, __LINE__)
#define t_same_z(got, want)     t_same_str_at(str_of(got), str_of(want), #got, __FILE__, __LINE__)
#define t_same_str(got, want)   t_same_str_at((got), (want), #got, __FILE__, __LINE__)
#define t_same_str_z(got, want) t_same_str_at((got), str_of(want), #got, __FILE__, __LINE__)
#define t_fail(...)             t_fail_at(__FILE__, __LINE__, __VA_ARGS__)

void t_true_at(int condition, const char *text, const char *file, int line);
void t_same_int_at(long long got, long long want, const char *text, const char *file, int line);
void t_same_str_at(struct str got, struct str want, const char *text, const char *file, int line);
_Noreturn void t_fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The folder of third-party suites (SMTPGUARD_CONFORMANCE, default ../shared/conformance), or NULL: then say
 * t_skip("…"), which is counted and shown. */
const char *t_conformance(void);
#define t_skip(reason)                                                                                       \
    do {                                                                                                     \
        print_message("SKIP: %s\n", (reason));                                                               \
        skip();                                                                                              \
    } while (0)

/* A whole file, NUL-terminated; fails the test when it cannot be read. */
struct str t_read_file(struct arena *mem, const char *path);

#endif
