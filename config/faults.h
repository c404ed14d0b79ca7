/*
 * config/faults.h - what is wrong with the settings, each fault with its place
 *
 * Faults are collected, never stopped at, and written sorted by place: one line each,
 * "FILE:LINE:COL: sentence", or "VARIABLE: sentence" for one that came by the environment.
 * Limits  FAULTS_MAX are kept, the rest is only counted.
 */
#ifndef CONFIG_FAULTS_H
#define CONFIG_FAULTS_H

#include "base/buf.h"

enum { FAULTS_MAX = 500 };

/* Where a value came from. */
struct place {
    const char *file;      /* NULL: the settings file */
    const char *variable;  /* of the environment; NULL: from a file */
    unsigned line, column; /* from 1; line 0: the built-in default */
};

struct fault {
    struct place at;
    const char *sentence;
    unsigned order; /* of complaint, among those of one place */
};

struct faults {
    struct arena *mem;
    const char *file;
    struct fault *list;
    unsigned count, more;
};

void faults_init(struct faults *faults, struct arena *mem, const char *file);
void fault_at(struct faults *faults, const struct place *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void faults_write(struct faults *faults, struct buf *out); /* sorts them */

#endif
