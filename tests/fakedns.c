#include "tests/fakedns.h"

#include "base/bug.h"
#include "tests/t.h"

#include <jansson.h>
#include <stdio.h>
#include <strings.h>

enum { CHAIN_MOST = 8, QUESTIONS_MOST = 100000, RECORDS_MOST = 100 };

struct entry {
    struct entry *next;
    const char *name;
    int rcode;   /* -1: none set */
    bool silent; /* types not listed never get an answer */
    struct fact *facts;
};

struct fact {
    struct fact *next;
    enum dns_type type;
    struct dns_record record;
};

struct question {
    struct dns_token token; /* first: what the asker holds */
    struct question *next;
    enum dns_type type;
    const char *name;
    dns_done_fn *done;
    void *arg;
};

struct fakedns {
    struct dns dns; /* first */
    struct arena *mem;
    struct entry *entries;
    struct question *first, **last;
    size_t waiting, asked;
    const char *questions[QUESTIONS_MOST];
};

static struct dns_token *fake_query(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                                    void *arg)
{
    struct fakedns *fake = (struct fakedns *)dns;
    struct question *q = ARENA_NEW(fake->mem, struct question);

    *q = (struct question){.type = type, .name = str_dup(fake->mem, str_of(name)), .done = done, .arg = arg};
    *fake->last = q;
    fake->last = &q->next;
    fake->waiting++;
    if (fake->asked >= QUESTIONS_MOST)
        t_fail("more than %d questions", QUESTIONS_MOST);
    fake->questions[fake->asked++] = str_fmt(fake->mem, "%s %s", dns_type_name(type), name);
    return &q->token;
}

static void fake_cancel(struct dns *dns, struct dns_token *token)
{
    struct fakedns *fake = (struct fakedns *)dns;

    for (struct question **at = &fake->first; *at != NULL; at = &(*at)->next) {
        if (&(*at)->token != token)
            continue;
        if (fake->last == &(*at)->next)
            fake->last = at;
        *at = (*at)->next;
        fake->waiting--;
        return;
    }
    t_fail("dns_cancel of a question that is not waiting: it was answered, and its token not set to NULL");
}

struct fakedns *fakedns_new(void)
{
    static const struct dns_ops ops = {fake_query, fake_cancel};
    struct fakedns *fake = calloc(1, sizeof(*fake));

    if (fake == NULL)
        abort();
    fake->dns.ops = &ops;
    fake->mem = arena_new(0);
    fake->last = &fake->first;
    return fake;
}

void fakedns_free(struct fakedns **fake)
{
    if (*fake == NULL)
        return;
    arena_free(&(*fake)->mem);
    free(*fake);
    *fake = NULL;
}

struct dns *fakedns_dns(struct fakedns *fake)
{
    return &fake->dns;
}

/* ---- zones ---- */

static struct entry *find(const struct fakedns *fake, struct str name)
{
    for (struct entry *e = fake->entries; e != NULL; e = e->next)
        if (str_same_z(name, e->name))
            return e;
    return NULL;
}

static struct entry *find_or_add(struct fakedns *fake, struct str name)
{
    struct entry *e = find(fake, name);

    if (e == NULL) {
        e = ARENA_NEW(fake->mem, struct entry);
        *e = (struct entry){.next = fake->entries, .name = str_dup_lower(fake->mem, name), .rcode = -1};
        fake->entries = e;
    }
    return e;
}

static void add_fact(struct fakedns *fake, struct entry *e, enum dns_type type, struct dns_record record)
{
    struct fact **end = &e->facts;

    while (*end != NULL)
        end = &(*end)->next;
    *end = ARENA_NEW(fake->mem, struct fact);
    **end = (struct fact){.type = type, .record = record};
}

static bool has_children(const struct fakedns *fake, struct str name)
{
    struct str tail = str_of(str_fmt(fake->mem, ".%.*s", STR_ARG(name)));

    for (const struct entry *e = fake->entries; e != NULL; e = e->next)
        if (str_ends_same(str_of(e->name), tail))
            return true;
    return false;
}

static enum dns_type type_of(struct str word)
{
    static const enum dns_type types[] = {DNS_A,   DNS_NS, DNS_CNAME, DNS_SOA,
                                          DNS_PTR, DNS_MX, DNS_TXT,   DNS_AAAA};

    for (size_t i = 0; i < COUNT(types); i++)
        if (str_same_z(word, dns_type_name(types[i])))
            return types[i];
    return 0;
}

