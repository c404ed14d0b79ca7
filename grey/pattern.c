#include "grey/pattern.h"

#include <string.h>

enum { TEXT_MAX = 512, STEPS_MAX = 1000, SETS_MAX = 16, DEPTH_MAX = 32, REPEATS_MAX = 255 };

/* Jumps are relative, so that a piece of program can be moved and copied as it is. */
enum op { OP_CHAR, OP_ANY, OP_SET, OP_BEGIN, OP_END, OP_WORD_EDGE, OP_JUMP, OP_FORK, OP_MATCH };

struct step {
    unsigned char op;
    unsigned char c; /* CHAR: in lower case; SET: which */
    short by;        /* JUMP: there; FORK: there, and on to the next step */
};

struct set {
    unsigned char bits[32]; /* of characters in lower case */
};

struct grey_pattern {
    const struct step *steps;
    size_t count;
    const struct set *sets;
};

/* ---- reading ---- */

struct reader {
    struct str left;
    struct step steps[STEPS_MAX];
    size_t count;
    struct set sets[SETS_MAX];
    size_t sets_count;
    int depth;
    struct fail *fail;
};

static bool read_branches(struct reader *r);

static bool wrong(struct reader *r, const char *why)
{
    fail_set(r->fail, "%s", why);
    return false;
}

static bool next_is(const struct reader *r, char c)
{
    return r->left.n > 0 && r->left.p[0] == c;
}

static bool take(struct reader *r, char c)
{
    bool there = next_is(r, c);

    if (there)
        r->left = str_from(r->left, 1);
    return there;
}

static char take_any(struct reader *r)
{
    char c = r->left.p[0];

    r->left = str_from(r->left, 1);
    return c;
}

/* `at` is where the step goes; what stood there and behind moves on. */
static bool insert(struct reader *r, size_t at, struct step step)
{
    if (r->count == STEPS_MAX)
        return wrong(r, "the pattern is too long when its repetitions are written out");
    memmove(&r->steps[at + 1], &r->steps[at], (r->count - at) * sizeof(step));
    r->steps[at] = step;
    r->count++;
    return true;
}

static bool add(struct reader *r, enum op op, unsigned char c)
{
    return insert(r, r->count, (struct step){.op = (unsigned char)op, .c = c});
}

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c == '_';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void set_add(struct set *set, char c)
{
    unsigned char lower = (unsigned char)ascii_lower(c);

    set->bits[lower / 8] |= (unsigned char)(1U << lower % 8);
}

static bool set_has(const struct set *set, char c)
{
    unsigned char lower = (unsigned char)ascii_lower(c);

    return set->bits[lower / 8] >> lower % 8 & 1;
}

/* \d and its like; false when `letter` is none of them. */
static bool set_add_class(struct set *set, char letter)
{
    bool inverted = letter >= 'A' && letter <= 'Z';
    char kind = ascii_lower(letter);

    if (kind != 'd' && kind != 'w' && kind != 's')
        return false;
    for (int c = 0; c < 256; c++) {
        bool in = kind == 'd' ? ascii_is_digit((char)c) : kind == 'w' ? is_word((char)c) : is_space((char)c);
        if (in != inverted)
            set_add(set, (char)c);
    }
    return true;
}

static struct set *new_set(struct reader *r)
{
    if (r->sets_count == SETS_MAX) {
        wrong(r, "the pattern has too many sets of characters");
        return NULL;
    }
    return &r->sets[r->sets_count++];
}

static bool add_set(struct reader *r)
{
    return add(r, OP_SET, (unsigned char)(r->sets_count - 1));
}

/* One character of a set, or a class, which has none of its own: then *c_out is -1. */
static bool read_member(struct reader *r, struct set *set, int *c_out)
{
    char c = take_any(r);

    *c_out = (unsigned char)c;
    if (c == '[' && (next_is(r, ':') || next_is(r, '.') || next_is(r, '=')))
        return wrong(r, "named classes such as [:digit:] are not supported; write \\d");
    if (c != '\\')
        return true;
    if (r->left.n == 0)
        return wrong(r, "it ends with a backslash");
    c = take_any(r);
    *c_out = (unsigned char)c;
    if (set_add_class(set, c))
        *c_out = -1;
    else if (ascii_is_alnum(c))
        return wrong(r, "an escape that is not supported; \\d \\w \\s and signs are");
    return true;
}

static bool read_range(struct reader *r, struct set *set, int first)
{
    int last;

    if (r->left.n < 2 || r->left.p[0] != '-' || r->left.p[1] == ']') {
        set_add(set, (char)first);
        return true;
    }
    take(r, '-');
    if (!read_member(r, set, &last))
        return false;
    if (last < first)
        return wrong(r, "a range of characters that is backwards");
    for (int c = first; c <= last; c++)
        set_add(set, (char)c);
    return true;
}

