#include "config/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void faults_init(struct faults *faults, struct arena *mem, const char *file)
{
    *faults = (struct faults){.mem = mem, .file = file != NULL ? file : "built-in settings"};
}

void fault_at(struct faults *faults, const struct place *at, const char *format, ...)
{
    char sentence[1024];
    va_list args;

    if (faults->count == FAULTS_MAX) {
        faults->more++;
        return;
    }
    if (faults->list == NULL)
        faults->list = ARENA_ARRAY(faults->mem, struct fault, FAULTS_MAX);
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    faults->list[faults->count] = (struct fault){*at, str_dup(faults->mem, str_of(sentence)), faults->count};
    faults->count++;
}

/* Of the built-in defaults the place is 0: written as 1. */
static unsigned written(unsigned place)
{
    return place > 0 ? place : 1;
}

static int by_number(unsigned a, unsigned b)
{
    return a < b ? -1 : a > b;
}

/* The settings file first, then other files, then the environment; by line within a file. */
static int by_place(const void *one, const void *other)
{
    const struct fault *a = one, *b = other;
    int order = by_number(a->at.variable != NULL, b->at.variable != NULL);

    if (order == 0)
        order = strcmp(a->at.variable != NULL ? a->at.variable : "",
                       b->at.variable != NULL ? b->at.variable : "");
    if (order == 0)
        order = strcmp(a->at.file != NULL ? a->at.file : "", b->at.file != NULL ? b->at.file : "");
    if (order == 0)
        order = by_number(written(a->at.line), written(b->at.line));
    if (order == 0)
        order = by_number(written(a->at.column), written(b->at.column));
    return order != 0 ? order : by_number(a->order, b->order);
}

void faults_write(struct faults *faults, struct buf *out)
{
    if (faults->count > 1)
        qsort(faults->list, faults->count, sizeof(*faults->list), by_place);
    for (unsigned i = 0; i < faults->count; i++) {
        const struct fault *fault = &faults->list[i];

        if (fault->at.variable != NULL)
            buf_fmt(out, "%s: %s\n", fault->at.variable, fault->sentence);
        else
            buf_fmt(out, "%s:%u:%u: %s\n", fault->at.file != NULL ? fault->at.file : faults->file,
                    written(fault->at.line), written(fault->at.column), fault->sentence);
    }
    if (faults->more > 0)
        buf_fmt(out, "%s:1:1: and %u more faults\n", faults->file, faults->more);
}