static const char *host_name(struct fakedns *fake, struct str name)
{
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    return str_dup_lower(fake->mem, name);
}

static void set_rcode(struct entry *e, struct str word)
{
    e->silent = str_same_z(word, "timeout");
    e->rcode = str_same_z(word, "servfail") || str_eq_z(word, "2")   ? DNS_SERVFAIL
               : str_same_z(word, "refused") || str_eq_z(word, "5")  ? DNS_REFUSED
               : str_same_z(word, "nxdomain") || str_eq_z(word, "3") ? DNS_NXDOMAIN
               : e->silent                                           ? -1
                                                                     : DNS_GARBLED;
}

/* "first" "second": quoted strings are joined; without quotes the rest of the line is the text. */
static struct str join_strings(struct fakedns *fake, struct str data)
{
    char *text = arena_alloc(fake->mem, data.n + 1);
    size_t n = 0;
    bool inside = false;

    if (data.n == 0 || data.p[0] != '"')
        return str_copy(fake->mem, data);
    for (size_t i = 0; i < data.n; i++) {
        if (data.p[i] == '"')
            inside = !inside;
        else if (inside)
            text[n++] = data.p[i] == '\\' && i + 1 < data.n ? data.p[++i] : data.p[i];
    }
    return str_make(text, n);
}

static void add_line(struct fakedns *fake, struct str line)
{
    struct str name, type_word, data;
    struct dns_record record = {0};
    struct entry *e;
    enum dns_type type;

    line = str_trim(line);
    if (line.n == 0 || line.p[0] == ';' || line.p[0] == '#')
        return;
    str_cut(line, ' ', &name, &data);
    data = str_trim(data);
    str_cut(data, ' ', &type_word, &data);
    data = str_trim(data);
    e = find_or_add(fake, name);
    if (str_same_z(type_word, "RCODE")) {
        set_rcode(e, data);
        return;
    }
    type = type_of(type_word);
    if (type == DNS_MX) {
        struct str number;
        uint64_t preference;

        str_cut(data, ' ', &number, &data);
        if (!str_to_u64(number, 65535, &preference))
            t_fail("zone line \"%.*s\": MX without a preference", STR_ARG(line));
        record.preference = (uint16_t)preference;
        data = str_trim(data);
    }
    if (type == 0 || ((type == DNS_A || type == DNS_AAAA) && !ip_parse(data, &record.ip)))
        t_fail("zone line \"%.*s\" cannot be read", STR_ARG(line));
    if (type == DNS_TXT)
        record.text = join_strings(fake, data);
    else if (type != DNS_A && type != DNS_AAAA)
        record.name = host_name(fake, data);
    add_fact(fake, e, type, record);
}

void fakedns_add_text(struct fakedns *fake, const char *zone)
{
    struct str line, rest = str_of(zone);

    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        add_line(fake, line);
    }
}

void fakedns_add_file(struct fakedns *fake, const char *path)
{
    fakedns_add_text(fake, t_read_file(fake->mem, path).p);
}

/* A JSON character of DNS data is one octet: U+00FF is the octet 0xff, and U+0000 one like any other. */
static struct str octets(struct fakedns *fake, struct str utf8)
{
    char *out = arena_alloc(fake->mem, utf8.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < utf8.n; i++) {
        unsigned char c = (unsigned char)utf8.p[i];

        if (c >= 0xc0 && i + 1 < utf8.n)
            c = (unsigned char)((c & 0x1f) << 6 | (utf8.p[++i] & 0x3f));
        out[n++] = (char)c;
    }
    return str_make(out, n);
}

static struct str string_octets(struct fakedns *fake, const json_t *value)
{
    return octets(fake, str_make(json_string_value(value), json_string_length(value)));
}

static struct str joined_chunks(struct fakedns *fake, json_t *value)
{
    struct str all = {"", 0}, chunk;
    json_t *part;
    size_t i;
    char *text;

    if (json_is_string(value))
        return string_octets(fake, value);
    json_array_foreach(value, i, part)
    {
        chunk = string_octets(fake, part);
        text = arena_alloc(fake->mem, all.n + chunk.n + 1);
        memcpy(text, all.p, all.n);
        memcpy(text + all.n, chunk.p, chunk.n);
        all = str_make(text, all.n + chunk.n);
    }
    return all;
}

