/*
 * config/suggest.h - "did you mean …?" for keys, words and verbs
 *
 * The nearest of the words that were tried, by the number of letters to insert, drop, change or swap.
 */
#ifndef CONFIG_SUGGEST_H
#define CONFIG_SUGGEST_H

#include "base/str.h"

enum { SUGGEST_WORD_MAX = 64 }; /* longer words get no suggestion */

struct suggestion {
    struct str word;
    const char *best; /* NULL: nothing is near enough */
    size_t distance;
};

void suggest_begin(struct suggestion *suggestion, struct str word);
void suggest_try(struct suggestion *suggestion, const char *candidate); /* borrowed */

/* `; did you mean "best"?`, or "" */
const char *suggest_text(struct arena *mem, const struct suggestion *suggestion);

#endif