static bool read_set(struct reader *r)
{
    struct set *set = new_set(r);
    bool inverted = take(r, '^'), first = true;
    int c;

    if (set == NULL)
        return false;
    while (r->left.n > 0 && (first || !next_is(r, ']'))) {
        first = false;
        if (!read_member(r, set, &c) || (c >= 0 && !read_range(r, set, c)))
            return false;
    }
    if (!take(r, ']'))
        return wrong(r, "a [ without its ]");
    for (size_t i = 0; inverted && i < sizeof(set->bits); i++)
        set->bits[i] = (unsigned char)~set->bits[i];
    return add_set(r);
}

static bool read_escape(struct reader *r)
{
    struct set *set;
    char c;

    if (r->left.n == 0)
        return wrong(r, "it ends with a backslash");
    c = take_any(r);
    if (c == 'b')
        return add(r, OP_WORD_EDGE, 0);
    if (!ascii_is_alnum(c))
        return add(r, OP_CHAR, (unsigned char)ascii_lower(c));
    if (strchr("dDwWsS", c) == NULL)
        return wrong(r, "an escape that is not supported; \\d \\w \\s \\b and signs are");
    set = new_set(r);
    return set != NULL && set_add_class(set, c) && add_set(r);
}

static bool read_group(struct reader *r)
{
    if (take(r, '?') && !take(r, ':'))
        return wrong(r, "of what begins with (? only (?: is supported");
    if (r->depth == DEPTH_MAX)
        return wrong(r, "its parentheses are too deep");
    r->depth++;
    if (!read_branches(r))
        return false;
    r->depth--;
    return take(r, ')') || wrong(r, "a ( without its )");
}

static bool read_atom(struct reader *r)
{
    char c = take_any(r);

    switch (c) {
    case '(':
        return read_group(r);
    case '[':
        return read_set(r);
    case '\\':
        return read_escape(r);
    case '.':
        return add(r, OP_ANY, 0);
    case '^':
        return add(r, OP_BEGIN, 0);
    case '$':
        return add(r, OP_END, 0);
    case '*':
    case '+':
    case '?':
        return wrong(r, "a repetition of nothing");
    default:
        return add(r, OP_CHAR, (unsigned char)ascii_lower(c));
    }
}

/* ---- repetitions ---- */

static bool add_copy(struct reader *r, const struct step *piece, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!insert(r, r->count, piece[i]))
            return false;
    return true;
}

/* The last n steps may be left out. */
static bool make_optional(struct reader *r, size_t n)
{
    return insert(r, r->count - n, (struct step){.op = OP_FORK, .by = (short)(n + 1)});
}

/* The last n steps may come again and again. */
static bool make_loop(struct reader *r, size_t n)
{
    return insert(r, r->count, (struct step){.op = OP_FORK, .by = (short)-(int)n});
}

/* The last n steps, `least` to `most` times (most < 0: without end). */
static bool repeat(struct reader *r, size_t n, int least, int most)
{
    struct step piece[STEPS_MAX];

    memcpy(piece, &r->steps[r->count - n], n * sizeof(piece[0]));
    r->count -= n;
    for (int i = 0; i < least; i++)
        if (!add_copy(r, piece, n))
            return false;
    if (most < 0 && least > 0)
        return make_loop(r, n);
    if (most < 0)
        return add_copy(r, piece, n) && make_loop(r, n) && make_optional(r, n + 1);
    for (int i = least; i < most; i++)
        if (!add_copy(r, piece, n) || !make_optional(r, n))
            return false;
    return true;
}

static bool read_number(struct reader *r, int *number_out)
{
    size_t n = 0;
    uint64_t value;

    while (n < r->left.n && ascii_is_digit(r->left.p[n]))
        n++;
    if (!str_to_u64(str_upto(r->left, n), REPEATS_MAX, &value))
        return wrong(r, "behind { stands a number of up to 255");
    *number_out = (int)value;
    r->left = str_from(r->left, n);
    return true;
}

static bool read_counts(struct reader *r, int *least_out, int *most_out)
{
    if (!read_number(r, least_out))
        return false;
    *most_out = *least_out;
    if (take(r, ',')) {
        *most_out = -1;
        if (!next_is(r, '}') && !read_number(r, most_out))
            return false;
    }
    if (!take(r, '}'))
        return wrong(r, "a { without its }");
    return *most_out < 0 || *most_out >= *least_out || wrong(r, "a repetition that is backwards");
}

static bool read_repetition(struct reader *r, size_t start)
{
    size_t n = r->count - start;
    int least = 1, most = 1;
    bool repeated = true;

    if (take(r, '*')) {
        least = 0;
        most = -1;
    } else if (take(r, '+')) {
        most = -1;
    } else if (take(r, '?')) {
        least = 0;
    } else if (take(r, '{')) {
        if (!read_counts(r, &least, &most))
            return false;
    } else {
        repeated = false;
    }
    if (!repeated)
        return true;
    take(r, '?');
    if (next_is(r, '*') || next_is(r, '+') || next_is(r, '{'))
        return wrong(r, "a repetition of a repetition");
    return repeat(r, n, least, most);
}