static void add_json_fact(struct fakedns *fake, struct entry *e, enum dns_type type, json_t *value)
{
    struct dns_record record = {0};

    if (type == DNS_TXT) {
        record.text = joined_chunks(fake, value);
    } else if (type == DNS_MX) {
        record.preference = (uint16_t)json_integer_value(json_array_get(value, 0));
        record.name = host_name(fake, string_octets(fake, json_array_get(value, 1)));
        if (*record.name == '\0')
            record.name = ".";
    } else if (type == DNS_A || type == DNS_AAAA) {
        if (!ip_parse(str_of(json_string_value(value)), &record.ip))
            return; /* an IPv4-mapped AAAA and the like stay what they are: no address to match */
    } else {
        record.name = host_name(fake, string_octets(fake, value));
    }
    add_fact(fake, e, type, record);
}

void fakedns_add_json(struct fakedns *fake, const void *json)
{
    const char *name, *type_word;
    json_t *types, *values, *value;
    size_t i;

    json_object_foreach((json_t *)json, name, types)
    {
        struct entry *e = find_or_add(fake, octets(fake, str_of(name)));

        json_object_foreach(types, type_word, values)
        {
            enum dns_type type = type_of(str_of(type_word));

            if (strcmp(type_word, "_timeout") == 0)
                e->silent = json_is_true(values);
            else if (strcmp(type_word, "_rcode") == 0)
                set_rcode(e, json_is_string(values)
                                 ? str_of(json_string_value(values))
                                 : str_of(str_fmt(fake->mem, "%d", (int)json_integer_value(values))));
            else if (type != 0 && json_is_array(values))
                json_array_foreach(values, i, value) add_json_fact(fake, e, type, value);
            else if (type != 0)
                add_json_fact(fake, e, type, values);
        }
    }
}

/* ---- answers ---- */

static bool is_sound_name(struct str name)
{
    struct str label;

    if (name.n == 0 || name.n > DNS_NAME_MAX)
        return false;
    while (name.n > 0) {
        bool more = str_cut(name, '.', &label, &name);

        if (label.n == 0 || label.n > 63 || (more && name.n == 0))
            return false;
    }
    return true;
}

static const char *alias_of(const struct entry *e)
{
    for (const struct fact *f = e->facts; f != NULL; f = f->next)
        if (f->type == DNS_CNAME)
            return f->record.name;
    return NULL;
}

static size_t collect(const struct entry *e, enum dns_type type, struct dns_record *records)
{
    size_t n = 0;

    for (const struct fact *f = e->facts; f != NULL; f = f->next)
        if (f->type == type && n < RECORDS_MOST)
            records[n++] = f->record;
    return n;
}

static void resolve(struct fakedns *fake, enum dns_type type, const char *name, struct dns_record *records,
                    struct dns_answer *answer)
{
    if (!is_sound_name(str_of(name))) {
        answer->status = DNS_BADNAME;
        return;
    }
    for (int chain = 0; chain <= CHAIN_MOST; chain++) {
        const struct entry *e = find(fake, str_of(name));

        if (e == NULL) {
            answer->status = has_children(fake, str_of(name)) ? DNS_NODATA : DNS_NXDOMAIN;
            return;
        }
        if (e->rcode >= 0) {
            answer->status = (enum dns_status)e->rcode;
            return;
        }
        answer->count = collect(e, type, records);
        if (answer->count > 0 || alias_of(e) == NULL || type == DNS_CNAME) {
            answer->status = answer->count > 0 ? DNS_OK : e->silent ? DNS_TIMEOUT : DNS_NODATA;
            return;
        }
        name = alias_of(e);
    }
    answer->status = DNS_SERVFAIL; /* a CNAME loop, as a real resolver answers it */
}

bool fakedns_run_one(struct fakedns *fake)
{
    static struct dns_record records[RECORDS_MOST];
    struct question *q = fake->first;
    struct dns_answer answer = {.ttl_s = 300, .records = records};

    if (q == NULL)
        return false;
    fake->first = q->next;
    if (fake->first == NULL)
        fake->last = &fake->first;
    fake->waiting--;
    answer.type = q->type;
    answer.name = q->name;
    resolve(fake, q->type, q->name, records, &answer);
    q->done(&answer, q->arg);
    return true;
}

bool fakedns_run(struct fakedns *fake)
{
    bool any = false;

    while (fakedns_run_one(fake))
        any = true;
    return any;
}

size_t fakedns_waiting(const struct fakedns *fake)
{
    return fake->waiting;
}

size_t fakedns_asked(const struct fakedns *fake)
{
    return fake->asked;
}

const char *fakedns_question(const struct fakedns *fake, size_t i)
{
    return i < fake->asked ? fake->questions[i] : "";
}
