#include "config/suggest.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: Levenshtein with swaps of neighbours, case ignored. Both at most SUGGEST_WORD_MAX
 * long. */
static size_t edit_distance(struct str a, struct str b)
{
    size_t rows[3][SUGGEST_WORD_MAX + 1];

    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            char x = ascii_lower(a.p[i - 1]), y = ascii_lower(b.p[j - 1]);

            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) && y == ascii_lower(a.p[i - 2]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a.n % 3][b.n];
}

void suggest_begin(struct suggestion *suggestion, struct str word)
{
    *suggestion = (struct suggestion){.word = word, .distance = word.n < 6 ? 2 : word.n / 3 + 1};
    if (word.n < 3)
        suggestion->distance = word.n;
}

void suggest_try(struct suggestion *suggestion, const char *candidate)
{
    struct str other = str_of(candidate);
    size_t distance;

    if (suggestion->word.n == 0 || suggestion->word.n > SUGGEST_WORD_MAX || other.n > SUGGEST_WORD_MAX)
        return;
    distance = edit_distance(suggestion->word, other);
    if (distance >= suggestion->distance)
        return;
    suggestion->best = candidate;
    suggestion->distance = distance;
}

const char *suggest_text(struct arena *mem, const struct suggestion *suggestion)
{
    return suggestion->best != NULL ? str_fmt(mem, "; did you mean \"%s\"?", suggestion->best) : "";
}
