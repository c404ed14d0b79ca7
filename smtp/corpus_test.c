/*
 * smtp/corpus_test.c - real and broken messages of other projects: the fields of their headers, and who
 * stands in From. The facts to compare with are one parser's opinion (Python's), so each difference is named
 * below with the RFC text that decides.
 */
#include "smtp/header.h"
#include "smtp/mailbox.h"

#include "base/buf.h"
#include "base/bug.h"
#include "tests/t.h"

#include <jansson.h>

static const char *const folders[] = {"mime-mime4j", "mime-ruby-mail", "mime-spamassassin"};

/* Where we differ: what we find, and why. */
struct dispute {
    const char *file, *difference, *why;
};

static const struct dispute fields_disputed[] = {
    {"testmsgs/obsolete.msg", "2 fields, not 0",
     "RFC 5322 4.5 has blanks before the colon; 2.2 has no 8-bit octet in a name, which ends it"},
    {"rfc2822/example13.eml", "1 fields, not 0", "RFC 5322 4.5: blanks before the colon"},
    {"spam/008", "11 fields, not 10", "RFC 5322 4.5: blanks before the colon, here to hide a second From"},
    {NULL, NULL, NULL},
};

static const struct dispute from_disputed[] = {
    {"plain_emails/mix_caps_content_type.eml", "invalid: a malformed local part",
     "RFC 5322 3.4: a display name needs angle brackets behind it"},
    {"plain_emails/raw_email_multiple_from.eml", "invalid: something follows an address",
     "RFC 5322 3.4: addresses are parted by commas"},
    {"rfc6532/utf8_headers.eml",
     "jd\xC3\xB6"
     "e@xn--mchine-bua.example",
     "the facts are not UTF-8; RFC 6532 3.2, and RFC 5891 4.4 for the A-label"},
    {"nice/unicode1", "Maril\xC3\xB9.Gioffr\xC3\xA9@xn--esempio-universit-4ob.it",
     "the facts are not UTF-8; RFC 6532 3.2, and RFC 5891 4.4 for the A-label"},
    {"nice/unicode2", "invalid: a name without an address", "RFC 5322 3.4.1: no address without @"},
    {"spam/008", "2 From fields", "RFC 5322 4.5: blanks before the colon, here to hide a second From"},
    {NULL, NULL, NULL},
};

static const char *disputed(const struct dispute *disputes, const char *file)
{
    for (; disputes->file != NULL; disputes++)
        if (str_eq_z(str_of(disputes->file), file))
            return disputes->difference;
    return "";
}

/* With each line end as CRLF, and without the separator line of a Unix mailbox. */
static struct str read_message(struct arena *mem, const char *path)
{
    struct str file = t_read_file(mem, path);
    char *text = arena_alloc(mem, file.n * 2 + 1);
    size_t n = 0;

    for (size_t i = 0; i < file.n; i++) {
        if (file.p[i] == '\n' && (i == 0 || file.p[i - 1] != '\r'))
            text[n++] = '\r';
        text[n++] = file.p[i];
    }
    file = str_make(text, n);
    return str_starts(file, STR("From ")) ? str_from(file, str_find(file, '\n') + 1) : file;
}

static void read_header(struct arena *mem, const char *path, struct header *header_out)
{
    struct str message = read_message(mem, path);

    header_parse(mem, str_upto(message, header_end(message, 0)), 1000, header_out);
}

static const char *names_differ(struct arena *mem, const struct header *header, json_t *facts)
{
    json_t *names = json_object_get(facts, "names");

    if (header->count != json_array_size(names))
        return str_fmt(mem, "%zu fields, not %zu", header->count, json_array_size(names));
    for (size_t i = 0; i < header->count; i++) {
        struct str want = str_trim(str_of(json_string_value(json_array_get(names, i))));

        if (!str_same(header->fields[i].name, want))
            return str_fmt(mem, "field %zu is %.*s", i, STR_ARG(header->fields[i].name));
    }
    return NULL;
}

static const char *from_differs(struct arena *mem, const struct header *header, json_t *facts)
{
    const struct header_field *from = header_find(header, "From");
    struct mailbox_list list;
    const char *why;

    if (json_integer_value(json_object_get(facts, "from_fields")) != 1)
        return NULL;
    if (header_count(header, "From") != 1)
        return str_fmt(mem, "%zu From fields", header_count(header, "From"));
    if (mailbox_list_parse(mem, from->value, &list, &why) != MAILBOX_FOUND)
        return str_fmt(mem, "invalid: %s", why != NULL ? why : "nobody");
    if (list.count != json_array_size(json_object_get(facts, "from")))
        return str_fmt(mem, "%zu addresses", list.count);
    for (size_t i = 0; i < list.count; i++) {
        const char *want = json_string_value(json_array_get(json_object_get(facts, "from"), i));
        char *got = str_fmt(mem, "%.*s@%.*s", STR_ARG(list.boxes[i].local), STR_ARG(list.boxes[i].domain));

        if (!str_same_z(str_of(want), got))
            return got;
    }
    return NULL;
}

typedef const char *differ_fn(struct arena *mem, const struct header *header, json_t *facts);

/* Runs over all messages: a difference that is not the named one fails, and so does a named one that is none.
 */
static void compare_all(differ_fn *differ, const struct dispute *disputes)
{
    size_t tried = 0, differed = 0, wrong = 0;

    for (size_t i = 0; i < COUNT(folders); i++) {
        struct arena *mem = arena_new(1 << 16);
        const char *folder = str_fmt(mem, "%s/%s", t_conformance(), folders[i]);
        json_t *index = json_load_file(str_fmt(mem, "%s/index.json", folder), 0, NULL), *facts;
        const char *file;

        json_object_foreach(json_object_get(index, "files"), file, facts)
        {
            struct header header;
            const char *difference;

            read_header(mem, str_fmt(mem, "%s/%s", folder, file), &header);
            difference = differ(mem, &header, facts);
            tried++;
            differed += difference != NULL;
            if (!str_eq_z(str_of(difference), disputed(disputes, file))) {
                print_error("%s/%s: %s\n", folders[i], file,
                            difference != NULL ? difference : "no difference");
                wrong++;
            }
        }
        json_decref(index);
        arena_free(&mem);
    }
    print_message("%zu messages, %zu disputed\n", tried, differed);
    t_true(tried > 300);
    t_same_int(wrong, 0);
}

static void test_fields(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites");
    t_case("names and number of fields", "5322 2.2");
    compare_all(names_differ, fields_disputed);
}

static void test_from(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites");
    t_case("who stands in From", "5322 3.6.2");
    compare_all(from_differs, from_disputed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
