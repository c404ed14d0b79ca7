#include "config/value.h"

#include "base/bug.h"
#include "smtp/mailbox.h"

#include <string.h>

enum { SHOWN_MAX = 80, DOMAIN_MAX = 253, LABEL_MAX = 63 };

#define SHOWN(text) STR_ARG(str_upto((text), SHOWN_MAX))

struct unit {
    const char *name;
    int64_t factor;
};

/* Digits and a unit; false when it is not that. `unit_out` is NULL when there are only digits. */
static bool number_with_unit(struct str text, const struct unit *units, size_t count, int64_t *value_out,
                             const struct unit **unit_out)
{
    size_t digits = 0;
    uint64_t number;

    while (digits < text.n && ascii_is_digit(text.p[digits]))
        digits++;
    if (!str_to_u64(str_upto(text, digits), INT64_MAX, &number))
        return false;
    *unit_out = NULL;
    for (size_t i = 0; i < count; i++)
        if (str_eq_z(str_from(text, digits), units[i].name))
            *unit_out = &units[i];
    if (*unit_out == NULL)
        return digits == text.n;
    /* Too much for the type is too much for every setting: the largest number says so. */
    *value_out =
        (int64_t)number > INT64_MAX / (*unit_out)->factor ? INT64_MAX : (int64_t)number * (*unit_out)->factor;
    return true;
}

int value_duration_ms(struct str text, int64_t *ms_out, struct fail *fail)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const struct unit *unit = NULL;

    if (!number_with_unit(text, units, COUNT(units), ms_out, &unit))
        return fail_set(fail, "\"%.*s\" is not a duration; write 300ms, 300s, 5m, 1h or 2d", SHOWN(text));
    if (unit == NULL)
        return fail_set(fail, "\"%.*s\" has no unit; write %.*ss, or ms, m, h or d", SHOWN(text),
                        SHOWN(text));
    return 0;
}

int value_bytes(struct str text, int64_t *bytes_out, struct fail *fail)
{
    static const struct unit units[] = {{"K", 1024}, {"M", 1024 * 1024}, {"G", 1024 * 1024 * 1024}};
    const struct unit *unit = NULL;

    if (!number_with_unit(text, units, COUNT(units), bytes_out, &unit))
        return fail_set(fail, "\"%.*s\" is not a size; write 512K, 25M or 2G", SHOWN(text));
    if (unit == NULL)
        return fail_set(fail, "\"%.*s\" has no unit; write 512K, 25M or 2G", SHOWN(text));
    return 0;
}

int value_number(struct str text, int64_t *number_out, struct fail *fail)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    struct str digits = str_from(text, negative);
    uint64_t number;

    if (!str_to_u64(digits, INT64_MAX, &number) || (digits.n > 1 && digits.p[0] == '0'))
        return fail_set(fail, "\"%.*s\" is not a whole number", SHOWN(text));
    *number_out = negative ? -(int64_t)number : (int64_t)number;
    return 0;
}

int value_bool(struct str text, bool *value_out, struct fail *fail)
{
    static const struct {
        const char *word;
        bool value;
    } habits[] = {{"yes", true}, {"on", true},   {"true", true},   {"y", true},
                  {"no", false}, {"off", false}, {"false", false}, {"n", false}};

    *value_out = str_eq_z(text, "true");
    if (*value_out || str_eq_z(text, "false"))
        return 0;
    for (size_t i = 0; i < COUNT(habits); i++)
        if (str_same_z(text, habits[i].word))
            return fail_set(fail, "\"%.*s\" is not true or false; write %s", SHOWN(text),
                            habits[i].value ? "true" : "false");
    return fail_set(fail, "\"%.*s\" is not true or false", SHOWN(text));
}

int value_rate(struct str text, int64_t *count_out, int64_t *ms_out, struct fail *fail)
{
    struct str count, period;
    struct fail why;

    if (!str_cut(text, '/', &count, &period) || value_number(count, count_out, NULL) < 0)
        return fail_set(fail, "\"%.*s\" is not a rate; write 60/1m for 60 in a minute", SHOWN(text));
    if (value_duration_ms(period, ms_out, &why) < 0)
        return fail_set(fail, "\"%.*s\" is not a rate: %s", SHOWN(text), why.text);
    return 0;
}

