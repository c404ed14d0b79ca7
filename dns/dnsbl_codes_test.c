/*
 * dns/dnsbl_codes_test.c - reads the table of public lists in docs/dnsbl.md: with these codes in the settings each of them is a
 * listing, their neighbours are not, and what lists say to those whom they do not serve never is
 */
#include "dns/dnsbl.h"

#include "base/bug.h"
#include "tests/t.h"

#include <string.h>

enum { ZONES_MAX = 32, CODES_MAX = 16, ZONES_TOLD = 10 };

struct told {
    const char *zone;
    struct dnsbl_codes codes[CODES_MAX];
    size_t count;
    bool domains;
};

static struct arena *mem;
static struct told table[ZONES_MAX];
static size_t zones;

/* What stands before the separator, without blanks around it; *rest goes behind it. */
static struct str next_cell(struct str *rest, char separator)
{
    const char *end = memchr(rest->p, separator, rest->n);
    struct str cell = str_make(rest->p, end != NULL ? (size_t)(end - rest->p) : rest->n);

    *rest = str_from(*rest, end != NULL ? cell.n + 1 : cell.n);
    while (cell.n > 0 && cell.p[0] == ' ')
        cell = str_from(cell, 1);
    while (cell.n > 0 && cell.p[cell.n - 1] == ' ')
        cell.n--;
    return cell;
}

static void read_codes(struct told *told, struct str cell)
{
    while (cell.n > 0) {
        struct str range = next_cell(&cell, ','), first = next_cell(&range, '-');
        struct dnsbl_codes *codes = &told->codes[told->count++];

        t_case(str_fmt(mem, "%s, %.*s", told->zone, STR_ARG(first)), "");
        t_true(told->count <= CODES_MAX);
        t_true(ip_parse(first, &codes->first));
        codes->last = codes->first;
        t_true(range.n == 0 || ip_parse(range, &codes->last));
    }
}

/* | `zone` | codes | meaning | score |, where a row without a zone goes on with the one before. */
static void read_row(struct str row)
{
    struct str zone, codes, meaning;

    next_cell(&row, '|');
    zone = next_cell(&row, '|');
    codes = next_cell(&row, '|');
    meaning = next_cell(&row, '|');
    if (zone.n > 0) {
        t_true(zones < ZONES_MAX);
        table[zones++] = (struct told){.zone = str_dup(mem, str_make(zone.p + 1, zone.n - 2))};
    }
    t_true(zones > 0);
    if (memmem(meaning.p, meaning.n, "kind: domains", 13) != NULL)
        table[zones - 1].domains = true;
    read_codes(&table[zones - 1], codes);
}

static int read_the_table(void **state)
{
    struct str rest;
    bool inside = false;

    (void)state;
    mem = arena_new(0);
    zones = 0;
    rest = t_read_file(mem, "docs/dnsbl.md");
    while (rest.n > 0) {
        struct str line = next_cell(&rest, '\n');

        if (inside && line.n > 0 && line.p[0] == '|')
            read_row(line);
        else
            inside = line.n > 4 && memcmp(line.p, "|---", 4) == 0;
    }
    return 0;
}

static int forget(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

static uint32_t number_of(const struct ip *ip)
{
    return (uint32_t)ip->b[0] << 24 | (uint32_t)ip->b[1] << 16 | (uint32_t)ip->b[2] << 8 | ip->b[3];
}

static struct ip address_of(uint32_t number)
{
    return (struct ip){4, {(unsigned char)(number >> 24), (unsigned char)(number >> 16), (unsigned char)(number >> 8),
                           (unsigned char)number}};
}

static void expect(const struct told *told, uint32_t code, enum dnsbl_result result)
{
    struct dnsbl_list list = {.zone = told->zone,
                              .score = 1,
                              .codes = told->codes,
                              .codes_count = told->count,
                              .kind = told->domains ? DNSBL_OF_DOMAINS : DNSBL_OF_ADDRESSES};
    struct dns_record record = {.ip = address_of(code)};
    struct dns_answer answer = {.status = DNS_OK, .type = DNS_A, .records = &record, .count = 1};
    char text[IP_TEXT_MAX];
    struct ip found;

    t_case(str_fmt(mem, "%s answers %s", told->zone, ip_format(&record.ip, text)), "5782 2.3");
    t_same_z(dnsbl_result_name(dnsbl_judge(&list, &answer, &found)), dnsbl_result_name(result));
    t_true(ip_eq(&found, &record.ip));
}

static bool is_told(const struct told *told, uint32_t code)
{
    for (size_t i = 0; i < told->count; i++)
        if (code >= number_of(&told->codes[i].first) && code <= number_of(&told->codes[i].last))
            return true;
    return false;
}

static void codes_are_listings(void **state)
{
    (void)state;
    t_true(zones >= ZONES_TOLD);
    for (size_t i = 0; i < zones; i++) {
        t_true(table[i].count > 0);
        for (size_t range = 0; range < table[i].count; range++) {
            uint32_t first = number_of(&table[i].codes[range].first), last = number_of(&table[i].codes[range].last);

            t_true(first <= last);
            for (uint32_t code = first; code <= last; code++)
                expect(&table[i], code, DNSBL_LISTED);
            for (uint32_t code = first - 1; code <= last + 1; code += last + 2 - first)
                if (!is_told(&table[i], code))
                    expect(&table[i], code, DNSBL_ERROR);
        }
    }
}

static void refusals_never_are(void **state)
{
    static const unsigned char refusals[][4] = {{127, 255, 255, 250}, {127, 255, 255, 252}, {127, 255, 255, 254},
                                                {127, 255, 255, 255}, {127, 0, 0, 1},       {203, 0, 113, 7}};

    (void)state;
    for (size_t i = 0; i < zones; i++) {
        for (size_t j = 0; j < COUNT(refusals); j++) {
            struct ip code = {4, {0}};

            memcpy(code.b, refusals[j], sizeof(refusals[j]));
            expect(&table[i], number_of(&code), DNSBL_ERROR);
        }
        if (table[i].domains)
            expect(&table[i], 0x7f0001ff, DNSBL_ERROR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(codes_are_listings, read_the_table, forget),
        cmocka_unit_test_setup_teardown(refusals_never_are, read_the_table, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