static bool read_branch(struct reader *r)
{
    while (r->left.n > 0 && !next_is(r, '|') && !next_is(r, ')')) {
        size_t start = r->count;

        if (!read_atom(r) || !read_repetition(r, start))
            return false;
    }
    return true;
}

/* one|two|three: before each but the last a fork to the next, behind it a jump to the end. */
static bool read_branches(struct reader *r)
{
    size_t start = r->count, jumps[TEXT_MAX], jumps_count = 0;

    if (!read_branch(r))
        return false;
    while (take(r, '|')) {
        size_t n = r->count - start;

        if (!insert(r, start, (struct step){.op = OP_FORK, .by = (short)(n + 2)}) || !add(r, OP_JUMP, 0))
            return false;
        jumps[jumps_count++] = r->count - 1;
        start = r->count;
        if (!read_branch(r))
            return false;
    }
    for (size_t i = 0; i < jumps_count; i++)
        r->steps[jumps[i]].by = (short)(r->count - jumps[i]);
    return true;
}

const struct grey_pattern *grey_pattern_parse(struct arena *mem, struct str text, struct fail *fail)
{
    struct reader r = {.left = text, .fail = fail};
    struct grey_pattern *pattern;

    if (text.n == 0 || text.n > TEXT_MAX) {
        fail_set(fail, "a pattern has 1 to %d octets", TEXT_MAX);
        return NULL;
    }
    if (!read_branches(&r) || (r.left.n > 0 && !wrong(&r, "a ) without its (")) || !add(&r, OP_MATCH, 0))
        return NULL;
    pattern = ARENA_NEW(mem, struct grey_pattern);
    pattern->count = r.count;
    pattern->steps = arena_copy(mem, r.steps, r.count * sizeof(r.steps[0]));
    pattern->sets = arena_copy(mem, r.sets, r.sets_count * sizeof(r.sets[0]));
    return pattern;
}

/* ---- matching ---- */

/* The steps that wait for the next character. Each is there once, whatever ways lead to it. */
struct threads {
    short at[STEPS_MAX];
    size_t count;
    unsigned char seen[STEPS_MAX / 8 + 1];
};

static bool mark(struct threads *threads, size_t at)
{
    bool was = threads->seen[at / 8] >> at % 8 & 1;

    threads->seen[at / 8] |= (unsigned char)(1U << at % 8);
    return !was;
}

static bool holds(const struct step *step, struct str text, size_t place)
{
    bool before = place > 0 && is_word(text.p[place - 1]), after = place < text.n && is_word(text.p[place]);

    switch (step->op) {
    case OP_BEGIN:
        return place == 0;
    case OP_END:
        return place == text.n;
    default:
        return before != after;
    }
}

/* Follows what needs no character from `start` on. True: the end of the pattern is reached. */
static bool follow(const struct grey_pattern *pattern, struct threads *threads, size_t start, struct str text,
                   size_t place)
{
    short stack[STEPS_MAX + 1];
    size_t n = 0;

    if (mark(threads, start))
        stack[n++] = (short)start;
    while (n > 0) {
        size_t at = (size_t)stack[--n], there = at + 1;
        const struct step *step = &pattern->steps[at];

        if (step->op == OP_MATCH)
            return true;
        if (step->op <= OP_SET) {
            threads->at[threads->count++] = (short)at;
            continue;
        }
        if (step->op == OP_FORK && mark(threads, (size_t)((int)at + step->by)))
            stack[n++] = (short)((int)at + step->by);
        if (step->op == OP_JUMP)
            there = (size_t)((int)at + step->by);
        else if (step->op != OP_FORK && !holds(step, text, place))
            continue;
        if (mark(threads, there))
            stack[n++] = (short)there;
    }
    return false;
}

static bool takes(const struct grey_pattern *pattern, const struct step *step, char c)
{
    switch (step->op) {
    case OP_CHAR:
        return step->c == (unsigned char)ascii_lower(c);
    case OP_SET:
        return set_has(&pattern->sets[step->c], c);
    default:
        return true;
    }
}

static void forget(struct threads *threads)
{
    threads->count = 0;
    memset(threads->seen, 0, sizeof(threads->seen));
}

bool grey_pattern_matches(const struct grey_pattern *pattern, struct str text)
{
    struct threads pair[2], *now = &pair[0], *next = &pair[1];

    forget(now);
    for (size_t place = 0;; place++) {
        struct threads *swap = now;

        if (follow(pattern, now, 0, text, place))
            return true;
        if (place == text.n || (now->count == 0 && pattern->steps[0].op == OP_BEGIN))
            return false;
        forget(next);
        for (size_t i = 0; i < now->count; i++)
            if (takes(pattern, &pattern->steps[now->at[i]], text.p[place]) &&
                follow(pattern, next, (size_t)now->at[i] + 1, text, place + 1))
                return true;
        now = next;
        next = swap;
    }
}