int value_time_of_day(struct str text, int64_t *second_out, struct fail *fail)
{
    uint64_t hour, minute;

    if (text.n != 5 || text.p[2] != ':' || !str_to_u64(str_upto(text, 2), 23, &hour) ||
        !str_to_u64(str_from(text, 3), 59, &minute))
        return fail_set(fail, "\"%.*s\" is not a time of day; write 00:30", SHOWN(text));
    *second_out = (int64_t)(hour * 3600 + minute * 60);
    return 0;
}

static bool is_label(struct str label)
{
    if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-')
            return false;
    return true;
}

static bool is_ascii(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return false;
    return true;
}

int value_domain(struct arena *mem, struct str text, const char **domain_out, struct fail *fail)
{
    const char *name = is_ascii(text) ? str_dup_lower(mem, text) : mailbox_domain_to_ascii(mem, text);
    struct str label, rest = str_of(name);
    struct ip ip;

    if (ip_parse(text, &ip))
        return fail_set(fail, "\"%.*s\" is an address, not a domain name", SHOWN(text));
    if (rest.n == 0 || rest.n > DOMAIN_MAX)
        return fail_set(fail, "\"%.*s\" is not a domain name of 1 to %d letters", SHOWN(text), DOMAIN_MAX);
    if (rest.p[rest.n - 1] == '.')
        return fail_set(fail, "\"%.*s\" ends with a dot; write it without", SHOWN(text));
    for (bool more = true; more;) {
        more = str_cut(rest, '.', &label, &rest);
        if (!is_label(label))
            return fail_set(
                fail, "\"%.*s\" is not a domain name: labels are 1 to %d letters, digits and inner hyphens",
                SHOWN(text), LABEL_MAX);
    }
    *domain_out = name;
    return 0;
}

int value_authserv_id(struct str text, struct fail *fail)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] == 0x7f || strchr("()<>@,;:\\\"/[]?=", text.p[i]) != NULL)
            return fail_set(fail,
                            "\"%.*s\" is not an authserv-id: one word of letters, digits, dots and hyphens "
                            "(RFC 8601 2.2)",
                            SHOWN(text));
    if (text.n > DOMAIN_MAX)
        return fail_set(fail, "an authserv-id has %d letters at the most", DOMAIN_MAX);
    return 0;
}

int value_endpoint(struct str text, uint16_t port, struct endpoint *endpoint_out, struct fail *fail)
{
    if (port != 0 && ip_parse(text, &endpoint_out->ip)) {
        endpoint_out->port = port;
        return 0;
    }
    if (endpoint_parse(str_upto(text, SHOWN_MAX), endpoint_out, fail) < 0)
        return -1;
    return endpoint_out->port != 0 ? 0
                                   : fail_set(fail, "\"%.*s\" has port 0; ports are 1 to 65535", SHOWN(text));
}

static bool is_error_code(const struct ip *ip)
{
    return ip->b[1] == 255 && ip->b[2] == 255;
}

int value_codes(struct str text, struct ip *first_out, struct ip *last_out, struct fail *fail)
{
    struct str first, last;

    if (!str_cut(text, '-', &first, &last))
        last = first;
    if (!ip_parse(first, first_out) || !ip_parse(last, last_out) || first_out->family != 4 ||
        last_out->family != 4)
        return fail_set(fail, "\"%.*s\" is not a code; write 127.0.0.2 or 127.0.0.2-127.0.0.11", SHOWN(text));
    if (first_out->b[0] != 127 || last_out->b[0] != 127)
        return fail_set(fail, "\"%.*s\": lists answer within 127.0.0.0/8 (RFC 5782 2.1)", SHOWN(text));
    if (memcmp(first_out->b, last_out->b, 4) > 0)
        return fail_set(fail, "\"%.*s\" ends before it begins", SHOWN(text));
    if (is_error_code(last_out) || is_error_code(first_out))
        return fail_set(fail, "\"%.*s\": 127.255.255.0/24 are errors of the list, never a listing",
                        SHOWN(text));
    return 0;
}
