/*
 * base/fail.h - what went wrong, as a sentence for the operator
 *
 * Functions that can fail for reasons of ours (cannot open, cannot parse) return -1 or NULL
 * and fill a `struct fail`. Whoever decides what to do logs it, once. DNS trouble and broken
 * records from outside are not failures: they are answers (see each module's result enum).
 */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

struct fail {
    char text[512]; /* one line, no final full stop, no newline */
};

/* Writes the sentence and returns -1, so that `return fail_set(fail, …)` reads well. `fail` may be NULL. */
int fail_set(struct fail *fail, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": strerror(errno)" behind it. */
int fail_errno(struct fail *fail, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
